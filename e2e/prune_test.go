package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// small is an app without anything but a container, and a volume.
const small = `services:
  web:
    image: %s:v1
    expose: ["8080"]
    volumes: ["rows:/data"]
    stop_grace_period: 1s
    deploy: {update_config: {monitor: 100ms}}
    x-remora: {probe: {http: /health, interval: 200ms}}
volumes: {rows: {}}
`

// TestPrune: an app whose folder leaves the repository is removed, but for its
// volume; when most apps leave at once they stay until somebody says that it is
// meant.
func TestPrune(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	image := load(t, e, "v1")
	h := host.Start(t, e, host.Options{})
	names := []string{"one", "two", "three", "four", "five", "six"}
	for i, name := range names {
		names[i] = rig.Unique(name)
		h.App(t, names[i], fmt.Sprintf(small, image), nil)
	}
	h.Reconcile(t)
	for _, name := range names {
		h.Until(t, name, "healthy", host.Settled(status.Succeeded))
	}

	h.Commit(t, "remove one", rig.Remove("environments/production/"+names[0]))
	h.Reconcile(t)
	gone(t, h, names[0])
	volumes(t, e, names[:1])

	changes := []rig.Change{}
	for _, name := range names[1:5] {
		changes = append(changes, rig.Remove("environments/production/"+name))
	}
	rev := h.Commit(t, "remove most", changes...)
	h.Reconcile(t)
	for _, name := range names[1:5] {
		h.Until(t, name, "held", host.Settled(status.PruneHeld))
		if len(h.Containers(t, name, "web")) == 0 {
			t.Errorf("%s is removed although it is held", name)
		}
	}
	if out, code := h.Remora(t, "explain", names[1]); code != 1 || !strings.Contains(out, "prune --confirm") {
		t.Errorf("explain does not say what to do: exit %d\n%s", code, out)
	}
	t.Run("removed_in_environment", func(t *testing.T) {
		h.Commit(t, "this is meant", rig.File("environments/production/environment.yaml",
			"version: 1\ndefault_placement: all\nhosts: ["+h.Name+"]\nremoved: ["+names[1]+", "+names[2]+"]\n"))
		h.Reconcile(t)
		gone(t, h, names[1])
		gone(t, h, names[2])
	})
	t.Run("confirm", func(t *testing.T) {
		rev = h.Repo.Tip(t, "main")
		if _, code := h.Remora(t, "prune"); code != 2 {
			t.Errorf("prune without a revision exits %d", code)
		}
		h.Must(t, "prune", "--confirm", rev)
		gone(t, h, names[3])
		gone(t, h, names[4])
	})
	h.Until(t, names[5], "healthy", func(a status.App) bool { return a.Health == status.Healthy })
	volumes(t, e, names)
}

// gone waits until nothing of an app but its volumes is left.
func gone(t *testing.T, h *host.Host, app string) {
	t.Helper()
	rig.Eventually(t, time.Minute, app+" to be removed", func() error {
		if list := h.Containers(t, app, ""); len(list) > 0 {
			return fmt.Errorf("there is still %s, %s", list[0].Name(), list[0].State)
		}
		s, err := h.Ask(t.Context())
		if a, found := host.App(s, app); err == nil && found {
			return fmt.Errorf("its status is %+v", a)
		}
		return err
	})
	var networks []struct{ Name string }
	h.Engine.Call(t, http.MethodGet, "/networks", nil, &networks)
	for _, n := range networks {
		if strings.HasPrefix(n.Name, app+"_") {
			t.Errorf("network %s is left", n.Name)
		}
	}
}

// volumes checks that the apps' volumes are there.
func volumes(t *testing.T, e *rig.Engine, apps []string) {
	t.Helper()
	var answer struct{ Volumes []struct{ Name string } }
	e.Call(t, http.MethodGet, "/volumes", nil, &answer)
	for _, app := range apps {
		if !slices.ContainsFunc(answer.Volumes, func(v struct{ Name string }) bool { return v.Name == app+"_rows" }) {
			t.Errorf("the volume of %s is gone", app)
		}
	}
}
