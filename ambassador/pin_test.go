package ambassador

import (
	"bufio"
	"fmt"
	"net"
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
