package ambassador

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/ambassador/control"
	"github.com/remorahq/remora/internal/traffic"
)

// controlled is a worker with its control API on a real socket.
func controlled(t *testing.T) (*rig, *control.Client) {
	t.Helper()
	r := newRig(t)
	path := filepath.Join(t.TempDir(), "a.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	s := control.Serve(l, r.wk, slog.New(slog.DiscardHandler), uint32(os.Getuid()))
	c := control.NewClient(path)
	t.Cleanup(func() {
		c.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, c
}

func (r *rig) numbered(tb *traffic.Table) *traffic.Table {
	r.gen++
	tb.Version, tb.Generation, tb.BootID = traffic.FormatVersion, r.gen, r.wk.opt.BootID
	return tb
}

func TestControlTable(t *testing.T) {
	r, c := controlled(t)
	port := freePort(t)
	tb := r.numbered(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, startBackend(t, "v1"))))
	for range 2 { // the same table again is no error
		ack, err := c.Put(t.Context(), tb)
		if err != nil || ack.Generation != 1 {
			t.Fatalf("got %+v, %v", ack, err)
		}
	}
	got, err := c.Table(t.Context())
	if diff := cmp.Diff(tb, got, cmp.Comparer(func(a, b traffic.ListenerKey) bool { return a == b }),
		cmp.Comparer(func(a, b traffic.Endpoint) bool { return a == b })); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	other := *tb
	other.EngineStart = "other"
	var stale *control.StaleError
	if _, err := c.Put(t.Context(), &other); !errors.As(err, &stale) || stale.Current != 1 {
		t.Errorf("another table of the same generation: %v", err)
	}
	other.Generation, other.Version = 9, 99
	if _, err := c.Put(t.Context(), &other); err == nil || errors.As(err, &stale) {
		t.Errorf("a table of another version: %v", err)
	}
	text, err := c.Metrics(t.Context())
	if err != nil || !strings.Contains(string(text), `remora_ambassador_requests_total{service="env/app/web",release="v1"} 0`) {
		t.Errorf("metrics: %v\n%s", err, text)
	}
}

func TestControlNotPersisted(t *testing.T) {
	r, c := controlled(t)
	port := freePort(t)
	a := startBackend(t, "v1")
	if err := os.RemoveAll(r.dir); err != nil {
		t.Fatal(err)
	}
	tb := r.numbered(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	ack, err := c.Put(t.Context(), tb)
	if !errors.Is(err, control.ErrNotPersisted) || ack.Generation != 1 {
		t.Fatalf("got %+v, %v", ack, err)
	}
	connect(t, port).want("GET", get("/"), 200, "v1")
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(t.Context(), tb); err != nil {
		t.Fatalf("the same table with room on disk: %v", err)
	}
	if _, err := os.Stat(filepath.Join(r.dir, TableFile)); err != nil {
		t.Error(err)
	}
}

// A change reaches a watcher within milliseconds.
func TestControlWatch(t *testing.T) {
	r, c := controlled(t)
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	slow := connect(t, port)
	begun := time.Now()
	stage := 0
	for rep, err := range c.Watch(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case stage == 0:
			if _, err := slow.c.Write([]byte(get("/slow"))); err != nil {
				t.Fatal(err)
			}
			<-a.began
			r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, b), rel("v1", traffic.Draining, a)))
			stage = 1
		case stage == 1 && rep.Generation == 2:
			if rep.Services[0].Releases[1].Drained {
				t.Fatal("drained with a request in flight")
			}
			begun = time.Now()
			close(a.slow)
			stage = 2
		case stage == 2 && rep.Services[0].Releases[1].Drained:
			t.Logf("the drain was told after %s", time.Since(begun))
			if took := time.Since(begun); took > time.Second {
				t.Errorf("the drain was told after %s", took)
			}
			return
		}
	}
	t.Fatal("the watch ended")
}
