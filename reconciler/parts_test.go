package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/rollout"
)

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
