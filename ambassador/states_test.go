package ambassador

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
)

func TestStates(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a := startBackend(t, "v1")
	c := connect503(t, r, port, func(tb *traffic.Table) { tb.Services[0].Active = "" })
	c("503 Starting")
	c = connect503(t, r, port, func(tb *traffic.Table) { tb.Services[0].Maintenance = true })
	c("503 Under maintenance")
	c = connect503(t, r, port, func(tb *traffic.Table) {
		tb.Services[0].Releases = []traffic.Release{rel("v1", traffic.Active, a)}
		tb.Services[0].Releases[0].Endpoints[0].Down = true
	})
	c("503 Not running")
}

func connect503(t *testing.T, r *rig, port uint16, change func(*traffic.Table)) func(string) {
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, dead("x")))
	change(tb)
	r.put(tb)
	return func(text string) {
		t.Helper()
		connect(t, port).want("GET", get("/"), 503, text)
	}
}

// P7: after a reboot only fixed addresses are trusted.
func TestBootFence(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a := startBackend(t, "v1")
	loose := rel("v1", traffic.Active, a)
	loose.Endpoints[0].Fixed = false
	before := table(port, traffic.Detect, "v1", loose)
	before.BootID = "another-boot"
	r.put(before)
	c := connect(t, port)
	fmt.Fprint(c.c, get("/"))
	rep := r.await("a held request", func(rep traffic.Report) bool { return rep.Services[0].Held == 1 })
	if !rep.Fenced || a.conns.Load() != 0 {
		t.Fatalf("fenced %v, %d connections", rep.Fenced, a.conns.Load())
	}
	r.put(table(port, traffic.Detect, "v1", loose)) // the agent confirms
	if status, body, err := c.response("GET"); status != 200 || body[:2] != "v1" {
		t.Fatalf("got %d %q %v", status, body, err)
	}
	fixed := table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a))
	fixed.BootID = "another-boot"
	r.put(fixed)
	connect(t, port).want("GET", get("/"), 200, "v1")
}

func TestTableOnDisk(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a := startBackend(t, "v1")
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	r.wk.Close()
	file := filepath.Join(r.dir, TableFile)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data []byte
		gen  uint64
	}{
		"whole":     {good, 2},
		"torn":      {good[:len(good)/2], 1},
		"empty":     {nil, 1},
		"corrupted": {[]byte(strings.Replace(string(good), "v1", "v9", 1)), 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			prev, err := os.ReadFile(file + ".prev")
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, TableFile), c.data)
			write(t, filepath.Join(dir, TableFile+".prev"), prev)
			wk := startWorker(t, dir)
			if g := wk.Table().Generation; g != c.gen {
				t.Errorf("serves generation %d, want %d", g, c.gen)
			}
			connect(t, port).want("GET", get("/"), 200, "v1")
		})
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
