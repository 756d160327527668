package ambassador

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/internal/traffic"
)

// script is a raw TCP backend: handle serves the n-th connection.
func script(t *testing.T, name string, handle func(n int, c net.Conn, br *bufio.Reader)) *backend {
	t.Helper()
	b := &backend{name: name, addr: freeAddress()}
	l, err := net.Listen("tcp", netip.AddrPortFrom(b.addr, backendPort).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.conns.Add(1)
			go func() {
				defer c.Close()
				handle(n, c, bufio.NewReader(c))
			}()
		}
	}()
	return b
}

// readRequest reads one request with its body and returns its ID.
func readRequest(br *bufio.Reader) (string, error) {
	r, err := http.ReadRequest(br)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(io.Discard, r.Body)
	return r.Header.Get("X-Id"), err
}

func ok(c net.Conn, body string) {
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// dead is an endpoint whose address refuses connections.
func dead(name string) *backend { return &backend{name: name, addr: freeAddress()} }

// silent is an endpoint that drops what is sent to it: its listener's queue is
// full.
func silent(t *testing.T) *backend {
	t.Helper()
	b := dead("silent")
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: backendPort, Addr: b.addr.As4()}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for {
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(b.addr, backendPort).String(), 50*time.Millisecond)
		if err != nil {
			return b
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}

const post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"

// Row 1: nothing sent, so any method goes to another instance.
func TestDialFailureGoesElsewhere(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := startBackend(t, "v1")
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, dead("d1"), b, dead("d2"))))
	c := connect(t, port)
	for range 20 {
		c.want("POST", post, 200, "v1")
	}
	rep := r.wk.Report().Services[0].Releases[0]
	if rep.ConnectErrors == 0 || rep.Errors5xx != 0 {
		t.Errorf("got %d connect errors and %d answers of 5xx", rep.ConnectErrors, rep.Errors5xx)
	}
	if !strings.Contains(rep.Endpoints[0].LastError, "connection refused") {
		t.Errorf("the endpoint's last error is %q", rep.Endpoints[0].LastError)
	}
}

// Row 1, silent address: never the 3 s of a neighbour that does not answer.
func TestDeadAddressIsNotWaitedFor(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := startBackend(t, "v1")
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, silent(t), b)))
	for range 8 {
		begun := time.Now()
		connect(t, port).want("POST", post, 200, "v1")
		if took := time.Since(begun); took > time.Second {
			t.Fatalf("took %s", took)
		}
	}
}

// Row 3: kept connections that the server closed cost no request.
func TestStaleConnectionsLoseNothing(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	var served atomic.Int64
	b := script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
		for {
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			if _, err := readRequest(br); err != nil {
				return
			}
			served.Add(1)
			ok(c, "v1")
		}
	})
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, b)))
	c := connect(t, port)
	tick := time.NewTicker(20 * time.Millisecond) // the server's own limit: the worst moment
	defer tick.Stop()
	const n = 60
	for i := range n {
		if i%2 == 0 {
			c.want("POST", post, 200, "v1")
		} else {
			c.want("GET", get("/"), 200, "v1")
		}
		<-tick.C
	}
	if served.Load() != n {
		t.Errorf("the backend served %d requests of %d", served.Load(), n)
	}
}

// Row 4: sent and no answer: an idempotent request is replayed, a POST is not.
func TestLostAnswer(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	var posts, gets atomic.Int64
	drops := script(t, "drops", func(_ int, _ net.Conn, br *bufio.Reader) {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if req.Method == "POST" {
			posts.Add(1)
		} else {
			gets.Add(1)
		}
	})
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, drops)))
	connect(t, port).want("POST", post, 502, "502 No answer")
	if posts.Load() != 1 {
		t.Errorf("the POST was sent %d times", posts.Load())
	}
	b := startBackend(t, "good")
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, drops, b)))
	c := connect(t, port)
	for range 10 {
		c.want("GET", get("/"), 200, "good")
	}
	if gets.Load() == 0 {
		t.Error("no GET was lost by the backend: the test shows nothing")
	}
}

