package reconciler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/plan"
	"github.com/remorahq/remora/reconciler/rollout"
)

func newTestStore(t *testing.T) *store {
	t.Helper()
	s, err := openStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A torn file is answered from its previous copy; with both torn, the app is
// left out and noted; a newer version stops the agent.
func TestStoreDamage(t *testing.T) {
	s := newTestStore(t)
	for _, a := range []ledger.App{
		{Version: 1, Environment: "a--b", Name: "c", Revision: "old"},
		{Version: 1, Environment: "a--b", Name: "c", Revision: "new"},
		{Version: 1, Environment: "a", Name: "b--c", Revision: "other"},
	} {
		if err := s.saveApp(a); err != nil {
			t.Fatal(err)
		}
	}
	revisions := func() map[string]string {
		t.Helper()
		apps, err := s.loadApps()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for id, a := range apps {
			out[id] = a.Revision
		}
		return out
	}
	if diff := cmp.Diff(map[string]string{"a--b/c": "new", "a/b--c": "other"}, revisions()); diff != "" {
		t.Errorf("as written:\n%s", diff)
	}
	path := s.appFile("a--b", "c").Path()
	overwrite(t, path, `{"version":1,"checksum":"sha256:00","payl`)
	if diff := cmp.Diff(map[string]string{"a--b/c": "old", "a/b--c": "other"}, revisions()); diff != "" {
		t.Errorf("torn:\n%s", diff)
	}
	overwrite(t, path+".prev", "")
	if diff := cmp.Diff(map[string]string{"a/b--c": "other"}, revisions()); diff != "" {
		t.Errorf("both torn:\n%s", diff)
	}
	if len(s.notes) != 2 || !strings.Contains(s.notes[1], "its previous copy are unusable") {
		t.Errorf("notes: %q", s.notes)
	}
	if err := os.Rename(s.appFile("a", "b--c").Path(), path); err != nil {
		t.Fatal(err)
	}
	if got := revisions(); len(got) != 0 || !strings.Contains(s.notes[2], "holds app a/b--c") {
		t.Errorf("under another's name: %v, %q", got, s.notes)
	}
	newer := *s
	if err := newer.file("host.json").Save(ledger.Host{}); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(filepath.Join(s.dir, "host.json"))
	overwrite(t, filepath.Join(s.dir, "host.json"), strings.Replace(string(data), `{"version":1,"checksum"`, `{"version":9,"checksum"`, 1))
	if _, err := s.loadHost(); err == nil || !strings.Contains(err.Error(), "upgrade remora again") {
		t.Errorf("newer version: %v", err)
	}
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A host key that was cut short is not made anew in silence: every container
// with inputs of the host would be recreated.
func TestHostKey(t *testing.T) {
	dir := t.TempDir()
	first, err := hostKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := hostKey(dir); err != nil || !slices.Equal(first, again) {
		t.Errorf("read again: %v", err)
	}
	overwrite(t, filepath.Join(dir, "host-key"), "short")
	if _, err := hostKey(dir); err == nil {
		t.Error("a short key was replaced")
	}
}

// Concurrent changes all reach the disk, and a reader sees only what is there.
func TestHostLedgerConcurrent(t *testing.T) {
	s := newTestStore(t)
	l := newHostLedger(s, ledger.Host{Version: ledger.Version})
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			port := uint16(i + 1)
			err := l.update(func(h *ledger.Host) error {
				if h.Ports == nil {
					h.Ports = map[string]uint16{}
				}
				h.Ports[fmt.Sprint(i)] = port
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			onDisk, err := s.loadHost()
			if err != nil || onDisk.Ports[fmt.Sprint(i)] != port {
				t.Errorf("change %d is not on disk: %v", i, err)
			}
			l.read(func(h *ledger.Host) {
				if h.Ports[fmt.Sprint(i)] != port {
					t.Errorf("change %d is not seen", i)
				}
			})
		})
	}
	all.Wait()
	if h, err := s.loadHost(); err != nil || len(h.Ports) != 50 {
		t.Errorf("%d ports on disk, %v", len(h.Ports), err)
	}
	refused := errors.New("refused")
	if err := l.update(func(h *ledger.Host) error { clear(h.Ports); return refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	l.read(func(h *ledger.Host) {
		if len(h.Ports) != 50 {
			t.Error("a refused change was made")
		}
	})
}

// While the disk fails every change fails, none is seen, and the same change
// is written later.
func TestHostLedgerFailingDisk(t *testing.T) {
	s := newTestStore(t)
	l := newHostLedger(s, ledger.Host{Version: ledger.Version})
	good := s.dir
	s.dir = filepath.Join(good, "gone")
	claim := func(key string) error {
		return l.update(func(h *ledger.Host) error {
			if h.Claims == nil {
				h.Claims = map[string]string{}
			}
			h.Claims[key] = "app"
			return nil
		})
	}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if claim(fmt.Sprint(i)) == nil {
				t.Errorf("change %d is said to be on a disk that fails", i)
			}
		})
	}
	all.Wait()
	l.read(func(h *ledger.Host) {
		if len(h.Claims) != 0 {
			t.Errorf("claims that are not on disk: %v", h.Claims)
		}
	})
	s.dir = good
	if err := claim("1"); err != nil {
		t.Fatal(err)
	}
	if h, err := s.loadHost(); err != nil || len(h.Claims) != 1 || h.Claims["1"] != "app" {
		t.Errorf("on disk: %v, %v", h.Claims, err)
	}
}

