package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
)

// tried is a plain compose file, as Docker Compose reads it.
const tried = `services:
  web:
    image: %s:%s
    ports: ["%d:8080"]
    healthcheck: {test: [CMD, /testprogram, healthcheck], interval: 1s}
    stop_grace_period: 1s
    deploy: {update_config: {monitor: 500ms}}
`

// try is `remora try` of a folder with a compose file.
type try struct {
	*rig.Process
	engine       *rig.Engine
	dir, temp    string
	file, image  string
	project, url string
	port         int
}

func startTry(t *testing.T, e *rig.Engine, image string, flags ...string) *try {
	t.Helper()
	dir := filepath.Join(t.TempDir(), rig.Unique("myapp"))
	must(t, os.Mkdir(dir, 0o700))
	y := &try{
		engine: e, dir: dir, temp: t.TempDir(), file: filepath.Join(dir, "compose.yaml"), image: image,
		project: filepath.Base(dir), port: rig.FreePort(t),
	}
	y.url = fmt.Sprintf("http://127.0.0.1:%d/", y.port)
	y.write(t, "v1")
	t.Cleanup(func() { endBelow(y.temp) })
	y.start(t, flags...)
	return y
}

// endBelow ends the ambassador that a --keep left running, where the test ended
// before it was taken down: it is the one whose folders are below dir.
func endBelow(dir string) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if pid, bad := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && bad == nil && strings.Contains(string(line), "--run\x00"+dir) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	mounts, _ := filepath.Glob(filepath.Join(dir, "*/run/netns/*"))
	folders, _ := filepath.Glob(filepath.Join(dir, "*/run/netns"))
	for _, path := range append(mounts, folders...) {
		_ = syscall.Unmount(path, syscall.MNT_DETACH)
	}
}

func (y *try) start(t *testing.T, flags ...string) {
	t.Helper()
	cmd := y.engine.Command(filepath.Join(host.Bin(t), "remora"), append([]string{"try", y.dir, "--engine", y.engine.Host()}, flags...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+y.temp)
	y.Process = rig.Spawn(t, "try", cmd)
}

// write saves the file as an editor does: a new one over the old one.
func (y *try) write(t *testing.T, tag string) {
	t.Helper()
	must(t, os.WriteFile(y.file+".new", []byte(fmt.Sprintf(tried, y.image, tag, y.port)), 0o600))
	must(t, os.Rename(y.file+".new", y.file))
}

// left are the project's containers and networks on the engine.
func (y *try) left(t *testing.T) (containers, networks []string) {
	t.Helper()
	filter, _ := json.Marshal(map[string]any{"label": []string{"com.docker.compose.project=" + y.project}})
	var list []struct{ Names []string }
	y.engine.Call(t, http.MethodGet, "/containers/json?all=1&filters="+url.QueryEscape(string(filter)), nil, &list)
	for _, c := range list {
		containers = append(containers, strings.Join(c.Names, ","))
	}
	var nets []struct{ Name string }
	y.engine.Call(t, http.MethodGet, "/networks?filters="+url.QueryEscape(string(filter)), nil, &nets)
	for _, n := range nets {
		networks = append(networks, n.Name)
	}
	return containers, networks
}

func (y *try) interrupt(t *testing.T) {
	t.Helper()
	y.Signal(t, syscall.SIGINT)
	select {
	case <-y.Done():
	case <-time.After(time.Minute):
		t.Fatalf("Ctrl-C does not end it:\n%s", y.Output(t))
	}
	if y.ExitCode() != 0 {
		t.Errorf("it ended with exit code %d:\n%s", y.ExitCode(), y.Output(t))
	}
}

// TestTry: one command runs a plain compose file, an edit is live at once, and
// Ctrl-C leaves nothing behind.
func TestTry(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		y := startTry(t, e, load(t, e, "v1", "v2"))
		answers(t, e, y.url, "v1")
		rig.Eventually(t, time.Minute, "the first release to be promoted", func() error {
			if out := y.Output(t); !strings.Contains(out, "promoted: web v1") {
				return errorf("it shows\n%s", out)
			}
			return nil
		})
		edited := time.Now()
		y.write(t, "v2")
		answers(t, e, y.url, "v2")
		took := time.Since(edited)
		t.Logf("the edit was live after %s", took.Round(time.Millisecond))
		if took > 5*time.Second { // what a busy machine needs to start a container, and less than any poll
			t.Errorf("the edit was live only after %s", took)
		}
		y.interrupt(t)
		if c, n := y.left(t); len(c)+len(n) > 0 {
			t.Errorf("left behind: %v, %v", c, n)
		}
		if body, err := get(e, y.url); err == nil {
			t.Errorf("it still answers %s", body)
		}
	})
}

// TestTryKeep: with --keep the app goes on after Ctrl-C.
func TestTryKeep(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	y := startTry(t, e, load(t, e, "v1"), "--keep")
	answers(t, e, y.url, "v1")
	y.interrupt(t)
	answers(t, e, y.url, "v1")
	if c, _ := y.left(t); len(c) != 1 {
		t.Errorf("of the app there is %v", c)
	}

	y.start(t) // goes on with what is there
	rig.Eventually(t, time.Minute, "the second one to show the app", func() error {
		if out := y.Output(t); !strings.Contains(out, "Healthy") {
			return errorf("it shows\n%s", out)
		}
		return nil
	})
	answers(t, e, y.url, "v1")
	y.interrupt(t)
	if c, n := y.left(t); len(c)+len(n) > 0 {
		t.Errorf("left behind: %v, %v", c, n)
	}
}
