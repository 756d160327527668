package reconciler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// settled lets everything happen that does not wait for the clock, and then
// that much time pass.
func settled(d time.Duration) {
	synctest.Wait()
	if d > 0 {
		<-time.After(d)
		synctest.Wait()
	}
}

func wantReady(t *testing.T, b *bench, app, running string) {
	t.Helper()
	v := b.app(app)
	if v.Health != status.Healthy || v.Sync != status.Synced || v.Rollout != nil || len(v.Services) == 0 || v.Services[0].Running != running {
		t.Fatalf("%s is not ready with %s: %+v", app, running, v)
	}
}

// A revision is deployed, upgraded and reverted; every table has one active
// release.
func TestDeployUpgradeRevert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "shop")
		stop := b.run(t.Context())
		settled(10 * time.Second)
		wantReady(t, b, "shop", "v1")
		for _, step := range []struct{ sha, image, tag string }{{"bbbb", "shop:v2", "v2"}, {"cccc", "shop:v1", "v1"}} {
			b.wants(step.sha, step.image, "shop")
			if _, err := b.Do(t.Context(), status.Command{Verb: "reconcile"}); err != nil {
				t.Fatal(err)
			}
			settled(10 * time.Second)
			wantReady(t, b, "shop", step.tag)
		}
		s := b.app("shop").Services[0]
		if s.Traffic != 100 || s.Back != "instant" {
			t.Errorf("traffic %d, back %q", s.Traffic, s.Back)
		}
		h, err := b.History(t.Context(), "shop")
		if err != nil || len(h) != 3 {
			t.Fatalf("history: %v, %v", h, err)
		}
		stop()
	})
}

// After a restart the ledger alone says what runs: nothing is made again.
func TestRestartDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "shop", "blog")
		stop := b.run(t.Context())
		settled(10 * time.Second)
		stop()
		created := b.engine.count("create")
		b.make(t)
		stop = b.run(t.Context())
		settled(10 * time.Second)
		wantReady(t, b, "shop", "v1")
		wantReady(t, b, "blog", "v1")
		stop()
		if n := b.engine.count("create"); n != created {
			t.Errorf("%d containers were made again", n-created)
		}
	})
}

// The agent ends at once, whatever is under way.
func TestStopIsPrompt(t *testing.T) {
	for _, call := range []string{"pull", "create", "list", "resolve"} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, t.TempDir())
				b.engine.before = func(ctx context.Context, name string) error {
					if name != call {
						return nil
					}
					<-ctx.Done() // takes for ever
					return ctx.Err()
				}
				b.wants("aaaa", "shop:v1", "shop")
				stop := b.run(t.Context())
				settled(10 * time.Second)
				if b.engine.count(call) == 0 {
					t.Fatalf("%s was never called", call)
				}
				began := time.Now()
				stop()
				if took := time.Since(began); took != 0 {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// A worker that ends while apps are to offer their traffic does not keep Run
// from ending.
func TestStopWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "a", "b", "c")
		stop := b.run(t.Context())
		settled(10 * time.Second)
		stop()
		for range 20 {
			b.make(t)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := b.Run(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Do(t.Context(), status.Command{Verb: "suspend", App: "a"}); err == nil {
				t.Error("a stopped reconciler took a command")
			}
		}
	})
}

// While the engine is away the status says so and nothing is done; afterwards
// it goes on.
func TestEngineAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "shop")
		stop := b.run(t.Context())
		defer stop()
		settled(10 * time.Second)
		b.engine.mu.Lock()
		b.engine.err = engine.ErrUnavailable
		b.engine.mu.Unlock()
		b.engine.events <- engine.Event{Kind: engine.Disconnected}
		settled(time.Second)
		if v := b.app("shop"); v.Reason != status.EngineUnavailable || v.Health != status.HealthUnknown {
			t.Errorf("status: %s %s", v.Health, v.Reason)
		}
		b.engine.mu.Lock()
		b.engine.err = nil
		b.engine.mu.Unlock()
		b.engine.events <- engine.Event{Kind: engine.Resync}
		settled(2 * time.Second)
		wantReady(t, b, "shop", "v1")
	})
}

