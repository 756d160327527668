package ambassador

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remorahq/remora/ambassador/accesslog"
	"github.com/remorahq/remora/ambassador/control"
	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/ambassador/tunnel"
	"github.com/remorahq/remora/internal/atomicfile"
	"github.com/remorahq/remora/internal/traffic"
)

// TableFile is the name of the table's file in the state folder.
const TableFile = "table.json"

// Opener opens listeners; the holder does it for the worker.
type Opener interface {
	// Open returns the listener, or nil when the one opened before in the
	// namespace of that inode is still right. path is the network namespace's
	// file, or empty.
	Open(ctx context.Context, key traffic.ListenerKey, path string, have uint64) (l *net.TCPListener, inode uint64, err error)
	// Close gives a listener up; Sweep all that this worker has not opened.
	Close(key traffic.ListenerKey) error
	Sweep() error
	// Sockets returns some TCP sockets that are not bound and may take any
	// address; a [*NotAllowed] is final.
	Sockets(ctx context.Context, v6 bool) ([]*os.File, error)
	// Upgrade starts a successor and returns when it leads.
	Upgrade(ctx context.Context) error
}

// Options are what a worker needs.
type Options struct {
	// StateDir holds the table's file.
	StateDir string
	Opener   Opener
	Log      *slog.Logger
	// Version is the program's, for reports.
	Version string
	// BootID is the kernel's present boot ID.
	BootID string
}

// Worker serves one table.
type Worker struct {
	opt     Options
	log     *slog.Logger
	store   *atomicfile.Store
	started time.Time

	view     atomic.Pointer[view]
	draining atomic.Bool  // a successor leads
	replay   atomic.Int64 // bytes kept to be sent again
	mirrors  atomic.Int64 // copies under way
	clients  clients
	stopping chan struct{}
	stopOnce sync.Once
	changed  broadcast
	readers  readers
	desks    desks
	buffers  buffers
	access   *accesslog.Log
	reasons  reasonCounts // of what belongs to no service
	// accepted counts connections; handshakes are of TLS.
	accepted, handshakes, handshakeFailures atomic.Uint64
	tunnels                                 tunnel.Pools
	spares                                  spares

	mu        sync.Mutex // puts tables, one at a time
	leads     bool
	unsaved   bool
	runtimes  runtimes
	listeners map[traffic.ListenerKey]*listener
	failures  atomic.Pointer[[]traffic.ListenFailure]

	secure     *secrets
	sessions   sessions // of HTTP/2
	peers      peers
	background sync.WaitGroup // everything but connections
	conns      connections
}

// buffer is what bodies go through, with room for the framing of a chunk.
type buffer struct {
	b [http1.ChunkRoom + copyBuffer + http1.ChunkAfter]byte
}

// buffers is a pool of them.
type buffers struct{ p sync.Pool }

func (b *buffers) get() *buffer {
	if buf, ok := b.p.Get().(*buffer); ok {
		return buf
	}
	return new(buffer)
}

func (b *buffers) put(buf *buffer) { b.p.Put(buf) }

// connections are the client connections that are open.
type connections struct {
	mu   sync.Mutex
	open map[*conn]struct{}
	none broadcast
}

// New returns a worker that serves nothing yet.
func New(opt Options) *Worker {
	wk := &Worker{
		opt: opt, log: opt.Log, started: time.Now(), access: accesslog.New(opt.StateDir, opt.Log),
		store:     atomicfile.NewStore(filepath.Join(opt.StateDir, TableFile), traffic.FormatVersion),
		stopping:  make(chan struct{}),
		runtimes:  runtimes{services: make(map[string]*service)},
		listeners: make(map[traffic.ListenerKey]*listener),
	}
	wk.secure = newSecrets(opt.StateDir)
	wk.conns.open = make(map[*conn]struct{})
	wk.view.Store(wk.runtimes.build(&traffic.Table{}, opt.BootID))
	wk.failures.Store(new([]traffic.ListenFailure))
	wk.background.Go(wk.housekeeping)
	return wk
}

// BootID reads the kernel's boot ID.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot ID: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// LoadTable makes the table on disk ready to serve, the previous copy if that
// is damaged. Without any it is no error. Nothing is accepted before Lead.
func (wk *Worker) LoadTable(ctx context.Context) error {
	wk.mu.Lock()
	defer wk.mu.Unlock()
	return errors.Join(wk.loadSecrets(), wk.loadLocked(ctx))
}

