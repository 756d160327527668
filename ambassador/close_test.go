package ambassador

import (
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// A table that comes while the worker closes begins nothing: the worker would
// wait for it without end, and its successor for the worker.
func TestNoTableWhileTheWorkerCloses(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	first := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a))
	r.put(first)
	r.wk.Close()
	next := table(port, traffic.HTTP, "v2", rel("v2", traffic.Active, b))
	next.Services[0].Releases[0].Probes = []traffic.Probe{probe(traffic.Probe{})}
	next.Version, next.Generation, next.BootID = traffic.FormatVersion, r.gen+1, r.wk.opt.BootID
	r.wk.obey(next)
	done := make(chan struct{})
	go func() { defer close(done); r.wk.background.Wait() }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		r.wk.retireAll() // so that it ends
		<-done
		t.Error("what the table began goes on")
	}
}