// Without an ambassador nothing is switched; when it comes, the rollout goes
// on.
func TestAmbassadorAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.traffic.err = errors.New("connection refused")
		b.wants("aaaa", "shop:v1", "shop")
		stop := b.run(t.Context())
		defer stop()
		settled(time.Minute)
		if v := b.app("shop"); v.Rollout == nil || v.Health == status.Healthy {
			t.Fatalf("promoted without an ambassador: %+v", v)
		}
		h, _ := b.Status(t.Context())
		if h.Ambassador.Connected || !strings.Contains(h.Ambassador.Message, "connection refused") {
			t.Errorf("ambassador: %+v", h.Ambassador)
		}
		b.traffic.mu.Lock()
		b.traffic.err = nil
		b.traffic.reports <- b.traffic.reportLocked() // as a new watch begins
		b.traffic.mu.Unlock()
		settled(30 * time.Second)
		wantReady(t, b, "shop", "v1")
	})
}

// A container that somebody removes is made again, also where its image is
// gone, too.
func TestRemovedWithItsImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "shop")
		stop := b.run(t.Context())
		defer stop()
		settled(10 * time.Second)
		id := b.app("shop").Services[0].Instances[0].ID
		b.engine.mu.Lock()
		delete(b.engine.containers, id)
		clear(b.engine.images)
		b.engine.mu.Unlock()
		b.engine.before = func(_ context.Context, name string) error {
			if b.engine.mu.Lock(); name == "create" && len(b.engine.images) == 0 {
				b.engine.mu.Unlock()
				return fmt.Errorf("no such image: %w", engine.ErrNotFound)
			}
			b.engine.mu.Unlock()
			return nil
		}
		b.engine.events <- engine.Event{Kind: engine.EventDestroy, Container: id}
		settled(30 * time.Second)
		wantReady(t, b, "shop", "v1")
	})
}

// A removed app whose network somebody else uses is not tried in a busy loop,
// and goes when it can.
func TestRemovedAppWithBusyNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "shop", "blog")
		stop := b.run(t.Context())
		defer stop()
		settled(10 * time.Second)
		b.engine.before = func(_ context.Context, name string) error {
			if name == "rm network" {
				return fmt.Errorf("a container is on it: %w", engine.ErrConflict)
			}
			return nil
		}
		b.wants("bbbb", "shop:v1", "blog")
		if _, err := b.Do(t.Context(), status.Command{Verb: "reconcile"}); err != nil {
			t.Fatal(err)
		}
		settled(5 * time.Minute)
		if n := b.engine.count("rm network"); n < 2 || n > 10 {
			t.Errorf("%d tries in five minutes", n)
		}
		b.engine.mu.Lock()
		b.engine.before = nil
		b.engine.mu.Unlock()
		settled(2 * time.Minute)
		if v := b.app("shop"); v.Name != "" {
			t.Errorf("still there: %+v", v)
		}
		if len(b.engine.networks) != 1 {
			t.Errorf("networks left: %v", b.engine.networks)
		}
	})
}

// An app that waits for another begins when that is healthy.
func TestAfterApps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "db", "shop")
		res, _ := b.loader.load(manifests.LoadRequest{})
		res.Apps[1].AfterApps = []string{"db"}
		b.traffic.err = errors.New("away")
		stop := b.run(t.Context())
		defer stop()
		settled(10 * time.Second)
		if v := b.app("shop"); v.Reason != status.DependencyNotReady {
			t.Errorf("shop: %s %s", v.Reason, v.Message)
		}
		b.traffic.mu.Lock()
		b.traffic.err = nil
		b.traffic.reports <- b.traffic.reportLocked()
		b.traffic.mu.Unlock()
		settled(time.Minute)
		wantReady(t, b, "db", "v1")
		wantReady(t, b, "shop", "v1")
	})
}

