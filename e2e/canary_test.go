package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// withCanary is one endpoint service whose releases get their traffic in steps.
const withCanary = `services:
  web:
    image: %[1]s:${WEB_TAG}
    ports: ["%[2]d:8080"]
    environment: {APP_RECORD: "%[3]s"}
    deploy: {update_config: {monitor: 1s}}
    x-remora:
      probe: {http: /health, interval: 200ms}
      canary: {steps: [25%%, 60%%], interval: 6s, sticky: cookie, mirror: 50%%}
`

// visitor is a client of a browser's kind: it keeps the cookie that it gets.
type visitor struct {
	cookie string
	on     string // the version that answered last
}

// visit makes a request with an ID of its own.
func (v *visitor) visit(e *rig.Engine, url, id string) error {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-Request-ID", id)
	if v.cookie != "" {
		req.Header.Set("Cookie", v.cookie)
	}
	resp, err := e.Client().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var body struct{ Version string }
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errorf("%s", resp.Status)
	}
	v.on = body.Version
	for _, c := range resp.Cookies() {
		if strings.HasPrefix(c.Name, "remora-") {
			v.cookie = c.Name + "=" + c.Value
		}
	}
	return nil
}

// round has all visitors make a request and counts those on a version. IDs
// begin with name.
func round(t *testing.T, e *rig.Engine, url, name, version string, visitors []visitor) (on int) {
	t.Helper()
	for i := range visitors {
		must(t, visitors[i].visit(e, url, fmt.Sprintf("%s-%d", name, i)))
		if visitors[i].on == version {
			on++
		}
	}
	return on
}

// between fails when a count of all is not in the range, both percentages.
func between(t *testing.T, what string, n, all, lo, hi int) {
	t.Helper()
	t.Logf("%s: %d of %d", what, n, all)
	if 100*n < lo*all || 100*n > hi*all {
		t.Errorf("%s: %d of %d, want from %d to %d %%", what, n, all, lo, hi)
	}
}

// atStep waits until a service stands on a step of its canary.
func atStep(t *testing.T, h *host.Host, step string) status.Service {
	t.Helper()
	a := h.Until(t, "shop", step, func(a status.App) bool { return a.Rollout != nil && strings.Contains(a.Message, step) })
	return host.Service(a, "web")
}

// TestCanary: a release gets copies of requests, then a growing share of the
// visitors, who stay with what they got, then all of them. The agent dies in a
// step and goes on with it. A release that crashes in a step is discarded. No
// request fails in all of it.
func TestCanary(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	image := load(t, e, "v1", "v2")
	e.LoadImage(t, rig.Image{
		Name: image + ":v3", Version: "v3", Expose: []string{"8080/tcp"},
		Env: map[string]string{"APP_CRASH_AFTER": "9s", "APP_EXIT_CODE": "3"},
	})
	collector := rig.StartCollector(t, e.HostAddr())
	h := host.Start(t, e, host.Options{})
	port := rig.FreePort(t)
	h.App(t, "shop", fmt.Sprintf(withCanary, image, port, collector.Record), map[string]string{"WEB_TAG": "v1"})
	h.Reconcile(t)
	h.WaitHealthy(t, "shop", time.Minute)
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	k := knock(t, e, url)

	release(t, h, "v2")
	const n = 200
	visitors := make([]visitor, n)
	atStep(t, h, "mirror 50 %")
	if on := round(t, e, url, "mirrored", "v2", visitors); on > 0 {
		t.Errorf("%d visitors were answered by a release that gets copies only", on)
	}
	copies := func() (got int) {
		for _, entry := range collector.Entries() {
			if entry.Version == "v2" && strings.HasPrefix(entry.ID, "mirrored-") {
				got++
			}
		}
		return got
	}
	row := atStep(t, h, "canary 25 %")
	if row.Traffic != 75 || row.Running != "v1" || len(row.Instances) != 2 || row.Instances[1].Role != "canary" {
		t.Errorf("status in the step: %+v", row)
	}
	between(t, "copies", copies(), n, 30, 70)
	between(t, "on the canary at 25 %", round(t, e, url, "first", "v2", visitors), n, 12, 38)
	was := append([]visitor(nil), visitors...)
	h.Agent().Kill(t)
	stay(t, e, url, "without an agent", visitors, was, false)
	h.StartAgent(t)
	atStep(t, h, "canary 60 %")
	between(t, "on the canary at 60 %", round(t, e, url, "second", "v2", visitors), n, 45, 75)
	stay(t, e, url, "at 60 %", visitors, was, true)
	h.Until(t, "shop", "on v2", host.On("web", "v2"))
	if on := round(t, e, url, "after", "v2", visitors); on != n {
		t.Errorf("%d of %d are on v2 after the switch", on, n)
	}

	release(t, h, "v3")
	atStep(t, h, "canary 25 %")
	between(t, "on the canary that will crash", round(t, e, url, "third", "v3", make([]visitor, n)), n, 12, 38)
	h.WaitReason(t, "shop", time.Minute, status.Quarantined)
	if on := round(t, e, url, "back", "v2", visitors); on != n {
		t.Errorf("%d of %d are back on v2", on, n)
	}
	says(t, "events", h.Must(t, "events", "shop"), "web v2 mirror 50 %", "web v2 canary 25 %", "web v2 canary 60 %", "web v3 failed: ", "traffic is back on v2")
	k.stop()
	t.Logf("%d more answered, %d refused (%v), %d cut off (%v)", k.answered.Load(), k.refused.Load(), k.lastRefusal.Load(), k.cut.Load(), k.lastCutReason.Load())
	if k.refused.Load()+k.cut.Load() > 0 {
		t.Error("requests failed")
	}
}

// stay fails when a visitor is on another release than it was; with grown, one
// who was not on the canary may be there now.
func stay(t *testing.T, e *rig.Engine, url, when string, visitors, was []visitor, grown bool) {
	t.Helper()
	round(t, e, url, "stay", "", visitors)
	for i := range visitors {
		if visitors[i].on != was[i].on && (!grown || was[i].on != "v1") {
			t.Errorf("%s: visitor %d went from %s to %s", when, i, was[i].on, visitors[i].on)
		}
	}
}
