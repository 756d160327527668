package reconciler

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
)

func conditionOf(v status.App, of status.ConditionType) status.Condition {
	for _, c := range v.Conditions {
		if c.Type == of {
			return c
		}
	}
	return status.Condition{}
}

func wantConditions(t *testing.T, v status.App, ready, reconciling, stalled, drifted bool) {
	t.Helper()
	for of, want := range map[status.ConditionType]bool{
		status.Ready: ready, status.Reconciling: reconciling, status.Stalled: stalled, status.Drifted: drifted,
	} {
		if c := conditionOf(v, of); c.True != want || c.Type == "" || c.Reason == "" {
			t.Errorf("condition %s: %+v, want %v", of, c, want)
		}
	}
}

// The status follows an app from its first rollout to a container that
// vanishes and one that cannot be made.
func TestConditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "shop")
		hold := make(chan struct{})
		b.engine.before = func(ctx context.Context, call string) error {
			if call == "pull" {
				select {
				case <-hold:
				case <-ctx.Done():
				}
			}
			return nil
		}
		stop := b.run(t.Context())
		defer stop()
		settled(time.Second)
		wantConditions(t, b.app("shop"), false, true, false, false)
		close(hold)
		settled(time.Minute)
		wantConditions(t, b.app("shop"), true, false, false, false)
		since := conditionOf(b.app("shop"), status.Ready).Since
		settled(time.Hour)
		if again := conditionOf(b.app("shop"), status.Ready).Since; !again.Equal(since) {
			t.Errorf("ready since %s, then since %s", since, again)
		}

		id := b.app("shop").Services[0].Instances[0].ID
		b.engine.mu.Lock()
		delete(b.engine.containers, id)
		b.engine.before = func(_ context.Context, call string) error {
			if call == "create" {
				return engine.ErrNoSpace
			}
			return nil
		}
		b.engine.mu.Unlock()
		b.engine.events <- engine.Event{Kind: engine.EventDestroy, Container: id}
		settled(time.Second)
		v := b.app("shop")
		wantConditions(t, v, false, false, false, true)
		if s := v.Services[0]; s.Traffic != 0 || s.Health == status.Healthy {
			t.Errorf("with no container: traffic %d, %s", s.Traffic, s.Health)
		}
	})
}

// A row shows tunnels, what loading warned of, and since when it is so; a
// candidate is shown, and the share of traffic is that of what serves.
func TestRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "shop")
		res, _ := b.loader.load(manifests.LoadRequest{})
		res.Apps[0].Warnings = []manifests.Diagnostic{{Field: "services.web.build", Message: "build is ignored"}, {Field: "x", Message: "of the app"}}
		stop := b.run(t.Context())
		defer stop()
		settled(time.Minute)
		b.traffic.mu.Lock()
		rep := b.traffic.reportLocked()
		rep.Services[0].Releases[0].Tunnels = 3
		rep.Services[0].Releases[0].Endpoints[0].Checked++
		rep.Warnings = []traffic.ListenWarning{{ListenerKey: b.traffic.table.Listeners[0].ListenerKey, Text: "of a listener"}}
		b.traffic.reports <- rep
		b.traffic.mu.Unlock()
		settled(time.Second)
		b.workers["production/shop"].wake()
		settled(time.Second)
		v := b.app("shop")
		row := v.Services[0]
		if row.Traffic != 100 || row.Instances[0].Tunnels != 3 || !row.Since.Before(time.Now().Add(-50*time.Second)) {
			t.Errorf("row: %+v", row)
		}
		if len(v.Warnings) != 1 || len(row.Warnings) != 2 || !strings.Contains(row.Warnings[0], "build is ignored") || row.Warnings[1] != "of a listener" {
			t.Errorf("warnings: %q, %q", v.Warnings, row.Warnings)
		}

		b.engine.before = func(_ context.Context, call string) error {
			if call == "start" {
				return engine.ErrUnavailable
			}
			return nil
		}
		b.wants("bbbb", "shop:v2", "shop")
		if _, err := b.Do(t.Context(), status.Command{Verb: "reconcile"}); err != nil {
			t.Fatal(err)
		}
		settled(time.Second)
		row = b.app("shop").Services[0]
		if row.Running != "v1" || row.Wanted != "v2" || row.Traffic != 100 || row.Sync != status.OutOfSync || len(row.Instances) != 2 || row.Instances[1].Role != "candidate" {
			t.Errorf("under way: %+v", row)
		}
	})
}

// Commits that change nothing of an app come while it is prepared.
func TestCommitWhilePreparing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "shop")
		hold := make(chan struct{})
		b.engine.before = func(_ context.Context, call string) error {
			if call == "resolve" {
				<-hold
			}
			return nil
		}
		stop := b.run(t.Context())
		defer stop()
		settled(time.Second)
		for _, sha := range []string{"bbbb", "cccc"} {
			b.wants(sha, "shop:v1", "shop")
			if _, err := b.Do(t.Context(), status.Command{Verb: "reconcile"}); err != nil {
				t.Fatal(err)
			}
		}
		close(hold)
		settled(time.Minute)
		wantReady(t, b, "shop", "v1")
		if v := b.app("shop"); v.Judged != "main@sha1:cccc" {
			t.Errorf("judged by %s", v.Judged)
		}
	})
}

// What an env file of the host says is not printed.
func TestRenderHidesHostInputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "shop")
		res, _ := b.loader.load(manifests.LoadRequest{})
		res.Apps[0].Services[0].HostEnv = map[string]string{"TOKEN": "very-secret"}
		stop := b.run(t.Context())
		defer stop()
		settled(time.Minute)
		out, err := b.Render(t.Context(), status.PlanRequest{})
		if err != nil || len(out) != 1 {
			t.Fatalf("%s, %v", out, err)
		}
		if text := string(out[0]); strings.Contains(text, "very-secret") || !strings.Contains(text, `"TOKEN":"***"`) {
			t.Errorf("rendered: %s", text)
		}
	})
}

// A crash loop of the ambassador's reports cannot fill memory: what is
// remembered of containers and actions goes with them.
func TestForgetGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v0", "shop")
		stop := b.run(t.Context())
		settled(time.Minute)
		for i := range 20 {
			b.wants(strings.Repeat("b", i+1), "shop:v"+strings.Repeat("1", i%3+1), "shop")
			if _, err := b.Do(t.Context(), status.Command{Verb: "reconcile"}); err != nil {
				t.Fatal(err)
			}
			settled(5 * time.Minute)
		}
		stop()
		w := b.workers["production/shop"]
		if n := len(w.failures) + len(w.healthy) + len(w.oom) + len(w.output) + len(w.own) + len(w.ownEnded) + len(w.pulled) + len(w.chains); n > 6 {
			t.Errorf("%d things remembered: %+v", n, w)
		}
		if len(b.engine.containers) > 2 {
			t.Errorf("%d containers left", len(b.engine.containers))
		}
	})
}
