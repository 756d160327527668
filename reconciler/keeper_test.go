package reconciler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/reconciler/plan"
)

// keeperBench is a tableKeeper with an ambassador in memory.
type keeperBench struct {
	*tableKeeper
	amb   *memoryTraffic
	mu    sync.Mutex
	woken map[string]int
}

func newKeeper(t *testing.T) (*keeperBench, func()) {
	t.Helper()
	b := &keeperBench{amb: newMemoryTraffic(), woken: map[string]int{}}
	b.tableKeeper = &tableKeeper{
		traffic: b.amb, log: slog.New(slog.DiscardHandler), kick: make(chan struct{}, 1), parts: map[string]part{},
		build: func(parts map[string]plan.AppTraffic) traffic.Table { return plan.Table(plan.TableInput{Apps: parts}) },
		notify: func(app string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.woken[app]++
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{})
	close(ready)
	var all sync.WaitGroup
	all.Go(func() { b.run(ctx, ready) })
	all.Go(func() { b.watch(ctx) })
	return b, func() { cancel(); all.Wait() }
}

func backend(app string, state traffic.ReleaseState) plan.AppTraffic {
	return plan.AppTraffic{Services: []traffic.Service{{Name: app + "/web", App: app, Releases: []traffic.Release{{Name: "r", State: state}}}}}
}

// Parts that come together go out in one table, and each app hears of its own.
func TestKeeperCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, stop := newKeeper(t)
		defer stop()
		settled(0)
		k.amb.mu.Lock() // busy
		for i := range 100 {
			k.set(fmt.Sprintf("e/%d", i), backend(fmt.Sprintf("e/%d", i), traffic.Active))
		}
		k.amb.mu.Unlock()
		settled(time.Second)
		if k.amb.tables > 4 {
			t.Errorf("%d tables", k.amb.tables)
		}
		for i := range 100 {
			if app := fmt.Sprintf("e/%d", i); !k.applied(app) || k.woken[app] == 0 {
				t.Fatalf("%s: applied %v, woken %d", app, k.applied(app), k.woken[app])
			}
		}
		tables := k.amb.tables
		settled(time.Hour)
		if k.amb.tables != tables {
			t.Error("tables without a change")
		}
	})
}

// While the ambassador refuses, nothing counts as applied, the tries get
// fewer, and its first report ends the pause.
func TestKeeperBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, stop := newKeeper(t)
		defer stop()
		k.amb.err = errors.New("away")
		k.set("e/a", backend("e/a", traffic.Active))
		settled(time.Minute)
		if _, _, _, err := k.state(); k.applied("e/a") || err == nil {
			t.Errorf("applied %v, %v", k.applied("e/a"), err)
		}
		if g := k.generation; g > 30 {
			t.Errorf("%d tries in a minute", g)
		}
		k.amb.mu.Lock()
		k.amb.err = nil
		k.amb.reports <- k.amb.reportLocked()
		k.amb.mu.Unlock()
		settled(0)
		if _, _, _, err := k.state(); !k.applied("e/a") || err != nil {
			t.Errorf("applied %v, %v", k.applied("e/a"), err)
		}
	})
}

// An ambassador that began anew gets the table again, whatever generation it
// has: an older one, or a newer one than the agent ever gave.
func TestKeeperAmbassadorRestarts(t *testing.T) {
	for _, generation := range []uint64{0, 5000} {
		t.Run(fmt.Sprint(generation), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, stop := newKeeper(t)
				defer stop()
				k.set("e/a", backend("e/a", traffic.Active))
				settled(time.Second)
				k.set("e/a", backend("e/a", traffic.Draining))
				settled(time.Second)
				k.amb.mu.Lock()
				k.amb.table = traffic.Table{Generation: generation}
				k.amb.reports <- k.amb.reportLocked()
				k.amb.mu.Unlock()
				settled(0)
				k.set("e/a", backend("e/a", traffic.Active))
				settled(time.Second)
				k.amb.mu.Lock()
				defer k.amb.mu.Unlock()
				if k.amb.table.Generation <= generation || len(k.amb.table.Services) != 1 || !k.applied("e/a") {
					t.Errorf("it has %+v", k.amb.table)
				}
			})
		})
	}
}

// A fenced ambassador gets the table again, once.
func TestKeeperFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, stop := newKeeper(t)
		defer stop()
		k.set("e/a", backend("e/a", traffic.Active))
		settled(time.Second)
		tables := k.amb.tables
		k.amb.mu.Lock()
		rep := k.amb.reportLocked()
		rep.Fenced = true
		k.amb.reports <- rep
		k.amb.mu.Unlock()
		settled(time.Second)
		if k.amb.tables != tables { // asked again, it is not
			t.Errorf("%d tables for a report that was late", k.amb.tables-tables)
		}
	})
}

// A report of the table before the acknowledged one decides nothing: what was
// drained then may have traffic now. It is no reason for another table either.
func TestKeeperLateReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, stop := newKeeper(t)
		defer stop()
		k.set("e/a", backend("e/a", traffic.Standby))
		settled(time.Second)
		k.amb.mu.Lock()
		old := k.amb.reportLocked()
		k.amb.mu.Unlock()
		k.set("e/a", backend("e/a", traffic.Draining))
		settled(time.Second)
		tables := k.amb.tables
		k.amb.reports <- old
		settled(0)
		if seen := k.seen("e/a", []string{"e/a/web"}); seen == nil || len(seen) != 0 {
			t.Errorf("seen: %v", seen)
		}
		woken := k.woken["e/a"]
		k.amb.mu.Lock()
		k.amb.reports <- k.amb.reportLocked()
		k.amb.mu.Unlock()
		settled(0)
		if seen := k.seen("e/a", []string{"e/a/web"}); len(seen) != 1 {
			t.Errorf("seen: %v", seen)
		}
		if k.woken["e/a"] == woken {
			t.Error("the app that asked too early was not woken")
		}
		if k.amb.tables != tables {
			t.Errorf("%d more tables", k.amb.tables-tables)
		}
	})
}
