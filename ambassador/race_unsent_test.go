package ambassador

import (
	"bufio"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// Row 1: nothing sent, so any method goes to another instance.
func TestRace01DialFailureGoesElsewhere(t *testing.T) {
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
func TestRace01DeadAddressIsNotWaitedFor(t *testing.T) {
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
func TestRace03StaleConnectionsLoseNothing(t *testing.T) {
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
