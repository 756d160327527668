package ambassador

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/ambassador/control"
	"github.com/remorahq/remora/ambassador/handoff"
)

const (
	// aliveEvery is how often the worker tells the holder that it lives.
	aliveEvery = 3 * time.Second
	// finishing is how long requests may go on after a SIGTERM, and parting how
	// long tunnels that were said goodbye to may take to close.
	finishing = 10 * time.Second
	parting   = time.Second
)

// process is a worker in a process of its own, as the holder starts it.
type process struct {
	wk    *Worker
	link  *link
	log   *slog.Logger
	uid   uint32
	mu    sync.Mutex
	api   *control.Server
	drain context.CancelFunc
	quiet sync.WaitGroup
}

// RunWorker is the whole life of a worker process that a holder started: it
// serves the table on disk, leads when it is told to, and ends when it has
// drained, at a SIGTERM, or with the holder. holderUID may call the control
// API besides root.
func RunWorker(ctx context.Context, log *slog.Logger, version string, holderUID uint32) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up privileges: %w", err)
	}
	// The program was executed by descriptor; without a name it would be "5".
	_ = os.WriteFile("/proc/self/comm", []byte("remora-worker"), 0)
	// Keys are in our memory: none but root may look into it, and no core is
	// dumped.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("protect memory: %w", err)
	}
	_ = os.NewFile(handoff.FDBinary, "binary").Close()
	unix.CloseOnExec(handoff.FDState)
	conn, err := handoff.FromFile(os.NewFile(handoff.FDLink, "link"))
	if err != nil {
		return fmt.Errorf("start as worker: %w (the holder starts workers, not people)", err)
	}
	boot, err := BootID()
	if err != nil {
		return err
	}
	l := newLink(conn)
	wk := New(Options{
		StateDir: fmt.Sprintf("/proc/self/fd/%d", handoff.FDState),
		Opener:   l, Log: log, Version: version, BootID: boot,
	})
	p := &process{wk: wk, link: l, log: log, uid: holderUID}
	return p.run(ctx)
}

func (p *process) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.drain = cancel
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT)
	told := make(chan toldMessage, 16)
	go p.link.receive(func(m handoff.Message, fd *os.File) {
		select {
		case told <- toldMessage{m, fd}:
		case <-ctx.Done():
		}
	})
	loaded := make(chan error, 1)
	go func() { loaded <- p.wk.LoadTable(ctx) }()
	err := p.loop(ctx, signals, told, loaded)
	cancel()
	p.stopAPI()
	p.quiet.Wait()
	p.wk.Close()
	err = errors.Join(err, p.link.conn.Close())
	<-p.link.gone
	return err
}

type toldMessage struct {
	m  handoff.Message
	fd *os.File
}

func (p *process) loop(ctx context.Context, signals <-chan os.Signal, told <-chan toldMessage, loaded <-chan error) error {
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil // drained
		case <-p.link.gone:
			return errors.New("the holder is gone")
		case <-signals:
			p.finish()
			return nil
		case <-alive.C:
			if err := p.link.tell(handoff.Alive); err != nil {
				return err
			}
		case err := <-loaded:
			if err != nil {
				p.log.Error("start without a table", "err", err)
			}
			if err := p.link.tell(handoff.Ready); err != nil {
				return err
			}
		case t := <-told:
			p.obey(ctx, t)
		}
	}
}

func (p *process) obey(ctx context.Context, t toldMessage) {
	switch t.m.Op {
	case handoff.Peer:
		p.peer(t)
	case handoff.Gone:
		p.wk.PeerGone(t.m.Worker)
	case handoff.Lead:
		// Opening listeners waits for answers that arrive over the link, which
		// another goroutine reads.
		if err := p.wk.Lead(ctx); err != nil {
			p.log.Error("lead", "err", err)
		}
		if err := p.serveAPI(t.fd); err != nil {
			p.log.Error("serve the control API", "err", err)
		}
	case handoff.Drain:
		// It waits for a table that is being put, which may wait for what else
		// the holder has to say.
		p.quiet.Go(func() { p.startDrain(ctx) })
	case handoff.End:
		p.quiet.Go(func() { p.wk.End(ctx) })
	}
}

func (p *process) peer(t toldMessage) {
	var err error
	if t.m.Older {
		err = p.wk.AddOlder(t.fd, t.m.Worker, func() { p.lost(t.m.Worker) })
	} else {
		err = p.wk.AddYounger(t.fd)
	}
	if err != nil {
		p.log.Error("link with another worker", "worker", t.m.Worker, "err", err)
	}
}

// lost asks the holder whether a predecessor is gone.
func (p *process) lost(worker int) {
	if err := p.link.conn.Send(handoff.Message{Op: handoff.Lost, Worker: worker}, nil); err != nil {
		p.log.Debug("tell the holder", "err", err) // which is gone, and we soon
	}
}

func (p *process) serveAPI(f *os.File) error {
	if f == nil {
		return errNoDescriptor
	}
	l, err := net.FileListener(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		return errors.Join(errors.New("not a unix socket"), l.Close())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.api = control.Serve(u, p.wk, p.log, p.uid)
	return nil
}

func (p *process) stopAPI() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.api != nil {
		if err := p.api.Close(); err != nil {
			p.log.Debug("close the control API", "err", err)
		}
		p.api = nil
	}
}

// startDrain makes the worker a predecessor. It is quiet as soon as no table
// is being put; the call that asked for the upgrade is still answered.
func (p *process) startDrain(ctx context.Context) {
	p.wk.Drain()
	p.quiet.Go(p.stopAPI)
	if err := p.link.tell(handoff.Quiet); err != nil {
		p.log.Error("tell the holder", "err", err)
	}
	p.quiet.Go(func() {
		p.wk.Drained(ctx)
		p.drain()
	})
}

// finish lets requests in flight end, for a while, and says goodbye on tunnels.
func (p *process) finish() {
	p.stopAPI()
	p.wk.Drain()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	begun, end := time.Now(), time.After(finishing)
	for p.wk.busy() || p.wk.kickTunnels(1) > 0 && time.Since(begun) < parting {
		select {
		case <-tick.C:
		case <-end:
			return
		}
	}
}
