package ambassador

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
)

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

// A switch moves a client that authenticated its connection like every other:
// to a connection of its own to the new release, which asks again.
func TestSwitchWhilePinned(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	// challenging knows a connection after its request with credentials.
	challenging := func(name string) *backend {
		return script(t, name, func(_ int, c net.Conn, br *bufio.Reader) {
			for known := false; ; {
				req, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				known = known || req.Header.Get("Authorization") != ""
				if !known {
					fmt.Fprint(c, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n")
					continue
				}
				ok(c, name)
			}
		})
	}
	a, b := challenging("v1"), challenging("v2")
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)))
	negotiate := "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Negotiate abc\r\n\r\n"
	c, stranger := connect(t, port), connect(t, port)
	c.want("GET", negotiate, 200, "v1")
	c.want("GET", get("/"), 200, "v1")
	r.put(table(port, traffic.HTTP, "v2", rel("v2", traffic.Active, b), rel("v1", traffic.Draining, a)))
	c.want("GET", get("/"), 401, "")
	c.want("GET", negotiate, 200, "v2")
	c.want("GET", get("/"), 200, "v2")
	stranger.want("GET", get("/"), 401, "")
	r.await("the drain", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
}
