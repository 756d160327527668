package reconciler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/plan"
)

// errStopped answers what is asked of a reconciler that has stopped.
var errStopped = errors.New("the agent is stopping")

// containerSet are containers by ID; appLedger is an app's ledger as of one
// moment.
type (
	containerSet = map[string]engine.Container
	appLedger    = ledger.App
)

// Reconciler converges one host. Make it with [New]; [Reconciler.Run] works
// until its context ends. All other methods may be called at any time from any
// goroutine.
type Reconciler struct {
	cfg   Config
	store *store
	key   []byte // of hostrev
	host  *hostLedger
	world *world
	table *tableKeeper
	pulls *pulls
	nets  *nets

	// former is the ambassador's table when Run began.
	former traffic.Table
	// ready is closed when every app of the ledger has offered its traffic:
	// only then may a table replace the one on the ambassador's disk.
	ready chan struct{}

	// pruning is held by who removes content that no release needs, and read by
	// who puts content on disk for one that does not know it yet.
	pruning sync.RWMutex
	// promoted says that there may be something to remove.
	promoted chan struct{}

	// hatch hands workers that are made later to Run, which starts them.
	hatch chan *worker
	group sync.WaitGroup

	mu      sync.Mutex
	workers map[string]*worker
	views   map[string]status.App
	sources map[string]*follower
	after   map[string][]string // the apps that an app waits for, by ID
	lastRun time.Time
	confirm string // the revision whose removals a person confirmed
}

// New reads the ledger and prepares a Reconciler; nothing is begun.
func New(cfg Config) (*Reconciler, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	st, err := openStore(cfg.Host.State)
	if err != nil {
		return nil, err
	}
	h, err := st.loadHost()
	if err != nil {
		return nil, err
	}
	apps, err := st.loadApps()
	if err != nil {
		return nil, err
	}
	key, err := hostKey(cfg.Host.State)
	if err != nil {
		return nil, err
	}
	r := &Reconciler{
		cfg: cfg, store: st, key: key, host: newHostLedger(st, h), world: newWorld(cfg.Engine),
		pulls: newPulls(), nets: newNets(), ready: make(chan struct{}),
		hatch: make(chan *worker), workers: map[string]*worker{}, views: map[string]status.App{}, sources: map[string]*follower{},
		after: map[string][]string{}, promoted: make(chan struct{}, 1),
	}
	r.table = &tableKeeper{
		traffic: cfg.Traffic, log: cfg.Logger, bootID: cfg.BootID, build: r.buildTable,
		notify: r.wake, kick: make(chan struct{}, 1), parts: map[string]part{},
	}
	for id, a := range apps {
		r.workers[id] = newWorker(r, a.Environment, a.Name, a)
	}
	for _, src := range cfg.Host.Sources {
		r.sources[src.Name] = newFollower(r, src, cfg.Sources[src.Name])
	}
	return r, nil
}

// Run converges the host until ctx ends, and returns when everything that it
// started has ended. Containers and traffic are left as they are.
func (r *Reconciler) Run(ctx context.Context) error {
	r.reportDamage()
	r.firstSync(ctx)
	r.rebuildHost(ctx)
	r.start(ctx, func(ctx context.Context) { r.followEngine(ctx) })
	r.start(ctx, func(ctx context.Context) { r.table.watch(ctx) })
	r.start(ctx, func(ctx context.Context) { r.table.run(ctx, r.ready) })
	r.mu.Lock()
	workers := slices.Collect(maps.Values(r.workers))
	r.mu.Unlock()
	for _, w := range workers {
		r.start(ctx, w.run)
	}
	r.offerAll(ctx, workers)
	for _, f := range r.sources {
		r.start(ctx, f.run)
	}
	r.start(ctx, r.keepHouse)
	r.start(ctx, r.followCertificates)
	r.start(ctx, r.watchdog)
	r.startLate(ctx)
	r.group.Wait()
	r.closeLate()
	return nil
}

// closeLate ends the workers that came too late to be started: who asks them
// something is told that the agent stops.
func (r *Reconciler) closeLate() {
	for _, w := range r.all() {
		select {
		case <-w.done:
		default:
			close(w.done)
		}
	}
}

// startLate starts the workers that are made while Run runs.
func (r *Reconciler) startLate(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-r.hatch:
			r.start(ctx, w.run)
		}
	}
}

// start runs f in a goroutine that Run waits for.
func (r *Reconciler) start(ctx context.Context, f func(context.Context)) {
	r.group.Go(func() { f(ctx) })
}

// reportDamage tells what the ledger lost.
func (r *Reconciler) reportDamage() {
	for _, note := range r.store.notes {
		r.cfg.Logger.Warn("ledger damaged", "note", note)
		r.cfg.Journal.Record(status.Event{Host: r.cfg.Host.Name, Severity: "warning", Reason: status.Interrupted, Actor: status.Actor{Kind: "remora"}, Message: "the ledger was damaged: " + note})
	}
}

