package ambassador

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// Row 2: an address is no identity. Once the agent has said that a container is
// down, nothing is sent to its address, whoever answers there; a connection that
// was kept with it is not used for the container that got the address.
func TestRace02AddressGivenToAnother(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	first, other := startBackend(t, "first"), startBackend(t, "other")
	both := rel("v1", traffic.Active, first, other)
	r.put(table(port, traffic.HTTP, "v1", both))
	c := connect(t, port)
	for range 60 { // by chance to the one or the other
		c.want("GET", get("/"), 200, "")
	}
	before := first.conns.Load()
	if before == 0 {
		t.Fatal("the first container got no connection: the test shows nothing")
	}
	both.Endpoints[0].Down = true
	r.put(table(port, traffic.HTTP, "v1", both))
	for range 20 {
		c.want("GET", get("/"), 200, "other")
	}
	again := rel("v1", traffic.Active, first)
	again.Endpoints[0].Container = "another container at the address"
	r.put(table(port, traffic.HTTP, "v1", again))
	c.want("GET", get("/"), 200, "first")
	if n := first.conns.Load(); n != before+1 {
		t.Errorf("the container at the address got %d connections, want one of its own", n-before)
	}
}

// Row 2, the narrow case: a request that chose a container before it was
// withdrawn, and connects only when another one has its address, sends nothing.
func TestRace02WithdrawnWhileConnecting(t *testing.T) {
	for name, withdraw := range map[string]func(*traffic.Release){
		"down": func(r *traffic.Release) { r.Endpoints[0].Down = true },
		"gone": func(r *traffic.Release) { r.Endpoints = nil },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			port := freePort(t)
			re := rel("v1", traffic.Active, startBackend(t, "whoever has the address"))
			r.put(table(port, traffic.HTTP, "v1", re))
			chosen := r.wk.view.Load().services["env/app/web"].active.endpoints[0].ep
			if up, err := chosen.dial(backendPort); err != nil {
				t.Fatal(err)
			} else {
				up.drop()
			}
			withdraw(&re)
			r.put(table(port, traffic.HTTP, "v1", re))
			if _, err := chosen.dial(backendPort); !errors.Is(err, errWithdrawn) {
				t.Errorf("connecting to a withdrawn container: %v", err)
			}
		})
	}
}

// Row 12: a container that was started anew is another one: it has to pass its
// checks before it counts as warm.
func TestRace12RestartedContainerIsNew(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := startBackend(t, "v1")
	re := rel("v1", traffic.Active, b)
	re.Probes = []traffic.Probe{{Port: backendPort, HTTP: "/up", Interval: 20 * time.Millisecond, Timeout: time.Second, Rise: 2, Fall: 1}}
	r.put(table(port, traffic.HTTP, "v1", re))
	warm := func(rep traffic.Report) bool { return rep.Services[0].Releases[0].Endpoints[0].Warm }
	r.await("the container to be warm", warm)
	started := time.Now().UTC()
	re.Endpoints[0].Started = started
	re.Probes[0].HTTP = "/500"
	r.put(table(port, traffic.HTTP, "v1", re))
	rep := r.await("a failed check of the new start", func(rep traffic.Report) bool {
		return rep.Services[0].Releases[0].Endpoints[0].Failures > 0
	})
	if e := rep.Services[0].Releases[0].Endpoints[0]; e.Warm || !e.Started.Equal(started) {
		t.Errorf("the container that was started anew: %+v", e)
	}
}

// Row 14: after a crash the table on disk is served at once, before any check
// has come back.
func TestRace14CrashServesLastTable(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := startBackend(t, "v1")
	re := rel("v1", traffic.Active, b)
	re.Probes = []traffic.Probe{{Port: backendPort, HTTP: "/slow", Interval: time.Minute, Timeout: time.Minute, Rise: 1, Fall: 1}}
	r.put(table(port, traffic.HTTP, "v1", re))
	r.wk.Close()
	wk := startWorker(t, r.dir)
	connect(t, port).want("GET", get("/"), 200, "v1")
	if e := wk.Report().Services[0].Releases[0].Endpoints[0]; e.Checked != 0 {
		t.Fatalf("a check came back before the request: %+v", e)
	}
}

// Row 15: with nobody to say which instances there are, the last known ones
// stay, and what connections tell decides between them.
func TestRace15LastInstancesStay(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "a"), startBackend(t, "b")
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a, b)))
	a.stop()
	c := connect(t, port)
	for range 20 {
		c.want("POST", post, 200, "b 2")
	}
	b.stop()
	c.want("GET", get("/"), 502, "502 ")
	l, err := net.Listen("tcp", netip.AddrPortFrom(a.addr, backendPort).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			s, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := readRequest(bufio.NewReader(s)); err == nil {
				ok(s, "back")
			}
			_ = s.Close()
		}
	}()
	c.want("GET", get("/"), 200, "back")
}

// answering is an instance that answers with the status; it counts requests as
// connections, one each.
func answering(t *testing.T, name string, status int) *backend {
	return script(t, name, func(_ int, c net.Conn, br *bufio.Reader) {
		if _, err := readRequest(br); err == nil {
			fmt.Fprintf(c, "HTTP/1.1 %d Some Reason\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", status, len(name), name)
		}
	})
}
