package ambassador

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

const headLimit = 10 * time.Second // the default of tables

// A head that comes slowly is answered 408 ten seconds after its first byte,
// also on a kept connection and on a port that detects: it is no other
// protocol, and no instance hears of it. A body that trickles ends, too.
func TestSlowClients(t *testing.T) {
	r := newRig(t)
	b := script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
		for {
			if _, err := readRequest(br); err != nil {
				return
			}
			ok(c, "v1")
		}
	})
	tb := table(freePort(t), traffic.HTTP, "v1", rel("v1", traffic.Active, b))
	other := tb.Listeners[0]
	other.Port, other.Protocol = freePort(t), traffic.Detect
	tb.Listeners = append(tb.Listeners, other)
	r.put(tb)
	kept := connect(t, tb.Listeners[0].Port)
	kept.want("GET", get("/"), 200, "v1")
	slow := []*client{connect(t, tb.Listeners[0].Port), connect(t, other.Port), kept}
	begun := time.Now()
	for _, c := range slow {
		fmt.Fprint(c.c, "GET / HTTP/1.1\r\nHost: x\r\n")
	}
	small, large := connect(t, other.Port), connect(t, other.Port)
	trickle(t, small, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
	trickle(t, large, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
	for i, c := range slow {
		_ = c.c.SetReadDeadline(begun.Add(headLimit + 3*time.Second))
		if status, _, err := c.response("GET"); status != 408 || time.Since(begun) < headLimit/2 {
			t.Errorf("connection %d: %d, %v after %s; want 408 after %s", i, status, err, time.Since(begun), headLimit)
		}
	}
	_ = small.c.SetReadDeadline(begun.Add(headLimit + 5*time.Second))
	if status, _, err := small.response("POST"); status != 408 {
		t.Errorf("a small body that trickles: %d, %v; want 408", status, err)
	}
	_ = large.c.SetReadDeadline(begun.Add(headLimit + 5*time.Second))
	if _, err := large.br.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a large body that trickles: %v; want the connection closed", err)
	}
	if n := b.conns.Load(); n > 2 {
		t.Errorf("the instance saw %d connections, want at most the kept one's and the upload's", n)
	}
}

// trickle sends a head and then a byte of the body each half second.
func trickle(t *testing.T, c *client, head string) {
	t.Helper()
	fmt.Fprint(c.c, head)
	done := make(chan struct{})
	tick := time.NewTicker(500 * time.Millisecond)
	t.Cleanup(func() { tick.Stop(); _ = c.c.Close(); close(done) })
	go func() {
		for {
			select {
			case <-tick.C:
			case <-done:
				return
			}
			if _, err := io.WriteString(c.c, "x"); err != nil {
				return
			}
		}
	}()
}

// A claim that backs off tells the watchers: they may have seen it counted.
func TestRefusedClaimIsToldToWatchers(t *testing.T) {
	r := newRig(t)
	rel := newRelease(newService("s"), "v1")
	changed := r.wk.Changed()
	if _, ok := r.wk.claim(decision{rv: &releaseView{rel: rel}}, 1, false); ok {
		t.Fatal("claimed a closed release")
	}
	select {
	case <-changed:
	default:
		t.Error("a watcher that saw the claim in flight is not woken")
	}
}

// A release that leaves the table while it drains leaves no timer behind.
func TestCloseDoesNotWaitForDrainOfRemovedRelease(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	active := rel("v2", traffic.Active, b)
	r.put(table(port, traffic.HTTP, "v2", active, rel("v1", traffic.Draining, a)))
	r.put(table(port, traffic.HTTP, "v2", active))
	closed := make(chan struct{})
	go func() { defer close(closed); r.wk.Close() }()
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		t.Fatal("the worker does not close")
	}
}