// Row 5: an upload that fits the replay buffer can be replayed, a longer one
// cannot.
func TestUploadReplay(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	drops := script(t, "drops", func(_ int, _ net.Conn, br *bufio.Reader) { _, _ = readRequest(br) })
	b := startBackend(t, "good")
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, drops, b)))
	upload := func(n int, chunked bool) string {
		body := strings.Repeat("b", n)
		if chunked {
			return fmt.Sprintf("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", n, body)
		}
		return fmt.Sprintf("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", n, body)
	}
	for range 6 {
		connect(t, port).want("PUT", upload(60<<10, false), 200, "good 61440")
		connect(t, port).want("PUT", upload(60<<10, true), 200, "good 61440")
	}
	lost := 0
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, drops, b)))
	for range 8 {
		status, body, err := connect(t, port).roundTrip("PUT", upload(300<<10, true))
		switch {
		case err == nil && status == 502:
			lost++
		case err != nil || status != 200 || body != "good 307200":
			t.Errorf("got %d %q, %v", status, body, err)
		}
	}
	if lost == 0 {
		t.Error("a long upload was replayed, which nobody kept")
	}
	r.await("the replay budget given back", func(traffic.Report) bool { return r.wk.replay.Load() == 0 })
}

// Row 6: an answer before the upload's end reaches the client.
func TestEarlyAnswerDuringUpload(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		fmt.Fprint(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
		_, _ = io.Copy(io.Discard, br)
	})
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b)))
	c := connect(t, port)
	fmt.Fprint(c.c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\nsome")
	status, body, err := c.response("POST")
	if status != 413 || body != "big" || err != nil {
		t.Fatalf("got %d %q, %v", status, body, err)
	}
}

// Row 7: the server decides whether the client is told to continue.
func TestExpectContinue(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := script(t, "v1", func(n int, c net.Conn, br *bufio.Reader) {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if req.URL.Path == "/no" {
			fmt.Fprint(c, "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
			return
		}
		fmt.Fprint(c, "HTTP/1.1 100 Continue\r\n\r\n")
		body, _ := io.ReadAll(req.Body)
		ok(c, string(body))
	})
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, b)))
	c := connect(t, port)
	fmt.Fprint(c.c, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	readUntil(t, c, "HTTP/1.1 100 Continue\r\n\r\n")
	c.want("POST", "hello", 200, "hello")
	no := connect(t, port)
	no.want("POST", "POST /no HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", 417, "")
}

// Row 8: a truncated answer is never whole for the client.
func TestTruncationIsSignalled(t *testing.T) {
	for name, head := range map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			port := freePort(t)
			var n atomic.Int64
			b := script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
				n.Add(1)
				if _, err := readRequest(br); err == nil {
					fmt.Fprint(c, head)
				}
			})
			r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, b)))
			status, body, err := connect(t, port).roundTrip("GET", get("/"))
			if err == nil || status == 502 {
				t.Errorf("got a whole answer: %d %q", status, body)
			}
			if n.Load() != 1 {
				t.Errorf("sent %d times after the answer had begun", n.Load())
			}
		})
	}
}

// Row 10: back and forth within a drain; the counters belong to the releases.
func TestRollbackDuringDrain(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	quick := func(rl traffic.Release) traffic.Release {
		rl.DrainDeadline = 200 * time.Millisecond
		return rl
	}
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	slow := connect(t, port)
	fmt.Fprint(slow.c, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	<-a.began
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, b), quick(rel("v1", traffic.Draining, a))))
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a), rel("v2", traffic.Draining, b)))
	timer := time.NewTimer(400 * time.Millisecond) // the cancelled drain's deadline passes
	<-timer.C
	close(a.slow)
	if status, body, err := slow.response("POST"); status != 200 || body != "v1 slow" || err != nil {
		t.Fatalf("the rollback did not end the drain: %d %q %v", status, body, err)
	}
}

// Row 11: fail open.
func TestAllUnhealthyStillServes(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := startBackend(t, "v1")
	re := rel("v1", traffic.Active, b)
	re.Probes = []traffic.Probe{{Port: backendPort, HTTP: "/500", Interval: 20 * time.Millisecond, Timeout: time.Second, Rise: 2, Fall: 1}}
	r.put(table(port, traffic.Detect, "v1", re))
	rep := r.await("a failed check", func(rep traffic.Report) bool { return rep.Services[0].Releases[0].Endpoints[0].Failures > 2 })
	if e := rep.Services[0].Releases[0].Endpoints[0]; e.LastError != "GET /500: 500" || e.Warm || e.Good {
		t.Errorf("got %+v", e)
	}
	connect(t, port).want("GET", get("/"), 200, "v1")
}

