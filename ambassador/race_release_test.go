package ambassador

import (
	"fmt"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// Row 10: back and forth within a drain; the counters belong to the releases.
func TestRace10RollbackDuringDrain(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	quick := func(rl traffic.Release) traffic.Release {
		rl.DrainDeadline = 200 * time.Millisecond
		return rl
	}
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	slow := connect(t, port)
	fmt.Fprint(slow.c, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	<-a.began
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, b), quick(rel("v1", traffic.Draining, a))))
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a), rel("v2", traffic.Draining, b)))
	timer := time.NewTimer(400 * time.Millisecond) // the cancelled drain's deadline passes
	<-timer.C
	close(a.slow)
	if status, body, err := slow.response("POST"); status != 200 || body != "v1 slow" || err != nil {
		t.Fatalf("the rollback did not end the drain: %d %q %v", status, body, err)
	}
}

// Row 11: fail open.
func TestRace11AllUnhealthyStillServes(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := startBackend(t, "v1")
	re := rel("v1", traffic.Active, b)
	re.Probes = []traffic.Probe{{Port: backendPort, HTTP: "/500", Interval: 20 * time.Millisecond, Timeout: time.Second, Rise: 2, Fall: 1}}
	r.put(table(port, traffic.Detect, "v1", re))
	rep := r.await("a failed check", func(rep traffic.Report) bool { return rep.Services[0].Releases[0].Endpoints[0].Failures > 2 })
	if e := rep.Services[0].Releases[0].Endpoints[0]; e.LastError != "GET /500: 500" || e.Warm || e.Good {
		t.Errorf("got %+v", e)
	}
	connect(t, port).want("GET", get("/"), 200, "v1")
}