func (wk *Worker) loadLocked(ctx context.Context) error {
	t := new(traffic.Table)
	recovery, err := wk.store.Load(t)
	if recovery != nil {
		wk.log.Error("table on disk is damaged", "what", recovery.String())
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("load table: %w", err)
	case t.Generation <= wk.view.Load().table.Generation, wk.closes():
		return nil
	}
	wk.applyLocked(ctx, t)
	if err := wk.opt.Opener.Sweep(); err != nil {
		return fmt.Errorf("give up stale listeners: %w", err)
	}
	v := wk.view.Load()
	wk.log.Info("table loaded", "generation", t.Generation, "services", len(t.Services), "listeners", len(t.Listeners), "fenced", v.fenced)
	return nil
}

// Put makes t the table in force, on every live worker and on disk.
func (wk *Worker) Put(ctx context.Context, t *traffic.Table) (traffic.Ack, error) {
	wk.mu.Lock()
	defer wk.mu.Unlock()
	if !wk.leads {
		return traffic.Ack{}, control.ErrNotLeading
	}
	if t.Version != traffic.FormatVersion {
		return traffic.Ack{}, fmt.Errorf("table has version %d, this ambassador knows %d", t.Version, traffic.FormatVersion)
	}
	now := wk.view.Load().table
	same := t.Generation == now.Generation && reflect.DeepEqual(t, now)
	if t.Generation <= now.Generation && !same {
		return traffic.Ack{}, &control.StaleError{Current: now.Generation, Refused: t.Generation}
	}
	if !same {
		wk.applyLocked(ctx, t)
		wk.unsaved = true
	}
	ack := traffic.Ack{Generation: t.Generation, Failures: *wk.failures.Load()}
	peersErr := wk.peers.pass(ctx, t)
	if wk.unsaved {
		if err := wk.store.Save(t); err != nil {
			wk.log.Error("table is served but not on disk", "generation", t.Generation, "err", err)
			return ack, fmt.Errorf("%w: %w", control.ErrNotPersisted, err)
		}
		wk.unsaved = false
	}
	return ack, peersErr
}

// applyLocked serves t. The order is the claim protocol's: reopen, swap,
// close.
func (wk *Worker) applyLocked(ctx context.Context, t *traffic.Table) {
	old := wk.view.Load()
	v := wk.runtimes.build(t, wk.opt.BootID)
	wk.openListeners(ctx, v)
	for _, sv := range v.services {
		for _, rv := range sv.releases {
			if rv.open {
				rv.rel.closed.Store(false)
			}
		}
	}
	wk.view.Store(v)
	wk.access.Set(accesslog.Settings{Format: accesslog.Format(t.AccessLog.Format), MaxSize: t.AccessLog.MaxSize, Keep: t.AccessLog.Keep})
	gone := wk.runtimes.adopt(v)
	for _, sv := range v.services {
		for _, rv := range sv.releases {
			wk.settle(rv)
		}
		sv.svc.wake.fire()
	}
	close(old.superseded)
	wk.acceptListeners()
	for _, e := range gone {
		e.retire()
	}
	wk.changed.fire()
}

// settle closes what gets no claims, starts or ends its drain, and sets its
// checks.
func (wk *Worker) settle(rv *releaseView) {
	if rv.open || !rv.lends {
		rv.rel.shut.Store(true)
	} else if !rv.rel.closed.Load() {
		rv.rel.shut.Store(false)
	}
	if !rv.open && !rv.rel.closed.Swap(true) {
		for _, ev := range rv.endpoints {
			ev.ep.eachPool(func(p *pool) { p.shut(false) })
		}
	}
	wk.setDrain(rv)
	for _, ev := range rv.endpoints {
		ev.ep.withdrawn.Store(ev.spec.Down)
		wk.watch(ev, rv.spec.Probes)
	}
}

// retire ends what runs for an endpoint that is in no table any more.
func (e *endpoint) retire() {
	e.withdrawn.Store(true)
	e.mu.Lock()
	e.stopChecks()
	e.mu.Unlock()
	e.eachPool(func(p *pool) { p.shut(true) })
}