// A change that changes nothing does not write.
func TestHostLedgerNoChange(t *testing.T) {
	s := newTestStore(t)
	l := newHostLedger(s, ledger.Host{Version: ledger.Version, Claims: map[string]string{"a": "b"}})
	s.dir = filepath.Join(s.dir, "gone")
	if err := l.update(func(h *ledger.Host) error { h.Claims["a"] = "b"; return nil }); err != nil {
		t.Error(err)
	}
}

func ofApp(id, app string, state engine.State) engine.Container {
	return engine.Container{ID: id, Name: id, State: state, Labels: map[string]string{
		engine.LabelApp: app, engine.LabelEnvironment: "e", engine.LabelRelease: "r",
	}}
}

// A resync names the apps of which something changed, all after a restart of
// the engine.
func TestWorldResync(t *testing.T) {
	e := newMemoryEngine()
	w := newWorld(e)
	resync := func() []string {
		t.Helper()
		changed, err := w.resync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(changed)
		return changed
	}
	e.containers["1"], e.containers["2"] = ofApp("1", "a", engine.Running), ofApp("2", "b", engine.Running)
	e.containers["3"] = engine.Container{ID: "3"}
	for _, step := range []struct {
		what string
		do   func()
		want []string
	}{
		{"at first", func() {}, []string{"e/a", "e/b"}},
		{"nothing", func() {}, nil},
		{"one ended", func() { e.containers["2"] = ofApp("2", "b", engine.Exited) }, []string{"e/b"}},
		{"one gone", func() { delete(e.containers, "1") }, []string{"e/a"}},
		{"a stranger's", func() { delete(e.containers, "3") }, nil},
		{"engine restarted", func() { e.start = "2" }, []string{"e/b"}},
		{"engine was away", func() { w.lost(errors.New("away")) }, []string{"e/b"}},
	} {
		step.do()
		if got := resync(); !slices.Equal(got, step.want) {
			t.Errorf("%s: %v, want %v", step.what, got, step.want)
		}
	}
	if len(w.ofApp("e/a")) != 0 || len(w.ofApp("e/b")) != 1 {
		t.Errorf("by app: %v", w.apps)
	}
}

// An answer that was asked for earlier and comes later does not replace a newer
// one, nor bring a removed container back.
func TestWorldLateAnswers(t *testing.T) {
	for _, slow := range []string{"list", "inspect"} {
		t.Run(slow, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newMemoryEngine()
				w := newWorld(e)
				e.containers["1"], e.containers["2"] = ofApp("1", "a", engine.Created), ofApp("2", "a", engine.Running)
				if _, err := w.resync(t.Context()); err != nil {
					t.Fatal(err)
				}
				release := make(chan struct{})
				e.before = func(_ context.Context, call string) error {
					if call == slow {
						<-release
					}
					return nil
				}
				var late sync.WaitGroup
				if slow == "list" {
					late.Go(func() { _, _ = w.resync(t.Context()) })
				} else {
					late.Go(func() { _, _ = w.refresh(t.Context(), "1") })
					late.Go(func() { _, _ = w.refresh(t.Context(), "2") })
				}
				synctest.Wait()
				e.mu.Lock()
				e.before = nil
				e.containers["1"] = ofApp("1", "a", engine.Running)
				e.containers["3"] = ofApp("3", "b", engine.Created)
				delete(e.containers, "2")
				e.mu.Unlock()
				for _, id := range []string{"1", "2", "3"} {
					if _, err := w.refresh(t.Context(), id); err != nil {
						t.Fatal(err)
					}
				}
				before := w.ofApp("e/a")
				close(release)
				late.Wait()
				if c, err := w.container("1"); err != nil || c.State != engine.Running {
					t.Errorf("1 is %s, %v", c.State, err)
				}
				if _, err := w.container("2"); err == nil {
					t.Error("2 is back")
				}
				if len(w.ofApp("e/b")) != 1 {
					t.Error("3 is lost")
				}
				if len(before) != 1 || len(w.ofApp("e/a")) != 1 {
					t.Errorf("by app: %v, then %v", before, w.ofApp("e/a"))
				}
			})
		})
	}
}

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

