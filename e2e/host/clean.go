package host

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/e2e/rig"
)

type object struct {
	ID     string            `json:"Id"`
	Name   string            `json:"Name"`
	Labels map[string]string `json:"Labels"`
}

// removeContainers takes away what this host's agent left on the engine, which
// other tests share.
func (h *Host) removeContainers(t rig.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var containers []object
	filter := url.QueryEscape(`{"label":["remora.host=` + h.Name + `"]}`)
	if err := h.Engine.Do(ctx, "GET", "/containers/json?all=1&filters="+filter, nil, &containers); err != nil {
		t.Logf("list containers: %v", err)
		return
	}
	for _, c := range containers {
		if err := h.Engine.Do(ctx, "DELETE", "/containers/"+c.ID+"?force=1&v=1", nil, nil); err != nil {
			t.Logf("remove container: %v", err)
		}
	}
	h.removeNamespaces()
	var networks []object
	if err := h.Engine.Do(ctx, "GET", "/networks?filters="+filter, nil, &networks); err == nil {
		for _, n := range networks {
			_ = h.Engine.Do(ctx, "DELETE", "/networks/"+n.ID, nil, nil)
		}
	}
	var volumes struct{ Volumes []object }
	if err := h.Engine.Do(ctx, "GET", "/volumes?filters="+filter, nil, &volumes); err == nil {
		for _, v := range volumes.Volumes {
			_ = h.Engine.Do(ctx, "DELETE", "/volumes/"+v.Name+"?force=1", nil, nil)
		}
	}
}

// removeNamespaces unmounts the namespaces of service addresses.
func (h *Host) removeNamespaces() {
	entries, err := os.ReadDir(filepath.Join(h.Run, "netns"))
	if err != nil {
		return
	}
	for _, e := range entries {
		_ = unix.Unmount(filepath.Join(h.Run, "netns", e.Name()), unix.MNT_DETACH)
	}
	_ = unix.Unmount(filepath.Join(h.Run, "netns"), unix.MNT_DETACH) // the folder is a mount of its own
}
