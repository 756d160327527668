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

// begin starts a host with the app `shop` on version v1 and returns its URL.
func begin(t *testing.T, e *rig.Engine, compose string, image string) (h *host.Host, url string) {
	t.Helper()
	h = host.Start(t, e, host.Options{})
	port := rig.FreePort(t)
	h.App(t, "shop", fmt.Sprintf(compose, image, port), map[string]string{"WEB_TAG": "v1"})
	h.Reconcile(t)
	h.WaitHealthy(t, "shop", 30*time.Second)
	return h, fmt.Sprintf("http://127.0.0.1:%d/", port)
}

// release commits the tag of `shop` and has the agent look.
func release(t *testing.T, h *host.Host, tag string) {
	t.Helper()
	h.Set(t, "shop", map[string]string{"WEB_TAG": tag})
	h.Reconcile(t)
}

func TestBrokenReleases(t *testing.T) {
	cases := []struct {
		name  string
		image rig.Image
		says  string // in the event of the failure
	}{
		{"never_healthy", rig.Image{Env: map[string]string{"APP_NEVER_READY": "true"}}, "GET /health"},
		{"exits_at_once", rig.Image{Env: map[string]string{"APP_CRASH_AFTER": "1ms", "APP_EXIT_CODE": "3"}}, "exit"},
		{"crashes_after_the_switch", rig.Image{Env: map[string]string{"APP_CRASH_AFTER": "2s", "APP_EXIT_CODE": "4"}}, "exit"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := engines.Get(t, rig.Debian)
			image := load(t, e, "v1")
			c.image.Name, c.image.Version = image+":v2", "v2"
			e.LoadImage(t, c.image)
			h, url := begin(t, e, brokenWeb, image)
			release(t, h, "v2")
			h.WaitReason(t, "shop", time.Minute, status.Quarantined)
			answers(t, e, url, "v1")
			out := h.Must(t, "events", "shop")
			if !strings.Contains(out, c.says) || !strings.Contains(out, "RolledBack") && !strings.Contains(out, "HealthCheckFailed") {
				t.Errorf("the events do not say why:\n%s", out)
			}
			rig.Eventually(t, 10*time.Second, "evidence of the failed release", func() error {
				if out := h.Must(t, "logs", "shop/web", "--failed"); !strings.Contains(out, "v2") {
					return fmt.Errorf("it is:\n%s", out)
				}
				return nil
			})
			h.Repo.Revert(t, "main")
			h.Reconcile(t)
			h.WaitHealthy(t, "shop", 20*time.Second)
		})
	}
}

// brokenWeb fails fast.
const brokenWeb = `services:
  web:
    image: %s:${WEB_TAG}
    ports: ["%d:8080"]
    deploy: {update_config: {monitor: 5s}}
    x-remora: {probe: {http: /health, interval: 200ms, timeout: 1s, fall: 3}}
`
