package ambassador

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// speaker is a backend that says something first, then echoes.
func speaker(t *testing.T, name string) *backend {
	return script(t, name, func(_ int, c net.Conn, br *bufio.Reader) {
		fmt.Fprintf(c, "220 %s ready\n", name)
		_, _ = io.Copy(c, br)
	})
}

func echo(t *testing.T, name string) *backend {
	return script(t, name, func(_ int, c net.Conn, br *bufio.Reader) {
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s: %s", name, line)
		}
	})
}

func TestDetectServerFirst(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := speaker(t, "v1"), speaker(t, "v2")
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	c := connect(t, port)
	readUntil(t, c, "220 v1 ready\n")
	rep := r.await("what was learnt", func(rep traffic.Report) bool { return len(rep.Services[0].ServerFirst) == 1 })
	if rep.Services[0].ServerFirst[0] != backendPort || rep.Services[0].Releases[0].Tunnels != 1 {
		t.Errorf("got %+v", rep.Services[0])
	}
	fmt.Fprint(c.c, "hello\n")
	readUntil(t, c, "hello\n")
	// Known now: no silence is waited for.
	begun := time.Now()
	readUntil(t, connect(t, port), "220 v1 ready\n")
	if took := time.Since(begun); took > silence {
		t.Errorf("a port known as server-first took %s", took)
	}
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, b), rel("v1", traffic.Draining, a)))
	readUntil(t, connect(t, port), "220 v2 ready\n")
}

func TestDetectByFirstBytes(t *testing.T) {
	for name, c := range map[string]struct{ send, want string }{
		"binary":          {"\x00\x01\n", "v1: \x00\x01\n"},
		"redis_inline":    {"GET x\r\n", "v1: GET x\r\n"},
		"resp":            {"*1\r\n$4\r\n", "v1: *1\r\nv1: $4\r\n"},
		"rtsp":            {"OPTIONS rtsp://x RTSP/1.0\r\n", "v1: OPTIONS rtsp://x RTSP/1.0\r\n"},
		"preface":         {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "v1: PRI * HTTP/2.0\r\nv1: \r\nv1: SM\r\n"},
		"bare_lf":         {"GET / HTTP/1.1\n", "v1: GET / HTTP/1.1\n"},
		"refused_by_http": {"GET / HTTP/1.1\r\nbad header\r\n\r\n", "v1: GET / HTTP/1.1\r\nv1: bad header\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			port := freePort(t)
			r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, echo(t, "v1"))))
			cl := connect(t, port)
			fmt.Fprint(cl.c, c.send)
			readUntil(t, cl, c.want)
		})
	}
}

// An HTTP request in pieces is still served request by request.
func TestDetectSlowRequestLine(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	c := connect(t, port)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, piece := range []string{"G", "ET / HT", "TP/1.1\r", "\nHost", ": x\r\n\r\n"} {
		<-tick.C
		fmt.Fprint(c.c, piece)
	}
	if status, body, err := c.response("GET"); status != 200 || body[:2] != "v1" {
		t.Fatalf("got %d %q %v", status, body, err)
	}
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, b), rel("v1", traffic.Draining, a)))
	c.want("GET", get("/"), 200, "v2")
}

// A silent client costs a release nothing: no claim, and at a switch its
// unused upstream is closed and dialled again.
func TestUndecidedConnectionClaimsNothing(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	ends := make(chan string, 10)
	quiet := func(name string) *backend {
		return script(t, name, func(_ int, c net.Conn, br *bufio.Reader) {
			defer func() { ends <- name }()
			for {
				line, err := br.ReadString('\n')
				if err != nil {
					return
				}
				fmt.Fprintf(c, "%s: %s", name, line)
			}
		})
	}
	a, b := quiet("v1"), quiet("v2")
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	c := connect(t, port)
	poll(t, "the silent client's upstream", func() bool { return a.conns.Load() == 1 })
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, b), rel("v1", traffic.Draining, a)))
	if rl := r.wk.Report().Services[0].Releases[1]; !rl.Drained {
		t.Errorf("the undecided connection holds up the drain: %+v", rl)
	}
	if who := <-ends; who != "v1" {
		t.Errorf("the connection to %s ended", who)
	}
	poll(t, "the upstream dialled again", func() bool { return b.conns.Load() == 1 })
	fmt.Fprint(c.c, "\x01hi\n")
	readUntil(t, c, "v2: \x01hi\n")
}

// Once a port was seen to speak HTTP, an idle client (a preconnect, a scanner)
// does not reach its server.
func TestIdleClientOfHTTPPortIsNotPassedOn(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a := startBackend(t, "v1")
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	connect(t, port).want("GET", get("/"), 200, "v1")
	before := a.conns.Load()
	idle := connect(t, port)
	timer := time.NewTimer(3 * silence)
	<-timer.C
	if n := a.conns.Load(); n != before {
		t.Errorf("the idle client opened %d upstream connections", n-before)
	}
	idle.want("GET", get("/"), 200, "v1")
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}
