package reconciler

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/plan"
	"github.com/remorahq/remora/reconciler/rollout"
)

// worker works on one app. Its run goroutine is the only one that touches its
// fields; everybody else sends it functions, or kicks it. What may take long
// (the registry, the engine, a hook) runs in goroutines that it starts, counts
// and waits for, and comes back through the inbox.
type worker struct {
	r    *Reconciler
	id   string // env/app; id, env and name never change
	env  string
	name string
	log  *slog.Logger

	inbox chan letter
	kick  chan struct{}
	// done is closed when run has returned.
	done chan struct{}

	app ledger.App
	// saved is false while app is not on disk: no action runs then. failing says
	// that it could not be written.
	saved, failing bool

	desired  *desired
	prepared *prepared
	// preparing says that a desire is being prepared, prepareErr why the last
	// could not be.
	preparing  bool
	prepareErr *rollout.Failed
	// planDue asks for a plan: a new desire, the end of a rollout, a command.
	planDue bool
	// lookAt is when a pull policy asks the registry again; looking says that
	// the plan is due for that alone.
	lookAt  time.Time
	looking bool
	last    plan.Result
	// refused is the last commit of another source that wanted the app.
	refused string
	// judged is the revision that the last plan was made for.
	judged string

	failures map[string]rollout.Failed
	chains   map[string]string // instances that actions are under way on, by chain
	running  int
	// own counts remora's own stops and pauses under way by container, ownEnded
	// is when the last one ended.
	own      map[string]int
	ownEnded map[string]time.Time
	healthy  map[string]time.Time
	pulled   map[string]bool
	oom      map[string]time.Time // starts whose oom_score_adj is settled, by ID
	output   map[string]string    // last lines of failed containers, by ID
	granted  bool
	waiting  string
	// networked is what the last Network action was made for.
	networked networkedFor

	// offered is what the table keeper was last handed.
	offered *plan.AppTraffic
	outcome status.App // the last status, for the view
	since   time.Time
	// gone says that the app is no longer wanted and may be forgotten once
	// nothing of it is left; retiring that this is under way, forgot that it
	// was.
	gone, retiring, forgot bool
	// retireErr is why the app could not be forgotten, retireAt when that is
	// tried again.
	retireErr error
	retireAt  time.Time
	// shown is since when each service is as the status shows it.
	shown map[string]shown
}

// letter is something for the worker's goroutine to do; after a question it does
// not look again, for nothing has changed.
type letter struct {
	do       func(ctx context.Context)
	question bool
}

// networkedFor is a start of the engine, and the networks, volumes and service
// addresses that an app wants; see networksOf.
type networkedFor struct{ engineStart, networks string }

// desired is what a revision wants of the app, or why that is not known.
type desired struct {
	revision status.Revision
	app      *manifests.App
	// failed says why the app could not be loaded; skipped why it is not
	// placed here.
	failed  manifests.Diagnostics
	skipped *manifests.Diagnostic
	// held keeps a removal back.
	held string
}

func newWorker(r *Reconciler, env, name string, app ledger.App) *worker {
	id := env + "/" + name
	if app.Name == "" {
		app = ledger.App{Version: ledger.Version, Environment: env, Name: name}
	}
	return &worker{
		r: r, id: id, env: env, name: name, log: r.cfg.Logger.With("app", id), app: app, saved: true,
		inbox: make(chan letter, 16), kick: make(chan struct{}, 1), done: make(chan struct{}),
		failures: map[string]rollout.Failed{}, chains: map[string]string{}, own: map[string]int{}, ownEnded: map[string]time.Time{}, output: map[string]string{}, oom: map[string]time.Time{}, healthy: map[string]time.Time{}, pulled: map[string]bool{},
	}
}

// run works until ctx ends, and then waits for what it started.
func (w *worker) run(ctx context.Context) {
	defer close(w.done)
	timer := stopped()
	defer timer.Stop()
	w.wake()
	for {
		select {
		case <-ctx.Done():
			w.drain()
			return
		case l := <-w.inbox:
			if l.do(ctx); l.question {
				continue
			}
		case <-w.kick:
		case <-timer.C:
		}
		timer.Reset(w.settle(ctx))
	}
}

