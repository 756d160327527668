package ambassador

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// passLimit is how long a predecessor may take to serve a table, and a successor
// to read a report.
const passLimit = 5 * time.Second

// peers are a worker's predecessors and successor. The successor sends its
// predecessors every table; a predecessor sends its report at every change. One
// of which the holder says that it is gone counts as drained; one that is silent
// does not, nor one whose connection broke.
type peers struct {
	mu    sync.Mutex
	older map[int]*peer
	past  past
	conns map[net.Conn]struct{}
	shut  bool
}

// peer is a predecessor.
type peer struct {
	number  int
	mu      sync.Mutex // writes, and what is below
	c       net.Conn   // nil when it was lost
	report  traffic.Report
	last    traffic.Report // that came, whatever became of the connection
	changed broadcast
}

// nothingHeard is the report of a predecessor that has said nothing: of no
// generation, so that no release counts as drained.
func nothingHeard() traffic.Report { return traffic.Report{Workers: 1} }

// AddOlder takes over a connection to a predecessor. lost is called when the
// connection breaks, or cannot be taken over: whoever calls PeerGone or AddOlder
// again ends the doubt.
func (wk *Worker) AddOlder(f *os.File, number int, lost func()) error {
	p := wk.peers.predecessor(number)
	c, err := takeConn(f)
	if err != nil {
		lost()
		return err
	}
	if !wk.peers.add(c) {
		return c.Close()
	}
	p.mu.Lock()
	p.c = c
	p.mu.Unlock()
	wk.background.Go(func() {
		wk.followOlder(p, c)
		select {
		case <-wk.stopping: // we closed it
		default:
			lost()
		}
	})
	return p.send(wk.view.Load().table)
}

// AddYounger takes over a connection to the successor.
func (wk *Worker) AddYounger(f *os.File) error {
	c, err := takeConn(f)
	if err != nil {
		return err
	}
	wk.background.Go(func() { wk.reportTo(c) })
	wk.background.Go(func() { wk.obeyYounger(c) })
	return nil
}

// errNoDescriptor is a message without what it should bring: the kernel drops a
// descriptor that a process has no room for.
var errNoDescriptor = errors.New("no descriptor came with the message: this process may have as many as it is allowed")

func takeConn(f *os.File) (net.Conn, error) {
	if f == nil {
		return nil, errNoDescriptor
	}
	c, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("take over a worker's connection: %w", err)
	}
	return c, nil
}

// PeerGone says that a predecessor has ended. Its counts stay with its
// successor; with one that drains itself they would count twice.
func (wk *Worker) PeerGone(number int) {
	p := wk.peers.remove(number)
	if p == nil {
		return
	}
	if !wk.draining.Load() {
		wk.peers.keep(wk.view.Load(), p)
	}
	p.changed.fire()
	wk.changed.fire()
}

// keep adds a predecessor's last counts to the past.
func (ps *peers) keep(v *view, p *peer) {
	p.mu.Lock()
	last := p.last
	p.mu.Unlock()
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.past == nil {
		ps.past = make(past)
	}
	ps.past.add(v, last)
}

// predecessor finds or makes the one of the number.
func (ps *peers) predecessor(number int) *peer {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.older == nil {
		ps.older = make(map[int]*peer)
	}
	p := ps.older[number]
	if p == nil {
		p = &peer{number: number, report: nothingHeard()}
		ps.older[number] = p
	}
	return p
}

func (ps *peers) remove(number int) *peer {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.older[number]
	delete(ps.older, number)
	return p
}

func (ps *peers) has(p *peer) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.older[p.number] == p
}

func (ps *peers) list() []*peer {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	list := make([]*peer, 0, len(ps.older))
	for _, p := range ps.older {
		list = append(list, p)
	}
	return list
}

// add makes a connection end with the worker.
func (ps *peers) add(c net.Conn) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.shut {
		return false
	}
	if ps.conns == nil {
		ps.conns = make(map[net.Conn]struct{})
	}
	ps.conns[c] = struct{}{}
	return true
}

