package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// plainWeb starts and is judged quickly.
const plainWeb = `services:
  web:
    image: %s:${WEB_TAG}
    ports: ["%d:8080"]
    stop_grace_period: 2s
    deploy: {update_config: {monitor: 500ms}}
    x-remora: {probe: {http: /health, interval: 200ms}}
`

// TestDriftIsRepaired: what crashes, is killed or removed comes back by itself.
func TestDriftIsRepaired(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	h, url := begin(t, e, plainWeb, load(t, e, "v1"))
	for name, harm := range map[string]func(c *rig.Container){
		"killed":  func(c *rig.Container) { c.Post(t, "kill") },
		"removed": func(c *rig.Container) { must(t, c.Remove(t.Context())) },
		"ended":   func(*rig.Container) { _, _ = get(e, url+"exit?code=3") },
	} {
		t.Run(name, func(t *testing.T) {
			before := h.Active(t, "shop", "web").Inspect(t)
			harm(h.Active(t, "shop", "web"))
			rig.Eventually(t, time.Minute, "another start of the container", func() error {
				a, _ := host.App(h.Status(t), "shop")
				for _, i := range host.Service(a, "web").Instances {
					if i.Role == "active" && i.State == "running" && (i.ID != before.ID || i.Started.After(before.State.StartedAt)) {
						return nil
					}
				}
				return fmt.Errorf("it is %+v", a.Services)
			})
			h.WaitHealthy(t, "shop", time.Minute)
			answers(t, e, url, "v1")
			if got := h.Active(t, "shop", "web").Inspect(t).Name; got != "/shop-web-1" {
				t.Errorf("the active container is %s", got)
			}
		})
	}
}

// TestStopByHandIsHonoured: a person's docker stop and docker pause stand, the
// status names them, and `remora start` ends them.
func TestStopByHandIsHonoured(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	h, url := begin(t, e, plainWeb, load(t, e, "v1"))
	for _, verb := range []string{"stop?t=1", "pause"} {
		t.Run(strings.TrimSuffix(verb, "?t=1"), func(t *testing.T) {
			h.Active(t, "shop", "web").Post(t, verb)
			a := h.Until(t, "shop", "stopped by hand", host.Settled(status.StoppedByHand))
			if a.Health != status.HealthSuspended || a.Message == "" {
				t.Errorf("the status is %s: %s", a.Health, a.Message)
			}
			h.Reconcile(t) // looks again, and leaves it alone
			if a, _ := host.App(h.Status(t), "shop"); a.Reason != status.StoppedByHand {
				t.Errorf("after another look: %s", a.Reason)
			}
			if out, code := h.Remora(t, "explain", "shop"); code != 1 || !strings.Contains(out, "StoppedByHand") || !strings.Contains(out, "remora start") {
				t.Errorf("explain: exit %d\n%s", code, out)
			}
			h.Must(t, "start", "shop")
			h.WaitHealthy(t, "shop", time.Minute)
			answers(t, e, url, "v1")
		})
	}
}

// TestRenamedContainerStays: another name is no reason to interrupt anything,
// and nothing is made twice.
func TestRenamedContainerStays(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	h, url := begin(t, e, plainWeb, load(t, e, "v1", "v2"))
	before := h.Active(t, "shop", "web")
	other := rig.Unique("mine")
	before.Post(t, "rename?name="+other)
	h.Reconcile(t)
	h.WaitHealthy(t, "shop", time.Minute)
	if after := h.Active(t, "shop", "web"); after.ID != before.ID {
		t.Errorf("the renamed container was replaced by %s", after.Name)
	}
	release(t, h, "v2")
	h.Until(t, "shop", "on v2", host.On("web", "v2"))
	answers(t, e, url, "v2")
	if got := h.Active(t, "shop", "web").Inspect(t).Name; got != "/shop-web-1" {
		t.Errorf("the active container is %s", got)
	}
}