// drain takes the results of what still runs, so that no goroutine is left.
func (w *worker) drain() {
	for w.running > 0 {
		(<-w.inbox).do(context.Background())
	}
}

// wake makes the worker look again; it never blocks.
func (w *worker) wake() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// post hands f to the worker's goroutine, which looks again afterwards.
func (w *worker) post(ctx context.Context, f func(context.Context)) error {
	return w.send(ctx, letter{do: f})
}

func (w *worker) send(ctx context.Context, l letter) error {
	select {
	case w.inbox <- l:
		return nil
	case <-w.done:
		return errStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// spawn runs work beside the worker and finish in its goroutine afterwards.
func (w *worker) spawn(ctx context.Context, work func(context.Context), finish func()) {
	w.running++
	go func() {
		work(ctx)
		w.inbox <- letter{do: func(context.Context) {
			w.running--
			finish()
		}}
	}()
}

// maxSteps bounds the steps of one settling; more than that is a mistake in
// the core, and the next kick goes on.
const maxSteps = 64

// settle steps until nothing changes, and returns when to look again.
func (w *worker) settle(ctx context.Context) time.Duration {
	const idle = 10 * time.Minute
	if _, err, synced := w.r.world.state(); err != nil || !synced {
		w.publish(status.EngineUnavailable, "the container engine does not answer")
		return time.Second
	}
	w.goOn()
	var wake time.Time
	for range maxSteps {
		w.prepare(ctx)
		planned := w.plan()
		d := w.step(ctx)
		wake = earliest(d.Wake, w.nextLook())
		if !planned && !d.Changed {
			break
		}
	}
	if wake.IsZero() {
		return idle
	}
	if left := wake.Sub(w.r.now()); left > 0 {
		return min(idle, left)
	}
	return overdue // it waits for something else, too, which wakes by itself
}

// overdue is the pause where a moment has passed and nothing came of it.
const overdue = 20 * time.Millisecond

// nextLook is when the worker has something to do that the core knows nothing
// of; zero for never.
func (w *worker) nextLook() time.Time {
	at := earliest(w.retryAt(), w.last.Again)
	if w.prepareErr != nil && !w.preparing {
		at = earliest(at, w.prepareErr.Next)
	}
	if w.gone && !w.retiring {
		at = earliest(at, w.retireAt)
	}
	if w.app.Rollout == nil && !w.planDue {
		at = earliest(at, w.lookAt)
	}
	return at
}

// goOn plans again when a hold has ended by itself, or a tag may have moved.
func (w *worker) goOn() {
	if !w.lookAt.IsZero() && !w.r.now().Before(w.lookAt) && w.app.Rollout == nil {
		w.looking = w.looking || !w.planDue
		w.lookAt, w.planDue = time.Time{}, true
	}
	if again := w.last.Again; !again.IsZero() && !w.r.now().Before(again) {
		w.last.Again, w.planDue = time.Time{}, true
	}
}

// step asks the core once. The ledger is on disk before anything is begun or
// handed to the ambassador; a step that does neither is followed by the next
// one, and written with that.
func (w *worker) step(ctx context.Context) rollout.Decision {
	containers := w.r.world.ofApp(w.id)
	w.resumed(containers)
	applied := false
	if w.saved {
		applied = w.offerTraffic(containers)
	} else {
		applied = w.carried(containers)
	}
	d := rollout.Step(w.app, w.observe(containers, applied))
	if d.Changed {
		w.changed(d.App)
	}
	for _, e := range d.Events {
		w.record(e)
	}
	if !w.saved && w.due(d, containers) && !w.save() {
		d.Changed, d.Wake = false, earliest(d.Wake, w.r.now().Add(time.Second))
	}
	switch {
	case w.saved:
		w.offerTraffic(containers)
		w.act(ctx, d.Actions)
	case !slices.ContainsFunc(d.Actions, leavesTrace):
		w.act(ctx, d.Actions)
	}
	w.settleOOM(containers)
	w.forgetGone(containers)
	w.retire(ctx)
	w.show(d, containers)
	return d
}

// changed takes the ledger's next state.
func (w *worker) changed(app ledger.App) {
	ended := w.app.Rollout != nil && app.Rollout == nil
	w.app, w.saved = app, false
	w.planDue = w.planDue || ended
	if ended {
		w.r.cleanSoon()
	}
}

// due says that the ledger must be on disk by now: an action begins, the
// ambassador is told something, or nothing follows.
func (w *worker) due(d rollout.Decision, containers containerSet) bool {
	if !d.Changed || slices.ContainsFunc(d.Actions, leavesTrace) {
		return true
	}
	_, same := w.traffic(containers)
	return !same
}

// leavesTrace says that an action changes what the ledger speaks of: to ask, to
// fetch an image or to run a check does not.
func leavesTrace(a rollout.Action) bool {
	return a.Kind != rollout.Acquire && a.Kind != rollout.Pull && a.Kind != rollout.Health
}

// save writes the ledger and says whether it could. While that fails nothing
// is begun, and the status says so.
func (w *worker) save() bool {
	err := w.r.store.saveApp(w.app)
	if err != nil && !w.failing {
		w.log.Error("ledger not saved, nothing new is begun", "err", err)
		w.record(status.Event{Reason: status.DiskLow, Severity: "error", Message: "the ledger cannot be written, so nothing new is begun: " + err.Error()})
	}
	w.saved, w.failing = err == nil, err != nil
	return w.saved
}

// observe gathers what the core looks at.
func (w *worker) observe(containers containerSet, applied bool) rollout.Observation {
	info, _, _ := w.r.world.state()
	o := rollout.Observation{
		Now: w.r.now(), Containers: containers, Applied: applied,
		Traffic: w.r.table.seen(w.id, w.serviceNames()), Failures: w.failures, Pulled: w.pulled, Healthy: w.healthy,
		Granted: w.granted, Waiting: w.waiting, BootID: w.r.cfg.BootID, EngineStart: info.Start,
		StopRespect: time.Duration(w.r.cfg.Host.StopRespect),
		Networks:    w.isNetworked(info.Start), Busy: w.busyInstances(), Output: w.output,
	}
	w.newer(&o)
	switch {
	case o.Traffic == nil && needsTraffic(w.app.Rollout):
		o.NotReady = "the ambassador, which does not answer"
	case w.desired != nil && w.desired.app != nil:
		o.NotReady = w.r.notReady(w.desired.app.AfterApps, w.env)
	}
	return o
}

// needsTraffic says that a rollout cannot get anywhere without the ambassador.
func needsTraffic(ro *ledger.Rollout) bool {
	if ro == nil {
		return false
	}
	for _, c := range ro.Changes {
		if c.Kind == manifests.KindEndpoint && c.Action == ledger.Replace {
			return true
		}
	}
	return false
}

// isNetworked says that the networks stand for the rollout under way, or since
// the engine's last start.
func (w *worker) isNetworked(engineStart string) bool {
	if w.app.Rollout != nil {
		return w.networked == networkedFor{engineStart, networksOf(w.app)}
	}
	return w.networked.engineStart == engineStart
}

// busyInstances are those that an action is under way on.
func (w *worker) busyInstances() map[string]bool {
	out := map[string]bool{}
	for _, name := range w.chains {
		if name != "" {
			out[name] = true
		}
	}
	return out
}

// serviceNames are the app's services as the table calls them.
func (w *worker) serviceNames() []string {
	var names []string
	for name := range w.app.Services {
		names = append(names, w.id+"/"+name)
	}
	if w.app.Rollout != nil {
		for name := range w.app.Rollout.Changes {
			if w.app.Services[name] == nil {
				names = append(names, w.id+"/"+name)
			}
		}
	}
	return names
}

// record completes an event and hands it to the journal.
func (w *worker) record(e status.Event) {
	e.Host, e.Environment, e.App = w.r.cfg.Host.Name, w.env, w.name
	if e.Revision == "" && w.app.Rollout != nil {
		e.Revision = w.app.Rollout.Revision
	}
	if e.Actor.Kind == "" {
		e.Actor = status.Actor{Kind: "remora"}
	}
	if e.Severity == "" {
		e.Severity = "info"
	}
	w.r.cfg.Journal.Record(e)
}

// earliest returns the earlier of two moments; zero is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
