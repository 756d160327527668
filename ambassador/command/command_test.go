package command

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/ambassador"
	"github.com/remorahq/remora/ambassador/control"
	"github.com/remorahq/remora/internal/traffic"
)

func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = Main(t.Context(), "v1.2.3", args, &out, &err)
	return code, out.String(), err.String()
}

func TestMainAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		"help":         {[]string{"--help"}, 0, "Examples:", ""},
		"help_of_verb": {[]string{"status", "-h"}, 0, "Usage:", ""},
		"version":      {[]string{"version"}, 0, "v1.2.3", ""},
		"unknown":      {[]string{"dance"}, 2, "", `unknown command "dance"`},
		"unknown_flag": {[]string{"--fast"}, 2, "", "--help"},
		"log_level":    {[]string{"--log-level", "loud"}, 2, "", `"loud" is not debug`},
		"argument":     {[]string{"status", "web"}, 2, "", `unexpected argument "web"`},
		"drain_limit":  {[]string{"--drain-limit", "0s"}, 2, "", "--drain-limit 0s is not above zero"},
		"no_duration":  {[]string{"--drain-limit", "5"}, 2, "", "a duration such as 1h"},
		"max_draining": {[]string{"--max-draining", "-1"}, 2, "", "--max-draining -1 is not above zero"},
		"unit":         {[]string{"unit"}, 0, "\nType=notify\n", ""},
		"nobody_runs":  {[]string{"status", "--run", "/nonexistent"}, 1, "", "does it run, and is --run its folder?"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, err := call(t, c.args...)
			if code != c.code || !strings.Contains(out, c.stdout) || !strings.Contains(err, c.stderr) {
				t.Errorf("got %d\n%s\n%s", code, out, err)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	wk := ambassador.New(ambassador.Options{StateDir: dir, Opener: nobody{}, Log: log, Version: "v9", BootID: "boot"})
	t.Cleanup(wk.Close)
	if err := wk.Lead(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "ambassador.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	s := control.Serve(l, wk, log, uint32(os.Getuid()))
	t.Cleanup(func() { _ = s.Close() })
	_, err = wk.Put(t.Context(), &traffic.Table{
		Version: traffic.FormatVersion, Generation: 7, BootID: "boot",
		Listeners: []traffic.Listener{{ListenerKey: traffic.ListenerKey{Port: 80}, Owner: "production/shop"}},
		Services: []traffic.Service{{Name: "production/shop/web", Active: "v44", HoldFor: time.Second, Releases: []traffic.Release{
			{Name: "v44", State: traffic.Active, Endpoints: []traffic.Endpoint{{Container: "c"}}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	code, out, _ := call(t, "status", "--run", dir)
	for _, want := range []string{"generation 7", "version v9", "production/shop/web  v44", "0/1", "! production/shop port 80: the port is somebody's"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("want %q in\n%s", want, out)
		}
	}
	code, out, _ = call(t, "status", "--run", dir, "-o", "json")
	var rep traffic.Report
	if err := json.Unmarshal([]byte(out), &rep); err != nil || code != 0 || rep.Generation != 7 {
		t.Errorf("got %d %v\n%s", code, err, out)
	}
	code, out, _ = call(t, "table", "--run", dir)
	var tb traffic.Table
	if err := json.Unmarshal([]byte(out), &tb); err != nil || code != 0 || len(tb.Services) != 1 {
		t.Errorf("got %d %v\n%s", code, err, out)
	}
	code, out, _ = call(t, "explain", "http://shop.example.com/cart", "--run", dir)
	if code != 0 || !strings.Contains(out, "✔ listener  :80") || !strings.Contains(out, "✗ route     answered 404 no-route") {
		t.Errorf("explain: %d\n%s", code, out)
	}
	code, out, _ = call(t, "explain", "http://shop.example.com/cart", "--run", dir, "-o", "json")
	var e traffic.Explanation
	if err := json.Unmarshal([]byte(out), &e); err != nil || code != 0 || e.Generation != 7 || e.Refused == nil {
		t.Errorf("explain: %d %v\n%s", code, err, out)
	}
	if code, _, errs := call(t, "explain", "--run", dir); code != 2 || !strings.Contains(errs, "needs a URL") {
		t.Errorf("explain without a URL: %d %s", code, errs)
	}
	if code, _, errs := call(t, "explain", "shop", "--run", dir); code != 1 || !strings.Contains(errs, "is no URL") {
		t.Errorf("explain of no URL: %d %s", code, errs)
	}
	if code, out, _ = call(t, "metrics", "--run", dir); code != 0 || !strings.Contains(out, "remora_ambassador_generation 7") {
		t.Errorf("got %d\n%s", code, out)
	}
}

func TestAccessLog(t *testing.T) {
	dir := t.TempDir()
	if code, _, errs := call(t, "access-log", "--state", dir); code != 1 || !strings.Contains(errs, "nothing was written yet") {
		t.Errorf("without a log: %d %s", code, errs)
	}
	lines := `{"time":"2026-11-28T16:22:46.1Z","client":"192.0.2.7","port":80,"protocol":"http/1.1","method":"GET","path":"/a","status":200,"out":9}` + "\n" +
		`{"time":"2026-11-28T16:22:47.1Z","client":"192.0.2.7","port":80,"protocol":"http/1.1","method":"GET","path":"/b","status":404,"out":9}` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "access.log"), []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := call(t, "access-log", "--state", dir); code != 0 || out != lines {
		t.Errorf("as written: %d\n%s", code, out)
	}
	want := `192.0.2.7 - - [28/Nov/2026:16:22:47 +0000] "GET /b HTTP/1.1" 404 9 "-" "-"` + "\n"
	if code, out, _ := call(t, "access-log", "--state", dir, "-o", "combined", "-n", "1"); code != 0 || out != want {
		t.Errorf("combined: %d\n%s", code, out)
	}
	if code, _, errs := call(t, "access-log", "--state", dir, "-o", "xml"); code != 2 || !strings.Contains(errs, "xml") {
		t.Errorf("xml: %d %s", code, errs)
	}
}

// nobody opens no listener.
type nobody struct{}

func (nobody) Open(context.Context, traffic.ListenerKey, string, uint64) (*net.TCPListener, uint64, error) {
	return nil, 0, &ambassador.InUse{Text: "the port is somebody's"}
}
func (nobody) Close(traffic.ListenerKey) error { return nil }
func (nobody) Sweep() error                    { return nil }
func (nobody) Sockets(context.Context, bool) ([]*os.File, error) {
	return nil, &ambassador.NotAllowed{Text: "not here"}
}
func (nobody) Upgrade(context.Context) error { return nil }
