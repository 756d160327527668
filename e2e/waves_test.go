package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
)

// chained are three services, each of which needs the one before to be healthy,
// and is itself healthy only after a while.
const chained = `services:
  web:
    image: %[1]s:${WEB_TAG}
    ports: ["%[2]d:8080"]
    environment: {APP_READY_DELAY: 700ms}
    depends_on: {api: {condition: service_healthy}}
    deploy: {update_config: {monitor: 500ms}}
    x-remora: {probe: {http: /health, interval: 200ms}}
  api:
    image: %[1]s:${WEB_TAG}
    expose: ["8080"]
    environment: {APP_READY_DELAY: 700ms}
    depends_on: {db: {condition: service_healthy}}
    deploy: {update_config: {monitor: 500ms}}
    x-remora: {probe: {http: /health, interval: 200ms}}
  db:
    image: %[1]s:${WEB_TAG}
    expose: ["8080"]
    environment: {APP_READY_DELAY: 700ms}
    deploy: {update_config: {monitor: 500ms}}
    x-remora: {probe: {http: /health, interval: 200ms}}
`

// TestDependencyWaves: a service starts only once what it depends on answers
// well, at the first deployment and at each release.
func TestDependencyWaves(t *testing.T) {
	const ready = 700 * time.Millisecond
	e := engines.Get(t, rig.Debian)
	image := load(t, e, "v1", "v2")
	h := host.Start(t, e, host.Options{})
	h.App(t, "shop", fmt.Sprintf(chained, image, rig.FreePort(t)), map[string]string{"WEB_TAG": "v1"})
	h.Reconcile(t)
	for _, tag := range []string{"v1", "v2"} {
		h.Until(t, "shop", "on "+tag, host.On("web", tag))
		started := map[string]time.Time{}
		for _, s := range []string{"db", "api", "web"} {
			started[s] = h.Active(t, "shop", s).Inspect(t).State.StartedAt
		}
		if wait := started["api"].Sub(started["db"]); wait < ready {
			t.Errorf("%s: api started %s after db, which needs %s", tag, wait, ready)
		}
		if wait := started["web"].Sub(started["api"]); wait < ready {
			t.Errorf("%s: web started %s after api, which needs %s", tag, wait, ready)
		}
		if tag == "v1" {
			release(t, h, "v2")
		}
	}
}
