package ambassador

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// head makes one request and returns the status and header of its answer.
func (c *client) head(t *testing.T, raw string) *http.Response {
	t.Helper()
	_ = c.c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c.c, raw); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(c.br, &http.Request{Method: "GET"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	return res
}

// wantReset connects and fails unless the connection is reset before a byte
// came, which may be as early as in the connect call. With say it sends a line.
func wantReset(t *testing.T, port uint16, say string) {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err = io.WriteString(c, say); err == nil {
			_, err = c.Read(make([]byte, 1))
		}
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
}

func from(ip, path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: " + ip + "\r\n\r\n"
}

// behindProxy trusts the tests' own address, so that clients have others.
func behindProxy(tb *traffic.Table) *traffic.Table {
	tb.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	return tb
}

// Only the clients that a route names get to it; the connection goes on.
func TestRouteIsForWhomItAllows(t *testing.T) {
	r, b := newRig(t), startBackend(t, "v1")
	port := freePort(t)
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b))
	tb.Listeners[0].Routes = append(tb.Listeners[0].Routes, traffic.Route{Path: "/admin", Service: "env/app/web", Port: backendPort, Allow: []netip.Prefix{
		netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32"),
	}})
	r.put(behindProxy(tb))
	c := connect(t, port)
	c.want("GET", from("192.0.2.7", "/admin"), 200, "v1")
	c.want("GET", from("2001:db8::7", "/admin/x"), 200, "v1")
	c.want("GET", from("198.51.100.7", "/admin"), 403, "403 Not allowed")
	c.want("GET", from("192.0.2.7, 198.51.100.7", "/admin"), 403, "")
	c.want("GET", from("198.51.100.7", "/other"), 200, "v1")
	c.want("GET", get("/admin"), 403, "")
	c.want("POST", "POST /admin HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 403, "")
	c.want("GET", from("198.51.100.7", "/"), 200, "v1")
}

// Without a trusted proxy the peer is the client, whatever it says.
func TestRouteDoesNotBelieveStrangers(t *testing.T) {
	r, b := newRig(t), startBackend(t, "v1")
	port := freePort(t)
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b))
	tb.Listeners[0].Routes[0].Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	r.put(tb)
	connect(t, port).want("GET", from("192.0.2.7", "/"), 403, "")
}

// A client that asks too often is told when to come again; others are served.
func TestRateOfOneClientIsBounded(t *testing.T) {
	r, b := newRig(t), startBackend(t, "v1")
	port := freePort(t)
	put := func(rate traffic.Rate) {
		tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b))
		tb.Listeners[0].Routes[0].Rate = rate
		r.put(behindProxy(tb))
	}
	put(traffic.Rate{PerSecond: 0.5, Burst: 3})
	c := connect(t, port)
	for range 3 {
		c.want("GET", from("192.0.2.7", "/"), 200, "v1")
	}
	res := c.head(t, from("192.0.2.7", "/"))
	if res.StatusCode != 429 || res.Header.Get("Retry-After") != "2" {
		t.Errorf("%d, Retry-After %q; want 429 and 2", res.StatusCode, res.Header.Get("Retry-After"))
	}
	c.want("GET", from("192.0.2.8", "/"), 200, "v1")
	// Another table does not fill the bucket.
	put(traffic.Rate{PerSecond: 0.5, Burst: 3})
	c.want("GET", from("192.0.2.7", "/"), 429, "")
	// Without the rate there is none.
	put(traffic.Rate{})
	c.want("GET", from("192.0.2.7", "/"), 200, "v1")
}