// firstSync reads the engine; while it does not answer, the event stream's
// resync does it later.
func (r *Reconciler) firstSync(ctx context.Context) {
	if _, err := r.world.resync(ctx); err != nil {
		r.cfg.Logger.Warn("engine not read yet", "err", err)
	}
}

// offerAll has every app of the ledger offer its traffic once, and then lets
// tables go out.
func (r *Reconciler) offerAll(ctx context.Context, workers []*worker) {
	var wait sync.WaitGroup
	for _, w := range workers {
		wait.Go(func() {
			_, err := order(ctx, w, func() bool { return w.offerTraffic(r.world.ofApp(w.id)) })
			if err != nil && ctx.Err() == nil {
				w.log.Error("traffic not offered", "err", err)
			}
		})
	}
	wait.Wait()
	close(r.ready)
	r.table.wake()
}

// followEngine keeps the world fresh and wakes the apps that events concern.
func (r *Reconciler) followEngine(ctx context.Context) {
	check := time.NewTicker(driftCheck)
	defer check.Stop()
	events := r.cfg.Engine.Events(ctx)
	ends := newDying()
	defer ends.timer.Stop()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			if !ends.hears(e, r.isActive, r.now()) {
				r.take(ctx, e)
			}
		case <-ends.timer.C:
			for _, id := range ends.take(r.now()) {
				r.onEvent(ctx, engine.Event{Kind: engine.EventDie, Container: id})
			}
		case <-check.C:
			r.take(ctx, engine.Event{Kind: engine.Resync})
		}
	}
}

// driftCheck is how often the engine is read though it announced nothing.
const driftCheck = time.Minute

// take brings the world up to date after an event.
func (r *Reconciler) take(ctx context.Context, e engine.Event) {
	switch e.Kind {
	case engine.Resync:
		changed, err := r.world.resync(ctx)
		if err != nil && ctx.Err() == nil {
			r.cfg.Logger.Warn("engine not read", "err", err)
		}
		for _, app := range changed {
			r.wake(app)
		}
	case engine.Disconnected:
		r.world.lost(engine.ErrUnavailable)
		r.wakeAll()
	default:
		r.onEvent(ctx, e)
	}
}

// onEvent reads the container that an event names again.
func (r *Reconciler) onEvent(ctx context.Context, e engine.Event) {
	if e.Container == "" {
		return
	}
	if e.Kind == engine.EventStop || e.Kind == engine.EventPause || e.Kind == engine.EventUnpause {
		r.byHand(ctx, e)
	}
	app, err := r.world.refresh(ctx, e.Container)
	if err != nil && ctx.Err() == nil {
		r.cfg.Logger.Warn("container not read", "container", e.Container, "err", err)
		return
	}
	if app != "" {
		r.wake(app)
	}
}

// wake makes an app's worker look again.
func (r *Reconciler) wake(app string) {
	r.mu.Lock()
	w := r.workers[app]
	r.mu.Unlock()
	if w != nil {
		w.wake()
	}
}

func (r *Reconciler) wakeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.workers {
		w.wake()
	}
}

// worker returns the worker of an app, made and started if it is new; nil when
// ctx has ended.
func (r *Reconciler) worker(ctx context.Context, env, name string) *worker {
	r.mu.Lock()
	id := env + "/" + name
	w, known := r.workers[id]
	if !known {
		w = newWorker(r, env, name, ledger.App{})
		r.workers[id] = w
	}
	r.mu.Unlock()
	if known {
		return w
	}
	select {
	case r.hatch <- w:
		return w
	case <-ctx.Done():
		return nil
	}
}

// buildTable makes the ambassador's table of all apps' parts.
func (r *Reconciler) buildTable(parts map[string]plan.AppTraffic) traffic.Table {
	info, _, _ := r.world.state()
	in := plan.TableInput{BootID: r.cfg.BootID, EngineStart: info.Start, HTTP: r.cfg.Host.Ambassador.HTTP, Apps: parts}
	in.Limits = plan.Limits(r.cfg.Host.Ambassador.Limits)
	in.AccessLog = plan.AccessLog(r.cfg.Host.Ambassador.AccessLog)
	r.certify(&in)
	in.Trusted, _ = r.cfg.Host.Ambassador.Trusted() // the host file was checked when it was read
	in.ProxyFrom, _ = r.cfg.Host.Ambassador.ProxyFrom()
	in.KeepClient = r.cfg.KeepClient
	r.host.read(func(h *ledger.Host) { in.Host = *h })
	return plan.Table(in)
}

func (r *Reconciler) now() time.Time { return r.cfg.Now() }

// notReady names the first app of AfterApps that is not healthy yet, or
// returns "".
func (r *Reconciler) notReady(after []string, env string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range after {
		v, ok := r.views[env+"/"+name]
		if !ok {
			return fmt.Sprintf("%s is not on this host", name)
		}
		if v.Health != status.Healthy || v.Sync != status.Synced {
			return name + " is not healthy yet"
		}
	}
	return ""
}
