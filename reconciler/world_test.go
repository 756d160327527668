package reconciler

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/remorahq/remora/internal/engine"
)

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