// The same revision is loaded once; a new one once more; a failure is one
// event, and so is its end.
func TestFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "shop")
		b.source.rev.Reports = []status.Report{{Path: "sub", Reason: status.LoadFailed, Message: "a submodule"}}
		stop := b.run(t.Context())
		defer stop()
		poll := func() {
			b.source.changes <- struct{}{}
			settled(time.Second)
		}
		settled(time.Second)
		for range 5 {
			poll()
		}
		if b.loader.loads != 1 {
			t.Errorf("%d loads of one revision", b.loader.loads)
		}
		if got := b.journal.with(status.LoadFailed); len(got) != 1 {
			t.Errorf("reports told: %q", got)
		}
		b.wants("bbbb", "shop:v1", "shop")
		poll()
		if b.loader.loads != 2 {
			t.Errorf("%d loads of two revisions", b.loader.loads)
		}
		b.source.err = errors.New("no route to host")
		for range 5 {
			poll()
		}
		if got := b.journal.with(status.GitOperationFailed); len(got) != 1 {
			t.Errorf("failures told: %q", got)
		}
		b.source.err = nil
		poll()
		if got := b.journal.with(status.Succeeded); len(got) == 0 || got[len(got)-1] != "source main: is followed again" {
			t.Errorf("told: %q", got)
		}
	})
}

// A failing environment is an error of the reconcile that was asked for, and
// is tried again although the revision is the same.
func TestFollowerFailingEnvironment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.loader.load = func(manifests.LoadRequest) (manifests.LoadResult, error) {
			return manifests.LoadResult{Diagnostics: manifests.Diagnostics{{Reason: status.LoadFailed, Message: "no such folder"}}}, nil
		}
		stop := b.run(t.Context())
		defer stop()
		settled(time.Second)
		_, err := b.Do(t.Context(), status.Command{Verb: "reconcile"})
		var e *status.Error
		if !errors.As(err, &e) || e.Reason != status.LoadFailed {
			t.Errorf("reconcile: %v", err)
		}
		b.wants("1111111111", "shop:v1", "shop")
		if _, err := b.Do(t.Context(), status.Command{Verb: "reconcile"}); err != nil {
			t.Error(err)
		}
	})
}

// A source whose fetch hangs is an event after three intervals, once.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		stop := b.run(t.Context())
		defer stop()
		settled(time.Hour)
		overdue := func() (out []string) {
			for _, m := range b.journal.with(status.GitOperationFailed) {
				if strings.Contains(m, "no reconcile has finished") {
					out = append(out, m)
				}
			}
			return out
		}
		if got := overdue(); len(got) != 0 {
			t.Errorf("without a reason: %q", got)
		}
		b.source.mu.Lock()
		b.source.hang = true
		b.source.mu.Unlock()
		b.source.changes <- struct{}{}
		settled(time.Hour)
		if got := overdue(); len(got) != 1 || !strings.Contains(got[0], "1m30s") {
			t.Errorf("told: %q", got)
		}
	})
}

// Content and images of releases that nothing remembers go, others stay; an
// image that remora did not pull is never touched.
func TestHouse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.engine.images["mine:v0"] = engine.Image{ID: "sha256:mine"}
		stop := b.run(t.Context())
		defer stop()
		settled(time.Second)
		for i := range 8 {
			image := fmt.Sprintf("shop%s:v%d", strings.Repeat("x", i), i)
			b.wants(fmt.Sprintf("aaaa%d", i), image, "shop")
			res, _ := b.loader.load(manifests.LoadRequest{})
			c := &res.Apps[0].Services[0].Container
			c.Mounts = []manifests.Mount{{Kind: manifests.MountInline, Target: "/c", Content: fmt.Sprint(i)}}
			if _, err := b.Do(t.Context(), status.Command{Verb: "reconcile"}); err != nil {
				t.Fatal(err)
			}
			settled(time.Minute)
			wantReady(t, b, "shop", fmt.Sprintf("v%d", i))
		}
		settled(24 * time.Hour)
		if len(b.engine.removed) != 3 || slices.Contains(b.engine.removed, "sha256:mine") {
			t.Errorf("images removed: %q", b.engine.removed)
		}
		for i, want := range []bool{false, false, false, true, true, true, true, true} {
			if got := b.content.pruned("/blobs/inline-" + fmt.Sprint(i)); got != want {
				t.Errorf("content %d: kept %v, want %v", i, got, want)
			}
		}
		if !b.source.kept("aaaa7") || b.source.kept("aaaa6") {
			t.Error("the wrong revision is kept")
		}
		b.host.read(func(h *ledger.Host) {
			if len(h.Images) != 5 || len(h.Digests) != 5 {
				t.Errorf("%d images, %d digests remembered", len(h.Images), len(h.Digests))
			}
		})
	})
}

