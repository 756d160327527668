package rollout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/reconciler/ledger"
)

// upgrades are the rollouts that are cut after each of their actions.
func upgrades() map[string]struct {
	from, to string
	behave   map[string]behaviour
	ends     status.Reason
} {
	type upgrade = struct {
		from, to string
		behave   map[string]behaviour
		ends     status.Reason
	}
	return map[string]upgrade{
		"start_first": {from: "web v1 replicas=2", to: "web v2 replicas=2", ends: status.Succeeded},
		"stop_first":  {from: "db v1 stop-first", to: "db v2 stop-first", ends: status.Succeeded},
		"data":        {from: "db v1 data", to: "db v2 data", ends: status.Succeeded},
		"worker":      {from: "w v1 worker\nweb v1", to: "w v2 worker\nweb v2", ends: status.Succeeded},
		"unit":        {from: "a v1\nu v1 worker unit=a", to: "a v2\nu v2 worker unit=a", ends: status.Succeeded},
		"waves": {
			from: "db v1 data\nweb v1 wave=1\nw v1 worker wave=1", to: "db v2 data\nweb v2 wave=1\nw v2 worker wave=1\nj v2 one-shot=before idempotent",
			behave: map[string]behaviour{"j v2": {exitAfter: time.Second}}, ends: status.Succeeded,
		},
		"never_ready": {from: "db v1 stop-first", to: "db v2 stop-first", behave: map[string]behaviour{"db v2": {neverWarm: true}}, ends: status.RolledBack},
		"fails_later": {
			from: "db v1 stop-first\nweb v1 wave=1", to: "db v2 stop-first\nweb v2 wave=1",
			behave: map[string]behaviour{"web v2": {sickAt: 2 * time.Second}}, ends: status.RolledBack,
		},
	}
}

// TestCutAfterEveryAction kills the agent, or restarts the engine, after every
// single action of a rollout, and checks that it ends as it would have, that
// the invariants of the simulator held throughout, and that nothing is left
// over.
func TestCutAfterEveryAction(t *testing.T) {
	for name, up := range upgrades() {
		for _, how := range []string{"agent", "engine"} {
			t.Run(name+"_"+how, func(t *testing.T) {
				actions := 0
				for cut := 1; cut <= 80; cut++ {
					s := newSim()
					lines := strings.Split(up.to, "\n")
					s.behave = up.behave
					s.deploy("r1", ledger.Apply, plainWants(t, strings.Split(up.from, "\n")), true)
					s.run(10 * time.Minute)
					s.deploy("r2", ledger.Apply, plainWants(t, lines), true)
					if how == "agent" {
						s.cut = cut
					} else {
						s.restart = cut
					}
					s.run(10 * time.Minute)
					for k := 0; s.app.Rollout == nil && !s.app.Last.Retry.IsZero() && k < 3; k++ {
						s.deploy(fmt.Sprint("again", k), ledger.Apply, plainWants(t, lines), true)
						s.run(10 * time.Minute)
					}
					checkCut(t, s, cut, up.ends)
					if how == "agent" && s.cut > 0 || how == "engine" && s.restart > 0 {
						actions = cut
						break // the rollout has no more actions than that
					}
				}
				if actions < 8 {
					t.Errorf("only %d actions were cut", actions)
				}
			})
		}
	}
}

func plainWants(t *testing.T, lines []string) []wanted {
	t.Helper()
	var out []wanted
	for _, l := range lines {
		w, err := wantService(l)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, w)
	}
	return out
}

func checkCut(t *testing.T, s *sim, cut int, ends status.Reason) {
	t.Helper()
	trace := func() string { return s.state() + strings.Join(s.trace, "\n") }
	switch {
	case s.app.Rollout != nil:
		t.Fatalf("cut %d: the rollout does not end: %s\n%s", cut, s.position(), trace())
	case s.app.Last.Reason != ends:
		t.Fatalf("cut %d: ended %s, want %s\n%s", cut, s.app.Last.Reason, ends, trace())
	case len(s.bad) > 0:
		t.Fatalf("cut %d: %s\n%s", cut, strings.Join(s.bad, "\n"), trace())
	}
	s.round()
	if s.round() {
		t.Fatalf("cut %d: a second step still wants %+v\n%s", cut, s.last.Actions, trace())
	}
	for _, c := range s.cs {
		if !s.known(c) {
			t.Fatalf("cut %d: %s is left over\n%s", cut, c.Name, trace())
		}
	}
}
