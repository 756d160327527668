package ambassador

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
)

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
