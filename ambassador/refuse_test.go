package ambassador

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
)

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
