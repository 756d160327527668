// Package holder is the parent of the ambassador's workers. It opens listeners
// when a worker asks, keeps them open whatever happens to workers, hands them
// over, restarts a worker that died and starts its successor at an upgrade. It
// must not know the table, parse traffic or answer the control API: what
// strangers send never reaches it.
//
// One goroutine owns all state and starts all children; it is bound to the
// process's first thread because a child dies with the thread that started it,
// and no other thread outlives an exec in place.
package holder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/remorahq/remora/ambassador/handoff"
	"github.com/remorahq/remora/internal/traffic"
)

const (
	// silent is how long a worker may say nothing before it is killed.
	silent = 20 * time.Second
	// starting is how long a worker may take until it serves.
	starting = 10 * time.Second
	// stopping is how long workers may finish requests at a stop.
	stopping = 12 * time.Second
	// settled is the life after which a crash is not part of a loop.
	settled = 5 * time.Second
)

// Config is what a holder needs.
type Config struct {
	// RunDir holds the control socket, the lock and the folder netns, in which
	// alone network namespaces are looked for; StateDir the table.
	RunDir, StateDir string
	// User is whom workers run as, "name", "uid" or "uid:gid"; only root can.
	User string
	// Args are the worker's arguments after the program's name.
	Args []string
	// DrainLimit is how long a predecessor may serve what it has, such as
	// WebSockets, before that is ended; 0 is [DefaultDrainLimit].
	DrainLimit time.Duration
	// MaxDraining is how many predecessors may live beside each other; of more,
	// the oldest has to end. 0 is [DefaultMaxDraining].
	MaxDraining int
	Log         *slog.Logger
}

type holder struct {
	cfg       Config
	log       *slog.Logger
	files     *files
	sd        systemd
	events    chan event
	listeners map[traffic.ListenerKey]*held
	workers   map[int]*worker
	current   *worker // leads, or will
	next      *worker // its successor, until it leads
	asked     []request
	upgrades  bool // another upgrade follows the one under way
	numbers   int
	crashes   int
	restart   <-chan time.Time
	handover  <-chan time.Time // when the successor leads, quiet or not
	stop      bool
	renewing  bool // the holder is about to be replaced by its new program
}

// event is a message of a worker, or its end, or that it is not listened to any
// more.
type event struct {
	w      *worker
	m      handoff.Message
	err    error
	gone   bool
	parked bool
}

// Run holds the ambassador until ctx ends or SIGTERM or SIGINT arrives, and
// returns when all workers have exited. SIGHUP starts a new worker, from the
// program's file as it is now; a holder whose file was replaced then executes
// the new one in its own place.
func Run(ctx context.Context, cfg Config) error {
	var err error
	if merr := onMainThread(func() { err = run(ctx, cfg) }); merr != nil {
		return merr
	}
	return err
}

func run(ctx context.Context, cfg Config) error {
	former, err := inherited()
	if err != nil || former.check {
		return err
	}
	h := &holder{
		cfg: cfg, log: cfg.Log, sd: newSystemd(),
		events:    make(chan event),
		listeners: make(map[traffic.ListenerKey]*held),
		workers:   make(map[int]*worker),
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, handled()...)
	defer signal.Stop(signals)
	unblockSignals()
	if h.files, err = openFiles(cfg, former.state); err != nil {
		return err
	}
	defer h.files.close()
	if former.state != nil {
		err = h.resume(former.state)
	} else {
		h.current, err = h.start()
	}
	if err != nil {
		return err
	}
	h.loop(ctx, signals)
	for _, l := range h.listeners {
		err = errors.Join(err, l.file.Close())
	}
	return err
}

func (h *holder) loop(ctx context.Context, signals <-chan os.Signal) {
	tick := time.NewTicker(h.sd.interval())
	defer tick.Stop()
	var deadline <-chan time.Time
	done := ctx.Done()
	for !h.stop || len(h.workers) > 0 {
		select {
		case e := <-h.events:
			h.handle(e)
		case <-h.restart:
			h.restart = nil
			h.replaceCurrent()
		case <-h.handover:
			h.handover = nil
			h.killDeaf()
		case <-tick.C:
			h.sd.watchdog()
			h.killSilent()
			h.endOld(time.Now())
			h.relink()
		case <-done:
			done, deadline = nil, h.terminate()
		case s := <-signals:
			if s == syscall.SIGHUP {
				h.upgrade(request{})
			} else {
				deadline = h.terminate()
			}
		case <-deadline:
			h.killAll()
		}
		h.renewIfParked(signals)
	}
}

// terminate asks all workers to finish.
func (h *holder) terminate() <-chan time.Time {
	h.sd.notify("STOPPING=1")
	h.stop, h.restart = true, nil
	for _, w := range h.workers {
		_ = w.process.Signal(syscall.SIGTERM)
	}
	return time.After(stopping)
}

func (h *holder) killAll() {
	for _, w := range h.workers {
		_ = w.process.Kill()
	}
}

func (h *holder) killSilent() {
	for _, w := range h.workers {
		limit := silent
		if !w.ready {
			limit = starting
		}
		if time.Since(w.heard) > limit {
			h.log.Error("worker is silent, kill it", "worker", w.number, "for", time.Since(w.heard).Round(time.Second))
			_ = w.process.Kill()
		}
	}
}

func (h *holder) handle(e event) {
	switch {
	case e.gone:
		h.gone(e.w, e.err)
		return
	case e.parked:
		h.parked(e.w)
		return
	}
	e.w.heard = time.Now()
	switch e.m.Op {
	case handoff.Open:
		h.open(e.w, e.m)
	case handoff.Close:
		if e.w == h.newest() {
			h.forget(e.m.Key)
		}
	case handoff.Sockets:
		h.sockets(e.w, e.m)
	case handoff.Sweep:
		h.sweep(e.w)
	case handoff.Ready:
		h.ready(e.w)
	case handoff.Quiet:
		if e.w == h.current && h.next != nil {
			h.lead(h.next)
		}
	case handoff.Upgrade:
		h.upgrade(request{e.w, e.m.ID})
	case handoff.Lost:
		h.lost(e.w, e.m.Worker)
	default:
		h.unknown(e.w, e.m)
	}
}

// unknown refuses what a newer worker asks: it goes on without.
func (h *holder) unknown(w *worker, m handoff.Message) {
	if m.ID != 0 {
		h.send(w, handoff.Message{Op: handoff.Answer, ID: m.ID, Error: fmt.Sprintf("this holder knows no %q: restart the ambassador", m.Op)}, nil)
	}
}

func (h *holder) newest() *worker {
	if h.next != nil {
		return h.next
	}
	return h.current
}

func (h *holder) send(w *worker, m handoff.Message, fd syscall.Conn) {
	if w == nil {
		return
	}
	h.sent(w, m.Op, w.link.Send(m, fd))
}

// sent notes how it went to tell a worker something.
func (h *holder) sent(w *worker, op handoff.Op, err error) {
	if err != nil {
		h.log.Debug("worker cannot be told", "worker", w.number, "op", op, "err", err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		h.log.Error("worker does not read, kill it", "worker", w.number)
		_ = w.process.Kill()
	}
}