// A route has so many requests at once and no more; a place is free again when
// its request has ended, however it did.
func TestRouteHasSoManyConnections(t *testing.T) {
	r, b := newRig(t), startBackend(t, "v1")
	port := freePort(t)
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b))
	tb.Listeners[0].Routes[0].MaxConns = 2
	r.put(tb)
	one, two, other := connect(t, port), connect(t, port), connect(t, port)
	for _, c := range []*client{one, two} {
		if _, err := io.WriteString(c.c, get("/slow")); err != nil {
			t.Fatal(err)
		}
		<-b.began
	}
	res := other.head(t, get("/"))
	if res.StatusCode != 503 || res.Header.Get("Retry-After") != "1" {
		t.Errorf("%d, Retry-After %q; want 503 and 1", res.StatusCode, res.Header.Get("Retry-After"))
	}
	_ = two.c.Close() // a client that leaves frees its place
	taken := func(n int64) func(traffic.Report) bool {
		return func(traffic.Report) bool {
			for _, lv := range r.wk.view.Load().listeners {
				return lv.routes[0].rt.seats.Load() == n
			}
			return false
		}
	}
	r.await("the client's leaving seen", taken(1))
	other.want("GET", get("/"), 200, "v1")
	r.await("a place free", taken(1))
	// An upgraded connection has its place to its end.
	ws := connect(t, port)
	_ = ws.c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(ws.c, "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if line, err := ws.br.ReadString('\n'); err != nil || !strings.Contains(line, "101") {
		t.Fatalf("%q %v", line, err)
	}
	other.want("GET", get("/"), 503, "")
	_ = ws.c.Close()
	r.await("the tunnel's end", taken(1))
	close(b.slow)
	if status, _, err := one.response("GET"); status != 200 {
		t.Errorf("%d %v", status, err)
	}
	for range 10 {
		other.want("GET", get("/"), 200, "v1")
		other.want("GET", get("/500"), 500, "")
	}
	r.await("no place taken", taken(0))
}

// A tunnel that its route does not take is reset before the container hears of
// it, also where the server would speak first.
func TestTunnelsAreAdmittedToo(t *testing.T) {
	r, b := newRig(t), startBackend(t, "v1")
	port := freePort(t)
	put := func(p traffic.Protocol, change func(*traffic.Route)) {
		tb := table(port, p, "v1", rel("v1", traffic.Active, b))
		change(&tb.Listeners[0].Routes[0])
		r.put(tb)
	}
	for _, p := range []traffic.Protocol{traffic.TCP, traffic.Detect} {
		put(p, func(rt *traffic.Route) { rt.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
		wantReset(t, port, "hello\n")
	}
	put(traffic.TCP, func(rt *traffic.Route) { rt.Rate = traffic.Rate{PerSecond: 0.01, Burst: 1} })
	first := connect(t, port)
	first.want("GET", get("/"), 200, "v1")
	wantReset(t, port, "hello\n")
	_ = first.c.Close()
	put(traffic.TCP, func(rt *traffic.Route) { rt.MaxConns = 1 })
	c := connect(t, port)
	c.want("GET", get("/"), 200, "v1")
	wantReset(t, port, "hello\n")
	_ = c.c.Close()
	r.await("the tunnel's end", func(rep traffic.Report) bool { return rep.Services[0].Releases[0].Tunnels == 0 })
	if n := b.conns.Load(); n != 2 {
		t.Errorf("the container saw %d connections, want 2", n)
	}
}

// A server that speaks first gets no connection of a client that may not use
// the route.
func TestServerFirstTunnelsAreAdmitted(t *testing.T) {
	r, port := newRig(t), freePort(t)
	b := startGreeter(t)
	tb := table(port, traffic.Detect, "v1", rel("v1", traffic.Active, b))
	tb.Listeners[0].Routes[0].Rate = traffic.Rate{PerSecond: 0.01, Burst: 1}
	r.put(tb)
	c := connect(t, port)
	_ = c.c.SetDeadline(time.Now().Add(10 * time.Second))
	if line, err := c.br.ReadString('\n'); err != nil || line != "220 hello\n" {
		t.Fatalf("%q %v", line, err)
	}
	wantReset(t, port, "")
}
