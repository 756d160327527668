package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/remorahq/remora/e2e/load"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/e2e/wire"
)

// control is the version of the program that is reached directly.
const control = "control"

// ground is what every event needs: clients, accounts, and where they lie.
type ground struct {
	tb        rig.TB
	dir       string // of the run's logs
	dial      load.Dial
	collector *rig.Collector
	direct    string // address of the program that nothing happens to
	incidents []wire.Incident
}

// incident notes that something happened from begin until now.
func (g *ground) incident(what wire.Event, begin time.Time, instances ...string) {
	g.incidents = append(g.incidents, wire.Incident{What: what, Begin: begin, End: time.Now(), Instances: instances})
}

// rest lets the load go on for a while; false says that ctx has ended.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// torture has an event happen under load for a time, and writes down what the
// judge needs.
func (g *ground) torture(e wire.Event, groups []load.Group, d time.Duration, happen func(context.Context)) {
	if err := os.MkdirAll(g.dir, 0o755); err != nil {
		g.tb.Fatalf("make folder of the logs: %v", err)
	}
	alone := load.Start(g.tb, g.dial, filepath.Join(g.dir, wire.ControlFile),
		load.Group{Kind: load.Get, Addr: g.direct, Conns: 8, Rate: 150}, load.Group{Kind: load.Post, Addr: g.direct, Conns: 8, Rate: 150})
	clients := load.Start(g.tb, g.dial, filepath.Join(g.dir, wire.ClientsFile), groups...)
	ctx, cancel := context.WithTimeout(g.tb.Context(), d)
	defer cancel()
	happen(ctx)
	for _, l := range []*load.Load{clients, alone} {
		if err := l.Stop(); err != nil {
			g.tb.Fatalf("load: %v", err)
		}
	}
	if err := wire.Save(g.dir, e, g.account(), g.incidents); err != nil {
		g.tb.Fatalf("keep the backends' account: %v", err)
	}
}

// account is the backends', once all of it has come in, without the program
// that is no backend.
func (g *ground) account() []rig.Entry {
	last := -1
	rig.Eventually(g.tb, 10*time.Second, "the backends' account to be complete", func() error {
		n := len(g.collector.Entries())
		defer func() { last = n }()
		if n != last {
			return errors.New("entries still come")
		}
		return nil
	})
	var out []rig.Entry
	for _, e := range g.collector.Entries() {
		if e.Version != control {
			out = append(out, e)
		}
	}
	return out
}
