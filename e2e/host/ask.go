package host

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/api"
	"github.com/remorahq/remora/internal/status"
)

// Bin is the folder of the programs under test: $REMORA_TEST_BIN, else
// [rig.Product].
func Bin(t rig.TB) string {
	t.Helper()
	if dir := os.Getenv("REMORA_TEST_BIN"); dir != "" {
		return dir
	}
	return rig.Product(t)
}

// Ask asks the agent for its status through its socket, as the command line
// does, without a process for each question.
func (h *Host) Ask(ctx context.Context) (status.Host, error) {
	c := api.NewClient(filepath.Join(h.Run, "agent.sock"), "")
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return c.Status(ctx)
}

// Until waits until an app's status is as ok says, and returns it.
func (h *Host) Until(t rig.TB, app, what string, ok func(status.App) bool) status.App {
	t.Helper()
	var a status.App
	rig.Eventually(t, time.Minute, app+" to be "+what, func() error {
		s, err := h.Ask(t.Context())
		if err != nil {
			return err
		}
		var found bool
		if a, found = App(s, app); found && ok(a) {
			return nil
		}
		data, _ := json.MarshalIndent(a, "", " ")
		return fmt.Errorf("it is\n%s", data)
	})
	return a
}

// On says that an app is in sync, and a service of it healthy on a tag.
func On(service, tag string) func(status.App) bool {
	return func(a status.App) bool {
		s := Service(a, service)
		return a.Rollout == nil && a.Sync == status.Synced && s.Running == tag && s.Health == status.Healthy
	}
}

// Settled says that an app has no rollout under way and this reason.
func Settled(r status.Reason) func(status.App) bool {
	return func(a status.App) bool { return a.Rollout == nil && a.Reason == r }
}

// Judged says that an app's status speaks of a commit, that no rollout is under
// way, and what ok says.
func Judged(commit string, ok func(status.App) bool) func(status.App) bool {
	return func(a status.App) bool {
		_, sha, _ := strings.Cut(a.Judged, "@sha1:")
		return sha != "" && strings.HasPrefix(commit, sha) && a.Rollout == nil && ok(a)
	}
}

// Container is a container of this host as the engine lists it.
type Container struct {
	ID     string `json:"Id"`
	Names  []string
	State  string
	Image  string
	Labels map[string]string
}

// Name is the container's name without the slash in front.
func (c Container) Name() string { return strings.TrimPrefix(c.Names[0], "/") }

// Containers lists the containers of an app's service that this host's agent
// made, whatever their state; an empty service lists the app's.
func (h *Host) Containers(t rig.TB, app, service string) []Container {
	t.Helper()
	labels := []string{"remora.host=" + h.Name, "remora.app=" + app}
	if service != "" {
		labels = append(labels, "remora.service="+service)
	}
	filters, _ := json.Marshal(map[string]any{"label": labels})
	var list []Container
	h.Engine.Call(t, http.MethodGet, "/containers/json?all=1&filters="+url.QueryEscape(string(filters)), nil, &list)
	return list
}

// Active is the container of a service that the status calls active; there
// must be exactly one.
func (h *Host) Active(t rig.TB, app, service string) *rig.Container {
	t.Helper()
	a, _ := App(h.Status(t), app)
	var id string
	for _, i := range Service(a, service).Instances {
		if i.Role != "active" {
			continue
		}
		if id != "" {
			t.Fatalf("%s/%s has several active containers: %+v", app, service, a.Services)
		}
		id = i.ID
	}
	if id == "" {
		t.Fatalf("%s/%s has no active container: %+v", app, service, a)
	}
	return h.Engine.Container(t, id)
}
