package cli

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/remorahq/remora/manifests"
)

const hostYAML = `version: 1
name: web-7
engine: unix:///nowhere/docker.sock
sources:
  - {name: main, url: "https://git.example.com/infra.git", environments: [production]}
`

func hostFile(t *testing.T, text string) *hostConfig {
	t.Helper()
	t.Setenv("REMORA_CONFIG", filepath.Join(t.TempDir(), "host.yaml"))
	h := hostFlags(&cobra.Command{})
	write(t, h.path, text)
	return h
}

func write(t *testing.T, path, text string) {
	t.Helper()
	// As an editor does: another file takes the place of the old one.
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestReloadTakesWhatIsSafe(t *testing.T) {
	var log bytes.Buffer
	g := agent{file: hostFile(t, hostYAML)}
	now, err := g.file.read()
	if err != nil {
		t.Fatal(err)
	}
	g.log = newLogger(&log, now.Log, &g.level)

	same, again := g.reload(now)
	if again || !cmp.Equal(now, same) {
		t.Error("an unchanged file asks for a new instance")
	}

	write(t, g.file.path, hostYAML+"log: {level: debug}\n")
	next, again := g.reload(now)
	if again || g.level.Level() != slog.LevelDebug || next.Log.Level != "debug" {
		t.Errorf("the log's level: again=%v level=%v", again, g.level.Level())
	}

	write(t, g.file.path, hostYAML+"policy: {preset: compose}\nstate: /elsewhere\n")
	next, again = g.reload(now)
	if !again || next.Policy.Preset != manifests.PresetCompose || next.State != now.State {
		t.Errorf("policy and state: again=%v, preset %s, state %s", again, next.Policy.Preset, next.State)
	}
	if !strings.Contains(log.String(), `settings=state`) {
		t.Error("nothing says that the state folder wants a restart")
	}

	write(t, g.file.path, hostYAML+"polcy: {}\n")
	if next, again = g.reload(now); again || !cmp.Equal(now, next) {
		t.Error("a file with an error is taken")
	}
	if !strings.Contains(log.String(), "polcy") {
		t.Errorf("the error is not told:\n%s", log.String())
	}
}

func TestWatchFileSeesReplacements(t *testing.T) {
	path := filepath.Join(t.TempDir(), "host.yaml")
	write(t, path, "1")
	changed, stop, err := watchFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		write(t, path, "2")
		write(t, path, "3")
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatal("a replaced file is not seen")
		}
	}
	stop()
	stop2 := func() { stop() } // may be called again
	stop2()
}

func TestPasswordsAreNotPrinted(t *testing.T) {
	var out bytes.Buffer
	h := manifests.DefaultHost()
	h.Vars = map[string]string{"TOKEN": "hunter2"}
	h.Sources = []manifests.Source{{Name: "a", URL: "https://u:s3cret@h/x"}, {Name: "b", URL: "git@host:x.git"}, {Name: "c", URL: "ssh://git@host/x"}}
	if err := printHost(&out, h); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"hunter2", "s3cret"} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("%s is printed:\n%s", bad, out.String())
		}
	}
	for _, good := range []string{"https://u:***@h/x", "git@host:x.git", "ssh://git@host/x"} {
		if !strings.Contains(out.String(), good) {
			t.Errorf("%s is not printed:\n%s", good, out.String())
		}
	}
}

func TestServiceManagerIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test
	t.Setenv("NOTIFY_SOCKET", socket)
	if err := notifySystemd(context.Background(), "READY=1"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "READY=1" {
		t.Errorf("got %q, %v", buf[:n], err)
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := notifySystemd(context.Background(), "READY=1"); err != nil {
		t.Errorf("without a service manager: %v", err)
	}
	t.Setenv("WATCHDOG_USEC", "10000000")
	if d := watchdogInterval(); d != 5*time.Second {
		t.Errorf("watchdog every %v, want 5s", d)
	}
	t.Setenv("WATCHDOG_PID", "1")
	if d := watchdogInterval(); d != 0 {
		t.Errorf("another process's watchdog: %v", d)
	}
}
