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

// Row 4, when all instances of a release die at once: the kept connection is
// closed, then each of them takes the request and ends without an answer. What
// can be replayed is, on the standby.
func TestRace04DyingRelease(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	var died atomic.Int64
	dying := func(name string) *backend {
		return script(t, name, func(n int, c net.Conn, br *bufio.Reader) {
			for {
				req, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				if n > 0 || req.URL.Path != "/warm" {
					died.Add(1)
					return
				}
				fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		})
	}
	r.put(table(port, traffic.HTTP, "v2", rel("v2", traffic.Active, dying("a"), dying("b")), rel("v1", traffic.Standby, startBackend(t, "former"))))
	c := connect(t, port)
	c.want("GET", get("/warm"), 200, "ok")
	c.want("GET", get("/"), 200, "former")
	if got := died.Load(); got != 3 {
		t.Errorf("the active release had the request %d times, want 3", got)
	}
	c.want("POST", post, 502, "502 No answer")
}