// Row 13: a client that leaves takes its request along.
func TestClientAbort(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a := startBackend(t, "v1")
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	c := connect(t, port)
	fmt.Fprint(c.c, get("/slow"))
	<-a.began
	_ = c.c.Close()
	rep := r.await("nothing in flight", func(rep traffic.Report) bool { return rep.Services[0].Releases[0].Inflight == 0 })
	if rl := rep.Services[0].Releases[0]; rl.Errors5xx != 0 || rl.ConnectErrors != 0 {
		t.Errorf("the client's abort counts against the release: %+v", rl)
	}
}

// At the drain's deadline a GET is replayed on the active release, a POST gets
// 504, and tunnels stay until theirs.
func TestDrainDeadline(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	close(b.slow)
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	g, p, ws := connect(t, port), connect(t, port), connect(t, port)
	fmt.Fprint(g.c, get("/slow"))
	fmt.Fprint(p.c, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	fmt.Fprint(ws.c, "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	readUntil(t, ws, "v1\n")
	<-a.began
	<-a.began
	old := rel("v1", traffic.Draining, a)
	old.DrainDeadline, old.TunnelDeadline = 100*time.Millisecond, 600*time.Millisecond
	begun := time.Now()
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, b), old))
	if status, body, err := g.response("GET"); status != 200 || body != "v2 slow" || err != nil {
		t.Errorf("the GET: %d %q %v; want it replayed on v2", status, body, err)
	}
	if status, _, err := p.response("POST"); status != 504 || err != nil {
		t.Errorf("the POST: %d %v; want 504", status, err)
	}
	// Both client connections go on.
	g.want("GET", get("/"), 200, "v2")
	p.want("GET", get("/"), 200, "v2")
	r.await("requests drained", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].RequestsDrained })
	if _, err := ws.br.ReadByte(); err == nil {
		t.Error("the tunnel did not end")
	}
	if took := time.Since(begun); took < 500*time.Millisecond {
		t.Errorf("the tunnel ended after %s, before its deadline", took)
	}
	r.await("the drain", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
}

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

// A client that authenticates its connection gets one upstream connection that
// nobody else uses.
func TestNTLMPinsTheConnection(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	numbered := func(name string) *backend {
		return script(t, name, func(n int, c net.Conn, br *bufio.Reader) {
			for {
				if _, err := readRequest(br); err != nil {
					return
				}
				ok(c, fmt.Sprint(n))
			}
		})
	}
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, numbered("a"))))
	ntlm := "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: NTLM abc\r\n\r\n"
	other, c := connect(t, port), connect(t, port)
	other.want("GET", get("/"), 200, "0")
	c.want("GET", ntlm, 200, "1") // not the idle connection of the other client
	for range 3 {
		other.want("GET", get("/"), 200, "0")
		c.want("GET", get("/"), 200, "1")
		c.want("POST", post, 200, "1")
	}
	_ = c.c.Close()
	if _, body, err := connect(t, port).roundTrip("GET", get("/")); err != nil || body == "1" {
		t.Errorf("another client got %q, %v", body, err)
	}
}

// What the parser refuses gets its status and ends the connection; nothing of
// it reaches an instance.
func TestRefusedRequestsReachNobody(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a := startBackend(t, "v1")
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)))
	for raw, status := range map[string]int{
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n": 400,
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n":                 400,
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                             505,
		"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n": 501,
	} {
		c := connect(t, port)
		if got, _, err := c.roundTrip("GET", raw); got != status || err != nil {
			t.Errorf("%q: got %d, %v; want %d", raw, got, err, status)
		}
		if _, err := c.br.ReadByte(); err != io.EOF {
			t.Errorf("%q: the connection goes on: %v", raw, err)
		}
	}
	if n := a.conns.Load(); n != 0 {
		t.Errorf("the backend got %d connections", n)
	}
}

// A later bad chunk of an upload ends the exchange; the instance never sees a
// whole request.
func TestBadChunkIsNoWholeRequest(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	got := make(chan error, 1)
	b := script(t, "v1", func(_ int, _ net.Conn, br *bufio.Reader) {
		_, err := readRequest(br)
		got <- err
	})
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b)))
	c := connect(t, port)
	fmt.Fprint(c.c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
	if err := <-got; err == nil {
		t.Error("the instance saw a whole request")
	}
}

// A protocol that half-closes (send all, then read the answer) works through a
// detected port.
func TestHalfCloseThroughDetect(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
		all, _ := io.ReadAll(br)
		fmt.Fprintf(c, "%d bytes", len(all))
	})
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, b)))
	c := connect(t, port)
	fmt.Fprint(c.c, "\x00data")
	if err := c.c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c.br); string(got) != "5 bytes" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
