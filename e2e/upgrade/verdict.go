package main

import (
	"fmt"
	"time"

	"github.com/remorahq/remora/e2e/load"
	"github.com/remorahq/remora/e2e/rig"
)

// verdict is what the clients met.
type verdict struct {
	sent, answered, refused, reset, other int
	sessions, alive                       int // WebSockets that there were at all, and that answered after the last upgrade
	slowest                               time.Duration
}

func (v verdict) String() string {
	return fmt.Sprintf("sent=%d answered=%d refused=%d reset=%d lost=%d websockets_alive=%d/%d max_ms=%d",
		v.sent, v.answered, v.refused, v.reset, v.other, v.alive, v.sessions, v.slowest.Milliseconds())
}

func (v verdict) ok(webSockets int) bool {
	return v.sent == v.answered && v.refused+v.reset+v.other == 0 && v.sessions == webSockets && v.alive == webSockets
}

// judge ends the load and reads its log.
func (f *field) judge(t rig.TB, last time.Time) verdict {
	if err := f.load.Stop(); err != nil {
		t.Fatalf("load: %v", err)
	}
	records, err := load.Read(f.load.Log)
	if err != nil {
		t.Fatalf("%v", err)
	}
	var v verdict
	sessions, alive := map[string]bool{}, map[string]bool{}
	for _, r := range records {
		if r.Kind == load.WebSocket {
			sessions[r.Session] = true
			if r.Outcome == load.Answered && r.At.After(last) {
				alive[r.Session] = true
			}
		}
		v.count(r)
	}
	v.sessions, v.alive = len(sessions), len(alive)
	return v
}

func (v *verdict) count(r load.Record) {
	switch {
	case r.Outcome == load.Sent:
		v.sent++
	case r.Outcome == load.Answered:
		v.answered++
		v.slowest = max(v.slowest, r.Took)
	case r.Cause == load.Refused:
		v.refused++
	case r.Cause == load.Reset:
		v.reset++
	default:
		v.other++
	}
}
