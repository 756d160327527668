package ambassador

import (
	"fmt"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// At the drain's deadline a GET is replayed on the active release, a POST gets
// 504, and tunnels stay until theirs.
func TestDrainDeadline(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	close(b.slow)
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	g, p, ws := connect(t, port), connect(t, port), connect(t, port)
	fmt.Fprint(g.c, get("/slow"))
	fmt.Fprint(p.c, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	fmt.Fprint(ws.c, "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	readUntil(t, ws, "v1\n")
	<-a.began
	<-a.began
	old := rel("v1", traffic.Draining, a)
	old.DrainDeadline, old.TunnelDeadline = 100*time.Millisecond, 600*time.Millisecond
	begun := time.Now()
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, b), old))
	if status, body, err := g.response("GET"); status != 200 || body != "v2 slow" || err != nil {
		t.Errorf("the GET: %d %q %v; want it replayed on v2", status, body, err)
	}
	if status, _, err := p.response("POST"); status != 504 || err != nil {
		t.Errorf("the POST: %d %v; want 504", status, err)
	}
	// Both client connections go on.
	g.want("GET", get("/"), 200, "v2")
	p.want("GET", get("/"), 200, "v2")
	r.await("requests drained", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].RequestsDrained })
	if _, err := ws.br.ReadByte(); err == nil {
		t.Error("the tunnel did not end")
	}
	if took := time.Since(begun); took < 500*time.Millisecond {
		t.Errorf("the tunnel ended after %s, before its deadline", took)
	}
	r.await("the drain", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
}
