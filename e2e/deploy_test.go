package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// web is an app with one endpoint service on a port of the host.
const web = `services:
  web:
    image: %s:${WEB_TAG}
    ports: ["%d:8080"]
    deploy: {update_config: {monitor: 1s}}
    x-remora: {probe: {http: /health}}
`

// load makes an image of the test program for each version and returns its
// repository.
func load(t *testing.T, e *rig.Engine, versions ...string) string {
	t.Helper()
	name := rig.Unique("web")
	for _, v := range versions {
		e.LoadImage(t, rig.Image{Name: name + ":" + v, Version: v, Expose: []string{"8080/tcp"}})
	}
	return name
}

// get returns the body of a GET on the engine's host.
func get(e *rig.Engine, url string) (string, error) {
	resp, err := e.Client().Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), err
}

// answers waits until url is answered by the version.
func answers(t *testing.T, e *rig.Engine, url, version string) {
	t.Helper()
	rig.Eventually(t, 20*time.Second, url+" to be answered by "+version, func() error {
		body, err := get(e, url)
		if err == nil && !strings.Contains(body, version) {
			err = fmt.Errorf("it is answered by %s", body)
		}
		return err
	})
}

func TestDeployUpgradeRevert(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		image := load(t, e, "v1", "v2")
		h := host.Start(t, e, host.Options{})
		port := rig.FreePort(t)
		url := fmt.Sprintf("http://127.0.0.1:%d/", port)
		h.App(t, "shop", fmt.Sprintf(web, image, port), map[string]string{"WEB_TAG": "v1"})
		h.Reconcile(t)
		answers(t, e, url, "v1")
		h.WaitHealthy(t, "shop", 20*time.Second)

		h.Set(t, "shop", map[string]string{"WEB_TAG": "v2"})
		h.Reconcile(t)
		answers(t, e, url, "v2")
		h.WaitHealthy(t, "shop", 20*time.Second)

		h.Repo.Revert(t, "main")
		h.Reconcile(t)
		answers(t, e, url, "v1")
		h.WaitHealthy(t, "shop", 20*time.Second)
		a, _ := host.App(h.Status(t), "shop")
		if s := host.Service(a, "web"); s.Running != "v1" || s.Back != "instant" || s.Health != status.Healthy {
			t.Errorf("after the revert: running %s, back %s, %s", s.Running, s.Back, s.Health)
		}
	})
}

// running says that an app is in sync and one of its services runs a version.
func running(service, tag string) func(status.App) bool {
	return func(a status.App) bool {
		s := host.Service(a, service)
		return a.Rollout == nil && a.Sync == status.Synced && s.Running == tag && s.Health == status.Healthy
	}
}
