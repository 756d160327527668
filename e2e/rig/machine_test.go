package rig_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/rig"
)

// The machine's own engine: reached both ways, and left as it was found.
func TestMachineEngine(t *testing.T) {
	var image string
	e := rig.MachineEngine(t)
	t.Run("use", func(t *testing.T) {
		queue := rig.StartQueue(t, e.HostAddr(), 3)
		image = e.LoadImage(t, rig.Image{Name: rig.Unique("machine") + ":v1", Cmd: []string{"http", "worker"}})
		c := e.Run(t, rig.Spec{Image: image, Env: map[string]string{"APP_QUEUE_URL": queue.URL}})
		rig.Eventually(t, 20*time.Second, "wait for the jobs", func() error {
			if n := len(queue.Jobs()); n != 3 {
				return fmt.Errorf("%d jobs", n)
			}
			return nil
		})
		if status, version := get(t, e, fmt.Sprintf("http://%s:8080/", c.IP(t))); status != http.StatusOK || version != "v1" {
			t.Errorf("got %d from %q", status, version)
		}
	})
	name, _, _ := strings.Cut(image, ":")
	var images []struct{ RepoTags []string }
	e.Call(t, http.MethodGet, "/images/json", nil, &images)
	for _, i := range images {
		if strings.Contains(strings.Join(i.RepoTags, " "), name) {
			t.Errorf("image %v is left", i.RepoTags)
		}
	}
}
