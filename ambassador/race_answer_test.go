package ambassador

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
)

// Row 4: sent and no answer: an idempotent request is replayed, a POST is not.
func TestRace04LostAnswer(t *testing.T) {
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
	for range 60 { // each by chance to the one or the other
		c.want("GET", get("/"), 200, "good")
	}
	if gets.Load() == 0 {
		t.Error("no GET was lost by the backend: the test shows nothing")
	}
}

// Row 8: a truncated answer is never whole for the client.
func TestRace08TruncationIsSignalled(t *testing.T) {
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
