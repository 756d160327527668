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

// passLimit is how long a predecessor may take to serve a table.
const passLimit = 5 * time.Second

// peers are a worker's predecessors. The successor sends them every table; a
// predecessor sends its report at every change. One that is gone counts as
// drained, one that is silent does not.
type peers struct {
	mu    sync.Mutex
	older map[*peer]struct{}
	conns map[net.Conn]struct{}
	shut  bool
}

type peer struct {
	c       net.Conn
	mu      sync.Mutex // writes
	report  traffic.Report
	known   bool
	changed broadcast
}

// AddPeer takes over a connection to another worker, the older or the younger
// one.
func (wk *Worker) AddPeer(f *os.File, older bool) error {
	c, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("take over a worker's connection: %w", err)
	}
	if !wk.peers.add(c) {
		return c.Close()
	}
	if older {
		p := &peer{c: c, report: traffic.Report{Workers: 1}}
		wk.peers.setOlder(p, true)
		wk.background.Go(func() { wk.followOlder(p) })
		return p.send(wk.view.Load().table)
	}
	wk.background.Go(func() { wk.obeyYounger(c) })
	return nil
}

func (ps *peers) add(c net.Conn) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.shut {
		return false
	}
	if ps.conns == nil {
		ps.conns, ps.older = make(map[net.Conn]struct{}), make(map[*peer]struct{})
	}
	ps.conns[c] = struct{}{}
	return true
}

func (ps *peers) setOlder(p *peer, on bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if on {
		ps.older[p] = struct{}{}
		return
	}
	delete(ps.older, p)
	delete(ps.conns, p.c)
}

func (ps *peers) list() []*peer {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	list := make([]*peer, 0, len(ps.older))
	for p := range ps.older {
		list = append(list, p)
	}
	return list
}

func (ps *peers) close() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.shut = true
	for c := range ps.conns {
		_ = c.Close()
	}
}

// reports are the predecessors' last ones.
func (ps *peers) reports() []traffic.Report {
	var list []traffic.Report
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
			continue // gone: followOlder sees it too
		}
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

func (ps *peers) has(p *peer) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	_, ok := ps.older[p]
	return ok
}

func (p *peer) send(t *traffic.Table) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return json.NewEncoder(p.c).Encode(t)
}

// followOlder reads a predecessor's reports until it is gone.
func (wk *Worker) followOlder(p *peer) {
	d := json.NewDecoder(p.c)
	for {
		var r traffic.Report
		if err := d.Decode(&r); err != nil {
			break
		}
		p.mu.Lock()
		p.report = r
		p.mu.Unlock()
		p.changed.fire()
		wk.changed.fire()
	}
	wk.peers.setOlder(p, false)
	_ = p.c.Close()
	p.changed.fire()
	wk.changed.fire()
}

// obeyYounger serves the successor's tables and reports to it.
func (wk *Worker) obeyYounger(c net.Conn) {
	wk.background.Go(func() {
		defer c.Close()
		e := json.NewEncoder(c)
		for {
			changed := wk.changed.wait()
			if err := e.Encode(wk.ownReport()); err != nil {
				return
			}
			select {
			case <-changed:
			case <-wk.stopping:
				return
			}
		}
	})
	d := json.NewDecoder(c)
	for {
		t := new(traffic.Table)
		if err := d.Decode(t); err != nil {
			wk.log.Debug("successor is gone", slog.Any("err", err))
			wk.peers.mu.Lock()
			delete(wk.peers.conns, c)
			wk.peers.mu.Unlock()
			_ = c.Close()
			return
		}
		wk.obey(t)
	}
}

func (wk *Worker) obey(t *traffic.Table) {
	wk.mu.Lock()
	defer wk.mu.Unlock()
	if wk.draining.Load() && t.Generation > wk.view.Load().table.Generation {
		ctx, cancel := context.WithTimeout(context.Background(), passLimit)
		defer cancel()
		wk.applyLocked(ctx, t)
	}
}