// The drain's deadline ends a download whose bytes never pause.
func TestDrainDeadlineEndsSteadyDownload(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
		if _, err := readRequest(br); err != nil {
			return
		}
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
		for buf := make([]byte, 64<<10); ; {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	})
	v2 := startBackend(t, "v2")
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b)))
	c := connect(t, port)
	fmt.Fprint(c.c, get("/"))
	readUntil(t, c, "\r\n\r\n")
	read := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, c.br); read <- err }()
	old := rel("v1", traffic.Draining, b)
	old.DrainDeadline = 100 * time.Millisecond
	r.put(table(port, traffic.HTTP, "v2", rel("v2", traffic.Active, v2), old))
	r.await("the drain", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
	if err := <-read; err == nil {
		t.Error("the download that was cut off looks whole")
	}
}

// What the server takes for an ordinary request is no tunnel: the client could
// speak to it past the ambassador.
func TestConnectNeedsATunnel(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
		req, err := http.ReadRequest(br)
		switch {
		case err != nil:
		case strings.HasPrefix(req.Host, "yes"):
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
			_, _ = io.Copy(c, br)
		default:
			ok(c, "hello")
		}
	})
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b)))
	no := connect(t, port)
	fmt.Fprint(no.c, "CONNECT no:80 HTTP/1.1\r\nHost: no:80\r\n\r\n")
	if status, _, err := no.response("CONNECT"); status != 502 {
		t.Errorf("got %d, %v; want 502", status, err)
	}
	yes := connect(t, port)
	fmt.Fprint(yes.c, "CONNECT yes:80 HTTP/1.1\r\nHost: yes:80\r\n\r\n")
	readUntil(t, yes, "\r\n\r\n")
	fmt.Fprint(yes.c, "echo")
	readUntil(t, yes, "echo")
}

// A server that switches protocols before the request's body has come would
// take the rest of it for the new protocol's bytes.
func TestUpgradeDuringUpload(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err == nil {
			fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			_, _ = io.Copy(io.Discard, br)
		}
	})
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b)))
	c := connect(t, port)
	fmt.Fprint(c.c, "POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\nContent-Length: 100000\r\n\r\nsome")
	if status, _, err := c.response("POST"); status != 502 {
		t.Errorf("got %d, %v; want 502", status, err)
	}
}

// A client that leaves after its whole upload takes the request along.
func TestClientAbortAfterUpload(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	began := make(chan struct{})
	b := script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
		if _, err := readRequest(br); err == nil {
			close(began)
			_, _ = io.Copy(io.Discard, br)
		}
	})
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b)))
	c := connect(t, port)
	fmt.Fprint(c.c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
	<-began
	_ = c.c.Close()
	r.await("nothing in flight", func(rep traffic.Report) bool { return rep.Services[0].Releases[0].Inflight == 0 })
}

// Connections that stay, idle or tunnelling, do not keep the table that was in
// force when they last asked for a release.
func TestConnectionsDoNotKeepTables(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a := startBackend(t, "v1")
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)))
	freed := make(chan struct{})
	runtime.AddCleanup(r.wk.view.Load(), func(ch chan struct{}) { close(ch) }, freed)
	idle, ws := connect(t, port), connect(t, port)
	idle.want("GET", get("/"), 200, "v1")
	fmt.Fprint(ws.c, "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	readUntil(t, ws, "v1\n")
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)))
	for range 50 {
		runtime.GC()
		select {
		case <-freed:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Error("a former table is still in memory")
}

// A second try to open listeners does not write into what was reported.
func TestFailuresAreNotShared(t *testing.T) {
	r := newRig(t)
	v := &view{table: &traffic.Table{}, failures: make([]traffic.ListenFailure, 1, 4), listeners: map[traffic.ListenerKey]*listenerView{
		{Namespace: "nowhere", Port: 1}: {spec: traffic.Listener{ListenerKey: traffic.ListenerKey{Namespace: "nowhere", Port: 1}}},
	}}
	r.wk.openListeners(t.Context(), v)
	first := *r.wk.failures.Load()
	r.wk.openListeners(t.Context(), v)
	if second := *r.wk.failures.Load(); len(first) != 2 || &first[1] == &second[1] {
		t.Errorf("%d failures, written twice to the same place", len(first))
	}
	v.listeners = nil
	r.wk.openListeners(t.Context(), v)
}
