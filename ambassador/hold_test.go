package ambassador

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

func TestHold(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	flying := connect(t, port)
	fmt.Fprint(flying.c, get("/slow"))
	<-a.began
	hold := table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a))
	hold.Services[0].Hold, hold.Services[0].MaxHeld = true, 3
	r.put(hold)
	held, tcp, left := connect(t, port), connect(t, port), connect(t, port)
	fmt.Fprint(held.c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
	fmt.Fprint(tcp.c, "\x00binary\n")
	fmt.Fprint(left.c, get("/"))
	rep := r.await("three held", func(rep traffic.Report) bool { return rep.Services[0].Held == 3 })
	if rl := rep.Services[0].Releases[0]; rl.RequestsDrained || rl.Inflight != 1 {
		t.Errorf("in flight before the hold: %+v", rl)
	}
	connect(t, port).want("GET", get("/"), 503, "503 Being replaced\n\nThis service is being replaced, and too many")
	_ = left.c.Close()
	r.await("the client that left", func(rep traffic.Report) bool { return rep.Services[0].Held == 2 })
	close(a.slow)
	if status, body, err := flying.response("GET"); status != 200 || body != "v1 slow" {
		t.Errorf("in flight at the hold: %d %q %v", status, body, err)
	}
	r.await("requests drained", func(rep traffic.Report) bool { return rep.Services[0].Releases[0].Drained })
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, b), rel("v1", traffic.Draining, a)))
	if status, body, err := held.response("POST"); status != 200 || body != "v2 2" {
		t.Errorf("held: %d %q %v", status, body, err)
	}
	rep = r.await("none held", func(rep traffic.Report) bool { return rep.Services[0].Held == 0 })
	if n := rep.Services[0].Releases[0].Requests; n < 2 {
		t.Errorf("v2 got %d requests and tunnels, want the held ones", n)
	}
}

func TestHoldEnds(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a := startBackend(t, "v1")
	hold := table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a))
	hold.Services[0].Hold, hold.Services[0].HoldFor = true, 150*time.Millisecond
	r.put(hold)
	c := connect(t, port)
	begun := time.Now()
	fmt.Fprint(c.c, get("/"))
	res, err := http.ReadResponse(c.br, nil)
	if err != nil || res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Fatalf("got %v, %v; want 503 with Retry-After", res, err)
	}
	if took := time.Since(begun); took < 150*time.Millisecond || took > 2*time.Second {
		t.Errorf("waited %s", took)
	}
}

func TestSpillToStandby(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "v2"), startBackend(t, "v1")
	paused := rel("v1", traffic.Standby, b)
	paused.Paused = true
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, a), paused))
	c := connect(t, port)
	c.want("GET", get("/"), 200, "v2")
	a.stop()
	c2 := connect(t, port)
	fmt.Fprint(c2.c, post)
	r.await("a held request", func(rep traffic.Report) bool {
		return rep.Services[0].Held == 1 && !rep.Services[0].Releases[0].Endpoints[0].Good
	})
	if n := b.conns.Load(); n != 0 {
		t.Errorf("the paused standby was connected to %d times", n)
	}
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, a), rel("v1", traffic.Standby, b)))
	if status, body, err := c2.response("POST"); status != 200 || body != "v1 2" {
		t.Errorf("got %d %q %v", status, body, err)
	}
	if n := r.wk.Report().Services[0].Releases[0].Spilled; n != 1 {
		t.Errorf("spilled %d, want 1", n)
	}
}

// A crash that heals before the agent acts: the held request goes to the
// active release again.
func TestHeldRequestReturnsToHealedRelease(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a := dead("v2")
	paused := rel("v1", traffic.Standby, startBackend(t, "v1"))
	paused.Paused = true
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, a), paused))
	c := connect(t, port)
	fmt.Fprint(c.c, get("/"))
	r.await("a held request", func(rep traffic.Report) bool { return rep.Services[0].Held == 1 })
	l, err := net.Listen("tcp", netip.AddrPortFrom(a.addr, backendPort).String())
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "healed") })}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	if status, body, err := c.response("GET"); status != 200 || body != "healed" {
		t.Errorf("got %d %q %v", status, body, err)
	}
}