// What one app mounts counts once, however many of its services mount it.
func TestBudget(t *testing.T) {
	b := newBench(t, t.TempDir())
	app := testApp("shop", "shop:v1", 80)
	app.Services[0].Files = []manifests.File{{Path: "a", ID: "1"}, {Path: "b", ID: "2"}}
	app.Services[0].Container.Mounts = []manifests.Mount{{Kind: manifests.MountRepo, Source: "a"}, {Kind: manifests.MountRepo, Source: "b"}}
	app.Services = append(app.Services, app.Services[0])
	if err := b.materialize(t.Context(), &app, ""); err != nil {
		t.Fatal(err)
	}
	if b.content.spent.Files != 2 {
		t.Errorf("%d files counted", b.content.spent.Files)
	}
}

// The end of an active container that got a signal waits for the event that a
// person wanted it; a crash waits for nothing.
func TestDying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDying()
		defer d.timer.Stop()
		active := func(string) bool { return true }
		hears := func(kind engine.EventKind, container string) bool {
			return d.hears(engine.Event{Kind: kind, Container: container}, active, time.Now())
		}
		if hears(engine.EventDie, "crashed") {
			t.Error("a crash waits")
		}
		hears(engine.EventKill, "killed")
		hears(engine.EventKill, "stopped")
		if !hears(engine.EventDie, "killed") || !hears(engine.EventDie, "stopped") {
			t.Error("an end after a signal does not wait")
		}
		if !hears(engine.EventOther, "stopped") {
			t.Error("what follows an end makes it seen too early")
		}
		hears(engine.EventStop, "stopped")
		<-time.After(signalGrace / 2)
		if got := d.take(time.Now()); len(got) != 0 {
			t.Errorf("too early: %v", got)
		}
		<-time.After(signalGrace / 2)
		if got := d.take(time.Now()); !slices.Equal(got, []string{"killed"}) {
			t.Errorf("got %v, want the one that nobody stopped", got)
		}
	})
}

// remora's own stop is told from a person's by when it happened, not by when
// it is heard of.
func TestOwnStop(t *testing.T) {
	b := newBench(t, t.TempDir())
	w := newWorker(b.Reconciler, "e", "a", ledger.App{})
	ended := time.Now().Add(-time.Minute)
	w.ownEnded["c"] = ended
	for _, tt := range []struct {
		at   time.Time
		want bool
	}{{ended.Add(-time.Second), true}, {ended.Add(500 * time.Millisecond), true}, {ended.Add(2 * time.Second), false}, {time.Time{}, false}} {
		if got := w.isOwn(engine.Event{Container: "c", Time: tt.at}); got != tt.want {
			t.Errorf("%s after: own %v, want %v", tt.at.Sub(ended), got, tt.want)
		}
	}
}

func TestClassify(t *testing.T) {
	other := errors.New("other")
	for _, tt := range []struct {
		kind    rollout.Kind
		err     error
		reason  status.Reason
		passing bool
	}{
		{rollout.Create, engine.ErrPolicy, status.PolicyDenied, false},
		{rollout.Create, engine.ErrNoSpace, status.DiskLow, true},
		{rollout.Pull, engine.ErrImageNotFound, status.ImagePullFailed, true},
		{rollout.Pull, engine.ErrRegistryAuth, status.AuthenticationFailed, true},
		{rollout.Pull, engine.ErrRegistryUnavailable, status.RegistryUnavailable, true},
		{rollout.Start, engine.ErrUnavailable, status.EngineUnavailable, true},
		{rollout.Start, engine.ErrTransient, status.EngineUnavailable, true},
		{rollout.Start, engine.ErrPortInUse, status.PortConflict, true},
		{rollout.Create, engine.ErrUnsupported, status.LoadFailed, false},
		{rollout.Stop, context.DeadlineExceeded, status.EngineUnavailable, true},
		{rollout.Start, other, status.HealthCheckFailed, false},
		{rollout.PostStart, other, status.HealthCheckFailed, false},
		{rollout.Pull, other, status.ImagePullFailed, true},
		{rollout.Rename, other, status.EngineUnavailable, true},
	} {
		if reason, passing := classify(tt.kind, fmt.Errorf("do it: %w", tt.err)); reason != tt.reason || passing != tt.passing {
			t.Errorf("%s, %v: %s, passes %v; want %s, %v", tt.kind, tt.err, reason, passing, tt.reason, tt.passing)
		}
	}
}
