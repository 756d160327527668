package ambassador

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// A tunnel whose 101 came late, so that its exchange was known to the drain as a
// request, outlives the drain's deadline for requests.
func TestLateTunnelOutlivesRequests(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		late := time.NewTimer(10 * firstLook)
		defer late.Stop()
		<-late.C
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(c, br)
	})
	old := rel("v1", traffic.Active, b)
	r.put(table(port, traffic.HTTP, "v1", old))
	c := connect(t, port)
	fmt.Fprint(c.c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	readUntil(t, c, "\r\n\r\n")
	old.State, old.DrainDeadline = traffic.Draining, time.Millisecond
	r.put(table(port, traffic.HTTP, "v2", rel("v2", traffic.Active, startBackend(t, "v2")), old))
	tick := time.NewTicker(kickEvery)
	defer tick.Stop()
	for range 6 {
		<-tick.C
		fmt.Fprint(c.c, "ping\n")
		_ = c.c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if line, err := c.br.ReadString('\n'); err != nil || line != "ping\n" {
			t.Fatalf("got %q, %v", line, err)
		}
	}
}