// Table returns the table in force.
func (wk *Worker) Table() *traffic.Table { return wk.view.Load().table }

// Changed returns a channel that is closed at the next change of a report.
func (wk *Worker) Changed() <-chan struct{} { return wk.changed.wait() }

// Upgrade starts a successor and returns when it leads.
func (wk *Worker) Upgrade(ctx context.Context) error { return wk.opt.Opener.Upgrade(ctx) }

// Lead lets the worker accept connections and take tables. Its predecessor may
// have written another table since this one was loaded; it does neither any
// more, so that no two workers accept by different tables.
func (wk *Worker) Lead(ctx context.Context) error {
	wk.mu.Lock()
	defer wk.mu.Unlock()
	err := errors.Join(wk.loadSecrets(), wk.secure.turnTickets(time.Now()), wk.loadLocked(ctx))
	if cerr := atomicfile.Clean(wk.opt.StateDir); cerr != nil {
		wk.log.Warn("clean the state folder", "err", cerr)
	}
	wk.leads = true
	wk.acceptListeners()
	wk.changed.fire()
	return err
}

// Drain makes the worker a predecessor: it accepts nothing, takes tables from
// its successor only, and finishes what runs. It returns when no table is
// being put; [Worker.Drained] tells the end.
func (wk *Worker) Drain() {
	wk.mu.Lock()
	defer wk.mu.Unlock()
	wk.leads = false
	wk.draining.Store(true)
	wk.sessions.drain(wk.stopping)
	for _, l := range wk.listeners {
		l.close()
	}
	wk.listeners = make(map[traffic.ListenerKey]*listener)
	wk.changed.fire()
}

// Drained is closed when a draining worker has no connection any more, or ctx
// ended.
func (wk *Worker) Drained(ctx context.Context) {
	for {
		none := wk.conns.none.wait()
		if wk.conns.count() == 0 {
			return
		}
		select {
		case <-none:
		case <-ctx.Done():
			return
		}
	}
}

// Close ends everything and returns when it has ended.
func (wk *Worker) Close() {
	wk.stopOnce.Do(func() {
		wk.Drain()
		close(wk.stopping)
		wk.peers.close()
		wk.conns.closeAll()
		wk.Drained(context.Background())
		wk.retireAll()
		wk.background.Wait()
		wk.tunnels.Close()
		wk.spares.close()
		wk.access.Close()
	})
}

// retireAll ends what runs for endpoints and releases. No table is served after
// it, so that nothing begins anew.
func (wk *Worker) retireAll() {
	wk.mu.Lock()
	defer wk.mu.Unlock()
	for _, svc := range wk.runtimes.services {
		for _, e := range svc.dropped(nil) {
			e.retire()
		}
		for _, rel := range svc.releases {
			rel.endDrain()
		}
	}
}

// closes says that the worker does.
func (wk *Worker) closes() bool {
	select {
	case <-wk.stopping:
		return true
	default:
		return false
	}
}

// housekeeping closes stale upstream connections and retries listeners.
func (wk *Worker) housekeeping() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-wk.stopping:
			return
		case now := <-tick.C:
			wk.expirePools(now)
			wk.retryListeners()
			wk.turnTickets(now)
		}
	}
}

func (wk *Worker) expirePools(now time.Time) {
	for _, sv := range wk.view.Load().services {
		for _, rv := range sv.releases {
			for _, ev := range rv.endpoints {
				ev.ep.eachPool(func(p *pool) { p.expire(now) })
			}
		}
	}
}

func (c *connections) add(k *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[k] = struct{}{}
}

func (c *connections) remove(k *conn) {
	c.mu.Lock()
	delete(c.open, k)
	n := len(c.open)
	c.mu.Unlock()
	if n == 0 {
		c.none.fire()
	}
}

func (c *connections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// closeAll closes all connections and returns when each is at its end: one that
// rides takes until its exchange has seen it.
func (c *connections) closeAll() {
	var closing sync.WaitGroup
	c.mu.Lock()
	for k := range c.open {
		closing.Go(func() { _ = k.c.Close() })
	}
	c.mu.Unlock()
	closing.Wait()
}

// busy says whether any request is in flight.
func (wk *Worker) busy() (busy bool) {
	wk.eachRelease(func(r *release) { busy = busy || r.requests.Load() > 0 })
	return busy
}