// A restart is possible while the repository cannot be read.
func TestRestartCommandWithoutDesire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "shop")
		stop := b.run(t.Context())
		settled(10 * time.Second)
		stop()
		b.source.err = errors.New("no route to host")
		b.make(t)
		stop = b.run(t.Context())
		defer stop()
		settled(time.Second)
		if _, err := b.Do(t.Context(), status.Command{Verb: "restart", App: "shop"}); err != nil {
			t.Fatal(err)
		}
		settled(10 * time.Second)
		if v := b.app("shop"); v.Health != status.Healthy || b.engine.count("create") != 2 {
			t.Errorf("after the restart: %s %s, %d containers made", v.Health, v.Reason, b.engine.count("create"))
		}
	})
}

// A command whose caller leaves does not race with its answer.
func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "shop")
		stop := b.run(t.Context())
		defer stop()
		settled(10 * time.Second)
		for range 50 {
			ctx, cancel := context.WithCancel(t.Context())
			go cancel()
			_, _ = b.Do(ctx, status.Command{Verb: "deploy", App: "shop"})
			_, _ = b.History(ctx, "shop")
		}
		settled(time.Second)
	})
}

// A moving tag is looked at again by its pull policy, without a commit.
func TestPullPolicyLooksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:latest", "shop")
		res, _ := b.loader.load(manifests.LoadRequest{})
		res.Apps[0].Services[0].PullPolicy = "daily"
		stop := b.run(t.Context())
		defer stop()
		settled(time.Minute)
		asked := b.engine.count("resolve")
		settled(12 * time.Hour)
		if n := b.engine.count("resolve"); n != asked {
			t.Errorf("the registry was asked %d times within the day", n-asked)
		}
		settled(13 * time.Hour)
		if n := b.engine.count("resolve"); n != asked+1 {
			t.Errorf("the registry was asked %d times after a day, want once", n-asked)
		}
		wantReady(t, b, "shop", "latest")
	})
}

// What a person stops with docker is left alone, and no longer once the person
// starts it again.
func TestStoppedAndStartedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "shop")
		stop := b.run(t.Context())
		defer stop()
		settled(10 * time.Second)
		id := b.app("shop").Services[0].Instances[0].ID
		_ = b.engine.Stop(t.Context(), id, "", 0)
		b.engine.events <- engine.Event{Kind: engine.EventKill, Container: id, Time: time.Now()}
		b.engine.events <- engine.Event{Kind: engine.EventDie, Container: id, Time: time.Now()}
		b.engine.events <- engine.Event{Kind: engine.EventStop, Container: id, Time: time.Now()}
		starts := b.engine.count("start")
		settled(time.Minute)
		if v := b.app("shop").Services[0]; v.Reason != status.StoppedByHand || b.engine.count("start") != starts {
			t.Fatalf("%s, started %d times", v.Reason, b.engine.count("start")-starts)
		}
		_ = b.engine.Start(t.Context(), id)
		b.engine.events <- engine.Event{Kind: engine.EventStart, Container: id, Time: time.Now()}
		settled(time.Second)
		wantReady(t, b, "shop", "v1")
	})
}

// A crash is repaired although its event comes alone.
func TestCrashIsRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "shop")
		stop := b.run(t.Context())
		defer stop()
		settled(10 * time.Second)
		id := b.app("shop").Services[0].Instances[0].ID
		_ = b.engine.Stop(t.Context(), id, "", 0)
		b.engine.events <- engine.Event{Kind: engine.EventDie, Container: id, Time: time.Now()}
		settled(10 * time.Second)
		wantReady(t, b, "shop", "v1")
		if n := b.engine.count("start"); n != 2 {
			t.Errorf("started %d times", n)
		}
	})
}
