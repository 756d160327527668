package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// calling has a caller that calls api by its name all the time, on a network of
// their own, and an outsider on another one.
const calling = `services:
  api:
    image: %[1]s:${WEB_TAG}
    expose: ["8080"]
    networks: [inner]
    deploy: {update_config: {monitor: 500ms}}
    x-remora: {probe: {http: /health, interval: 200ms}}
  caller:
    image: %[1]s:v1
    command: [http, caller]
    environment: {APP_CALL_URL: "http://api:8080/", APP_CALL_INTERVAL: 5ms}
    ports: ["%[2]d:8080"]
    networks: [inner]
    depends_on: {api: {condition: service_healthy}}
    deploy: {update_config: {monitor: 500ms}}
    x-remora: {probe: {http: /health, interval: 200ms}}
  outsider:
    image: %[1]s:v1
    ports: ["%[3]d:8080"]
    networks: [outer]
    deploy: {update_config: {monitor: 500ms}}
    x-remora: {probe: {http: /health, interval: 200ms}}
networks:
  inner: {%[4]s}
  outer: {}
`

// calls is what the caller says of its calls.
type calls struct {
	Sent, Answered int
	Versions       map[string]int
	Failures       []string
	MaxMS          float64 `json:"max_ms"`
}

// TestCallsThroughSwitches: calls between two containers by the service's name
// lose nothing through switches and reverts, and nobody outside the network
// reaches that name's address; the same where the network is internal.
func TestCallsThroughSwitches(t *testing.T) {
	for name, network := range map[string]string{"network": "", "internal_network": "internal: true"} {
		t.Run(name, func(t *testing.T) {
			e := engines.Get(t, rig.Debian)
			image := load(t, e, "v1", "v2")
			h := host.Start(t, e, host.Options{})
			caller, outsider := rig.FreePort(t), rig.FreePort(t)
			h.App(t, "shop", fmt.Sprintf(calling, image, caller, outsider, network), map[string]string{"WEB_TAG": "v1"})
			h.Reconcile(t)
			h.Until(t, "shop", "on v1", host.On("caller", "v1"))
			for _, tag := range []string{"v2", "v1", "v2", "v1", "v2"} {
				h.Set(t, "shop", map[string]string{"WEB_TAG": tag})
				h.Reconcile(t)
				h.Until(t, "shop", "on "+tag, host.On("api", tag))
				calledBy(t, e, caller, tag)
			}
			h.Agent().Kill(t) // its successor must not take the names away
			h.StartAgent(t)
			h.Reconcile(t)
			h.Until(t, "shop", "on v2", host.On("api", "v2"))
			calledBy(t, e, caller, "v2")
			c := callsOf(t, e, caller)
			t.Logf("%d calls, the longest took %.0f ms", c.Sent, c.MaxMS)
			if len(c.Failures) > 0 || c.Sent != c.Answered || c.Versions["v1"] == 0 || c.Versions["v2"] == 0 {
				t.Errorf("of the calls by name some failed: %+v", c)
			}
			reachedOnlyWithin(t, e, h, caller, outsider)
		})
	}
}

// calledBy waits until calls are answered by a version.
func calledBy(t *testing.T, e *rig.Engine, port int, version string) {
	t.Helper()
	before := callsOf(t, e, port).Versions[version]
	rig.Eventually(t, 20*time.Second, "calls to be answered by "+version, func() error {
		if c := callsOf(t, e, port); c.Versions[version] < before+10 {
			return fmt.Errorf("they are %+v", c)
		}
		return nil
	})
}

func callsOf(t *testing.T, e *rig.Engine, port int) (c calls) {
	t.Helper()
	body, err := get(e, fmt.Sprintf("http://127.0.0.1:%d/calls", port))
	if err == nil {
		err = json.Unmarshal([]byte(body), &c)
	}
	if err != nil {
		t.Fatalf("read the caller's account: %v", err)
	}
	return c
}

// reachedOnlyWithin calls api's service address from both containers.
func reachedOnlyWithin(t *testing.T, e *rig.Engine, h *host.Host, caller, outsider int) {
	t.Helper()
	address := serviceAddress(t, h, "api")
	ask := func(port int) (string, error) {
		return get(e, fmt.Sprintf("http://127.0.0.1:%d/call?url=%s", port, url.QueryEscape("http://"+address+"/")))
	}
	if body, err := ask(caller); err != nil || !strings.Contains(body, "v2") {
		t.Errorf("from its own network %s answers %s, %v", address, body, err)
	}
	if body, err := ask(outsider); err == nil {
		t.Errorf("from another network %s answers %s", address, body)
	}
}

// serviceAddress is the address and port that the service's name leads to.
func serviceAddress(t *testing.T, h *host.Host, service string) string {
	t.Helper()
	var rows []status.RouteRow
	if err := json.Unmarshal([]byte(h.Must(t, "routes", "-o", "json")), &rows); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if _, address, inner := strings.Cut(r.Listen, "/"); inner && strings.HasSuffix(r.Service, service) {
			return address
		}
	}
	t.Fatalf("no service address of %s in %+v", service, rows)
	return ""
}
