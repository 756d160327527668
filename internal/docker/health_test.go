package docker_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

// TestPauseIsNotUnhealthy: the engine stops checking at a pause and calls the
// container unhealthy until the next check, here an hour later.
func TestPauseIsNotUnhealthy(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		a := newApp(t, e, d)
		id := a.make(t, a.create("web", "aaaa", func(c *engine.Create) {
			c.Spec.Healthcheck = &manifests.Healthcheck{Test: []string{"CMD", "/testprogram", "healthcheck"}, Interval: time.Hour, Retries: 3}
		}))
		must(t, d.Start(t.Context(), id))
		if got := a.container(t, id).Health; got != "starting" {
			t.Fatalf("after the start: health is %q, not starting", got)
		}
		for _, step := range []func() error{
			func() error { return d.Pause(t.Context(), id) }, func() error { return d.Unpause(t.Context(), id) },
		} {
			must(t, step())
			var raw struct {
				State struct{ Health struct{ Status string } }
			}
			e.Call(t, http.MethodGet, "/containers/"+id+"/json", nil, &raw)
			if got := a.container(t, id); got.Health != "starting" {
				t.Errorf("%s: health is %q (the engine says %q), want starting", got.State, got.Health, raw.State.Health.Status)
			}
		}
	})
}

// TestStreakIsUnhealthy: a check that fails often enough is believed.
func TestStreakIsUnhealthy(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		a := newApp(t, e, d)
		id := a.make(t, a.create("web", "aaaa", func(c *engine.Create) {
			c.Spec.Healthcheck = &manifests.Healthcheck{Test: []string{"CMD", "/testprogram", "ls", "/absent"}, Interval: 50 * time.Millisecond, Retries: 2}
		}))
		must(t, d.Start(t.Context(), id))
		healthOf := func(want string) {
			t.Helper()
			rig.Eventually(t, 20*time.Second, "health to be "+want, func() error {
				if got := a.container(t, id).Health; got != want {
					return fmt.Errorf("it is %q", got)
				}
				return nil
			})
		}
		healthOf("unhealthy")
		must(t, d.Pause(t.Context(), id))
		healthOf("unhealthy")
	})
}