// drop closes a connection.
func (ps *peers) drop(c net.Conn) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	delete(ps.conns, c)
	_ = c.Close()
}

func (ps *peers) close() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.shut = true
	for c := range ps.conns {
		_ = c.Close()
	}
}

// ended is the report of the predecessors that have ended.
func (ps *peers) ended() traffic.Report {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.past.report()
}

// reports are the predecessors' last ones.
func (ps *peers) reports() []traffic.Report {
	list := []traffic.Report{ps.ended()}
	for _, p := range ps.list() {
		p.mu.Lock()
		list = append(list, p.report)
		p.mu.Unlock()
	}
	return list
}

// pass sends a table to all predecessors and waits until each serves it or is
// gone, or ctx ends.
func (ps *peers) pass(ctx context.Context, t *traffic.Table) error {
	ctx, cancel := context.WithTimeout(ctx, passLimit)
	defer cancel()
	for _, p := range ps.list() {
		if err := p.send(t); err != nil {
			continue // await knows whether it is gone, or will be reached again
		}
	}
	for _, p := range ps.list() {
		if err := ps.await(ctx, p, t.Generation); err != nil {
			return fmt.Errorf("a former worker does not take table %d: %w", t.Generation, err)
		}
	}
	return nil
}

func (ps *peers) await(ctx context.Context, p *peer, generation uint64) error {
	for {
		changed := p.changed.wait()
		p.mu.Lock()
		reached := p.report.Generation >= generation
		p.mu.Unlock()
		if reached || !ps.has(p) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send sends a table.
func (p *peer) send(t *traffic.Table) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.c == nil {
		return net.ErrClosed
	}
	return json.NewEncoder(p.c).Encode(t)
}

// followOlder reads a predecessor's reports until the connection breaks.
func (wk *Worker) followOlder(p *peer, c net.Conn) {
	d := json.NewDecoder(c)
	for {
		var r traffic.Report
		if err := d.Decode(&r); err != nil {
			break
		}
		p.heard(c, r)
		wk.changed.fire()
	}
	wk.peers.drop(c)
	p.heard(nil, nothingHeard())
	wk.changed.fire()
}

// heard keeps a report; c is the connection from now on.
func (p *peer) heard(c net.Conn, r traffic.Report) {
	p.mu.Lock()
	p.c, p.report = c, r
	if c != nil {
		p.last = r
	}
	p.mu.Unlock()
	p.changed.fire()
}

// reportTo reports to the successor at every change, and a last time at the end,
// so that no count is lost. It closes the connection, also when nobody reads.
func (wk *Worker) reportTo(c net.Conn) {
	defer c.Close()
	e := json.NewEncoder(c)
	for ending := false; ; {
		changed := wk.changed.wait()
		r := wk.ownReport()
		merge(&r, wk.peers.ended())
		_ = c.SetWriteDeadline(time.Now().Add(passLimit))
		if err := e.Encode(r); err != nil || ending {
			return
		}
		select {
		case <-changed:
		case <-wk.stopping:
			ending = true
		}
	}
}

// obeyYounger serves the successor's tables.
func (wk *Worker) obeyYounger(c net.Conn) {
	d := json.NewDecoder(c)
	for {
		t := new(traffic.Table)
		if err := d.Decode(t); err != nil {
			wk.log.Debug("successor is gone", slog.Any("err", err))
			_ = c.Close()
			return
		}
		wk.obey(t)
	}
}

func (wk *Worker) obey(t *traffic.Table) {
	wk.mu.Lock()
	defer wk.mu.Unlock()
	if wk.draining.Load() && !wk.closes() && t.Generation > wk.view.Load().table.Generation {
		ctx, cancel := context.WithTimeout(context.Background(), passLimit)
		defer cancel()
		wk.applyLocked(ctx, t)
	}
}
