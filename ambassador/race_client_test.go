package ambassador

import (
	"fmt"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
)

// Row 13: a client that leaves takes its request along.
func TestRace13ClientAbort(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a := startBackend(t, "v1")
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	c := connect(t, port)
	fmt.Fprint(c.c, get("/slow"))
	<-a.began
	_ = c.c.Close()
	rep := r.await("nothing in flight", func(rep traffic.Report) bool { return rep.Services[0].Releases[0].Inflight == 0 })
	if rl := rep.Services[0].Releases[0]; rl.Errors5xx != 0 || rl.ConnectErrors != 0 {
		t.Errorf("the client's abort counts against the release: %+v", rl)
	}
}
