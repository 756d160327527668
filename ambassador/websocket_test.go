package ambassador

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

const (
	firstHalf, otherHalf = "\x82\x06abc", "def" // one frame of six bytes
	closedByClient       = "\x88\x82\x00\x00\x00\x00\x03\xf4"
	closedByServer       = "\x88\x02\x03\xf4"
)

// chatty accepts a WebSocket, echoes a first frame, and then stands within one
// until it is told that the client goes.
func chatty(t *testing.T, name string) *backend {
	return script(t, name, func(_ int, c net.Conn, br *bufio.Reader) {
		if _, err := readRequest(br); err != nil {
			return
		}
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		frame := make([]byte, len("\x82\x81MASKx"))
		if _, err := io.ReadFull(br, frame); err != nil {
			return
		}
		fmt.Fprint(c, "\x82\x01x"+firstHalf)
		end := make([]byte, len(closedByClient))
		if _, err := io.ReadFull(br, end); err != nil || string(end) != closedByClient {
			fmt.Fprintf(c, "ended by %q, %v", end, err)
			return
		}
		fmt.Fprint(c, otherHalf)
		_, _ = io.Copy(io.Discard, br)
	})
}

// TestWebSocketsEndSpread: WebSockets stay with their release while it drains;
// at its deadline each gets a Close frame of status 1012 where a frame ends, in
// both directions, and not all at once.
func TestWebSocketsEndSpread(t *testing.T) {
	// They are ended over as long again as the deadline; half of that is for what a
	// busy machine sees late.
	const sockets, deadline = 40, 2 * time.Second
	r := newRig(t)
	port := freePort(t)
	old := rel("v1", traffic.Active, chatty(t, "v1"))
	r.put(table(port, traffic.HTTP, "v1", old))
	clients := make([]*client, sockets)
	for i := range clients {
		c := connect(t, port)
		fmt.Fprint(c.c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		readUntil(t, c, "\r\n\r\n")
		clients[i] = c
	}
	old.State, old.TunnelDeadline = traffic.Draining, deadline
	v2 := rel("v2", traffic.Active, startBackend(t, "v2"))
	begun := time.Now()
	r.put(table(port, traffic.HTTP, "v2", v2, old))
	ended := make([]time.Duration, sockets)
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() {
			_ = c.c.SetReadDeadline(begun.Add(15 * time.Second))
			fmt.Fprint(c.c, "\x82\x81MASKx") // still served by the old release
			got, err := io.ReadAll(c.br)
			ended[i] = time.Since(begun)
			if want := "\x82\x01x" + firstHalf + otherHalf + closedByServer; err != nil || string(got) != want {
				t.Errorf("socket %d: got %q, %v; want %q", i, got, err, want)
			}
			_ = c.c.Close()
		})
	}
	all.Wait()
	slices.Sort(ended)
	if first, last := ended[0], ended[sockets-1]; first < deadline || last-first < deadline/2 {
		t.Errorf("the first ended after %s, the last after %s: not after the deadline, or all at once", first, last)
	}
	r.await("the drain", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
}
