package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// theirs is what a person started with Docker Compose, as project %s.
const theirs = `name: %s
services:
  db:
    image: %s:v1
    command: [http, database]
    environment: {APP_DATA: /data}
    volumes: ["rows:/data"]
    expose: ["8080"]
    deploy: {update_config: {monitor: 100ms}}
    x-remora: {probe: {http: /health, interval: 200ms}}
volumes: {rows: {}}
`

// TestRunningComposeProjectIsLeftAlone: an app whose project somebody else runs
// is Foreign; nothing of it is created and nothing of theirs is touched.
func TestRunningComposeProjectIsLeftAlone(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	image := load(t, e, "v1")
	project := rig.Unique("shop")
	dir := composeUp(t, e, fmt.Sprintf(theirs, project, image))
	before := e.Container(t, project+"-db-1").Inspect(t)

	h := host.Start(t, e, host.Options{})
	h.App(t, "shop", fmt.Sprintf(theirs, project, image), nil)
	h.Reconcile(t)
	a := h.Until(t, "shop", "foreign", host.Settled(status.Foreign))
	if !strings.Contains(a.Message, project+"-db-1") {
		t.Errorf("the message does not name the container: %s", a.Message)
	}
	if made := h.Containers(t, "shop", ""); len(made) > 0 {
		t.Errorf("made %+v", made)
	}
	after := e.Container(t, project+"-db-1").Inspect(t)
	if after.ID != before.ID || !after.State.Running || !after.State.StartedAt.Equal(before.State.StartedAt) {
		t.Errorf("their container was %+v and is %+v", before.State, after.State)
	}
	if out, code := h.Remora(t, "explain", "shop"); code != 1 || !strings.Contains(out, "Foreign") {
		t.Errorf("explain: exit %d\n%s", code, out)
	}
	if !strings.Contains(a.Message, "docker compose -p "+project+" down") {
		t.Errorf("the message does not say what to do: %s", a.Message)
	}
	e.Compose(t, dir, "down")
	h.Must(t, "deploy", "shop")
	h.Until(t, "shop", "taken over with its volume", host.On("db", "v1"))
}

// composeUp runs a compose file as a person would.
func composeUp(t *testing.T, e *rig.Engine, compose string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(compose), 0o600))
	e.ComposeUp(t, dir)
	return dir
}

// TestVolumeMissing: no empty volume is made where one of the same key exists
// under another project, until a person says so.
func TestVolumeMissing(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	image := load(t, e, "v1")
	old, project := rig.Unique("shop-prod"), rig.Unique("shop")
	composeUp(t, e, fmt.Sprintf(strings.ReplaceAll(theirs, "rows", "ledger"), old, image))

	h := host.Start(t, e, host.Options{})
	h.App(t, "shop", fmt.Sprintf(strings.ReplaceAll(theirs, "rows", "ledger"), project, image), nil)
	h.Reconcile(t)
	a := h.Until(t, "shop", "without its volume", host.Settled(status.VolumeMissing))
	for _, part := range []string{old + "_ledger", "--create-volumes"} {
		if !strings.Contains(a.Message, part) {
			t.Errorf("the message does not name %s: %s", part, a.Message)
		}
	}
	if made := h.Containers(t, "shop", ""); len(made) > 0 {
		t.Errorf("made %+v", made)
	}
	err := e.Do(t.Context(), http.MethodGet, "/volumes/"+project+"_ledger", nil, nil)
	if err == nil {
		t.Errorf("made the volume")
	}
	h.Must(t, "retry", "shop", "--create-volumes")
	h.Until(t, "shop", "on a new volume", host.On("db", "v1"))
}

// TestVolumeInUse: no second writer starts on a volume that a container of
// somebody else writes.
func TestVolumeInUse(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	image := load(t, e, "v1")
	volume := rig.Unique("rows")
	writer := e.Run(t, rig.Spec{Image: image + ":v1", Host: map[string]any{"Binds": []string{volume + ":/data"}}})
	h := host.Start(t, e, host.Options{})
	h.App(t, "shop", fmt.Sprintf(`services:
  db:
    image: %s:v1
    command: [http, database]
    environment: {APP_DATA: /data}
    expose: ["8080"]
    volumes: ["rows:/data"]
    deploy: {update_config: {monitor: 100ms}}
    x-remora: {probe: {http: /health, interval: 200ms}}
volumes: {rows: {external: true, name: %s}}
`, image, volume), nil)
	h.Reconcile(t)
	a := h.Until(t, "shop", "held off its volume", host.Settled(status.VolumeInUse))
	if !strings.Contains(a.Message, writer.Name) || !strings.Contains(a.Message, volume) {
		t.Errorf("the message names neither: %s", a.Message)
	}
	for _, c := range h.Containers(t, "shop", "") {
		if c.State == "running" {
			t.Errorf("%s runs", c.Name())
		}
	}
	writer.Post(t, "stop?t=1")
	h.Must(t, "deploy", "shop")
	h.Until(t, "shop", "on its volume once it is free", host.On("db", "v1"))
}
