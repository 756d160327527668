package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// TestSetPushWait is a pipeline's day: `remora set --push` in a working copy,
// `remora wait` for what becomes of it, good and bad.
func TestSetPushWait(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	image := load(t, e, "v1", "v2")
	e.LoadImage(t, rig.Image{Name: image + ":v3", Version: "v3", Env: map[string]string{"APP_CRASH_AFTER": "1ms"}})
	h, url := begin(t, e, plainWeb, image)
	clone := rig.Clone(t, h.Repo.FileURL())
	for _, kv := range [][2]string{{"user.name", "CI"}, {"user.email", "ci@example.com"}} {
		must(t, exec.Command("git", "-C", clone, "config", kv[0], kv[1]).Run())
	}
	set := func(tag string) {
		t.Helper()
		h.Must(t, "set", "production/shop", "WEB_TAG="+tag, "--push", "--repo", clone)
		h.Reconcile(t)
	}
	set("v2")
	exits(t, h, 0, "wait", "shop", "--set", "WEB_TAG=v2", "--timeout", "60s")
	answers(t, e, url, "v2")
	if env := h.Repo.Git(t, "show", "main:environments/production/shop/.env"); env != "WEB_TAG=v2" {
		t.Errorf("the file is %q", env)
	}
	says(t, "events", h.Must(t, "events", "shop"), "CI")

	set("v3")
	says(t, "wait", exits(t, h, 3, "wait", "shop", "--set", "WEB_TAG=v3", "--timeout", "60s"), "v3")
	answers(t, e, url, "v2")
	set("v1")
	exits(t, h, 0, "wait", "shop", "--rev", h.Repo.Tip(t, "main"), "--timeout", "60s")
	exits(t, h, 7, "wait", "shop", "--rev", "0123456789abcdef0123456789abcdef01234567", "--timeout", "1s")
	exits(t, h, 2, "wait", "shop")
	h.Agent().Kill(t)
	exits(t, h, 5, "wait", "shop", "--set", "WEB_TAG=v1", "--timeout", "30s")
}

// TestPlanExitCodes: 0 for nothing to do, 1 for changes, 2 for errors; a plan
// of a working copy changes nothing.
func TestPlanExitCodes(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	h, _ := begin(t, e, plainWeb, load(t, e, "v1", "v2"))
	exits(t, h, 0, "plan", "--exit-code")
	clone := rig.Clone(t, h.Repo.FileURL())
	exits(t, h, 0, "plan", "--exit-code", "--path", clone)

	env := filepath.Join(clone, "environments/production/shop/.env")
	must(t, os.WriteFile(env, []byte("WEB_TAG=v2\n"), 0o600))
	says(t, "plan", exits(t, h, 1, "plan", "shop", "--exit-code", "--path", clone), "Service/web", "v1→v2")
	exits(t, h, 0, "plan", "shop", "--path", clone)

	must(t, os.WriteFile(env, []byte("OTHER=v2\n"), 0o600))
	says(t, "plan", exits(t, h, 2, "plan", "shop", "--exit-code", "--path", clone), "WEB_TAG")
	exits(t, h, 0, "plan", "--exit-code")
	h.WaitHealthy(t, "shop", time.Minute)
}

// rendered is a service with something in many fields.
const rendered = `services:
  web:
    image: %s:${WEB_TAG}
    command: [http]
    ports: ["%d:8080"]
    environment: {GREETING: "hello $$you", EMPTY: ""}
    labels: {team: shop}
    cap_add: [NET_ADMIN]
    mem_limit: 64m
    stop_signal: SIGTERM
    extra_hosts: ["elsewhere:192.0.2.7"]
    volumes: ["rows:/rows:ro"]
    deploy: {update_config: {monitor: 500ms}}
    x-remora: {probe: {http: /health, interval: 200ms}}
volumes: {rows: {}}
`

// TestRenderIsWhatTheEngineHas compares each field that `remora render` prints
// with the container that the engine made of it.
func TestRenderIsWhatTheEngineHas(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		h, _ := begin(t, e, rendered, load(t, e, "v1"))
		var list []struct{ Body map[string]any }
		if err := json.Unmarshal([]byte(h.Must(t, "render", "shop")), &list); err != nil || len(list) != 1 {
			t.Fatalf("render: %v, %+v", err, list)
		}
		var have struct{ Config, HostConfig map[string]any }
		e.Call(t, "GET", "/containers/"+h.Active(t, "shop", "web").ID+"/json", nil, &have)
		limits, _ := list[0].Body["HostConfig"].(map[string]any)
		delete(list[0].Body, "HostConfig")
		delete(list[0].Body, "NetworkingConfig") // where, not what; the addresses are in the next two
		delete(limits, "RestartPolicy")          // it becomes unless-stopped when the container gets its traffic
		compare(t, "", list[0].Body, have.Config)
		compare(t, "HostConfig.", limits, have.HostConfig)
		if got := have.HostConfig["Memory"]; got != float64(64<<20) {
			t.Errorf("the memory limit is %v", got)
		}
	})
}

// compare checks that what was rendered is there; the engine may know more.
func compare(t *testing.T, at string, rendered, have map[string]any) {
	t.Helper()
	for key, want := range rendered {
		got, path := have[key], at+key
		a, nested := want.(map[string]any)
		b, both := got.(map[string]any)
		switch {
		case isZero(want) || strings.HasSuffix(path, "Labels.remora.instance"): // each container has its own
		case nested && both:
			compare(t, path+".", a, b)
		case key == "Env":
			have, _ := got.([]any)
			for _, line := range want.([]any) {
				if !slices.Contains(have, line) && !strings.HasPrefix(line.(string), "REMORA_INSTANCE=") {
					t.Errorf("the container lacks %s in %q", line, have)
				}
			}
		case !cmp.Equal(want, got):
			t.Errorf("%s is %v, rendered %v", path, got, want)
		}
	}
}

// isZero says that a value asks for nothing.
func isZero(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case float64:
		return v == 0
	case bool:
		return !v
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// TestHostileManifests: a file of six bytes that panics the parser and one that
// would keep it busy for ever are clear errors within seconds, of their app
// alone; the agent goes on.
func TestHostileManifests(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	image := load(t, e, "v1", "v2")
	h, url := begin(t, e, plainWeb, image)
	hostile := map[string]string{
		"reset": "!reset",
		"loop":  "a: &a\n  <<: *a\nservices: {web: {image: x}}\n",
	}
	for name, text := range hostile {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(text), 0o600))
		begun := time.Now()
		out := exits(t, h, 1, "validate", dir)
		if took := time.Since(begun); took > 6*time.Second {
			t.Errorf("validate of %s took %s", name, took)
		}
		says(t, "validate of "+name, out, "compose.yaml")
		if strings.Contains(out, "goroutine ") {
			t.Errorf("validate of %s prints a stack:\n%s", name, out)
		}
		h.App(t, name, text, nil)
	}
	pid := h.Agent().PID()
	release(t, h, "v2")
	h.Until(t, "shop", "on v2", host.On("web", "v2"))
	answers(t, e, url, "v2")
	for name := range hostile {
		h.Until(t, name, "an error", host.Settled(status.LoadFailed))
	}
	if err := h.Agent().Alive(); err != nil || h.Agent().PID() != pid {
		t.Errorf("the agent did not bear it: %v", err)
	}
}
