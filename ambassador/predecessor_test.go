package ambassador

import (
	"bufio"
	"context"
	"net"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
)

// End ends tunnels, then requests that nobody answers.
func TestEndOfPredecessor(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
		if _, err := readRequest(br); err == nil {
			_, _ = br.ReadByte() // no answer
		}
	})
	up := startBackend(t, "v2")
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b))
	tb.Services = append(tb.Services, traffic.Service{Name: "env/app/ws", App: "env/app", Active: "v2", Releases: []traffic.Release{rel("v2", traffic.Active, up)}})
	tb.Listeners[0].Routes = append(tb.Listeners[0].Routes, traffic.Route{Path: "/upgrade", Service: "env/app/ws", Port: backendPort})
	r.put(tb)
	ws, slow := connect(t, port), connect(t, port)
	if status, _, err := ws.roundTrip("GET", "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"); status != 101 {
		t.Fatalf("got %d %v", status, err)
	}
	_, _ = slow.c.Write([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"))
	r.await("both", func(rep traffic.Report) bool {
		return rep.Services[0].Releases[0].Inflight == 1 && rep.Services[1].Releases[0].Tunnels == 1
	})
	r.wk.Drain()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.wk.End(ctx) }()
	r.await("the tunnel's end", func(rep traffic.Report) bool { return rep.Services[1].Releases[0].Tunnels == 0 })
	cancel()
	<-done
	r.wk.kickRequests() // what follows after half a minute
	if status, body, err := slow.response("POST"); status != 504 {
		t.Errorf("got %d %q %v", status, body, err)
	}
}
