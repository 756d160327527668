package rollout

import (
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/reconciler/ledger"
)

// TestRebuiltLedgerGivesTheNameAway: a ledger that was made anew knows the
// active container by no name but the one that people know. At the next switch
// it gets one of its own, once.
func TestRebuiltLedgerGivesTheNameAway(t *testing.T) {
	s := newSim()
	deploy := func(id, service string) {
		t.Helper()
		w, err := wantService(service)
		if err != nil {
			t.Fatal(err)
		}
		s.deploy(id, ledger.Apply, []wanted{w}, false)
		s.run(time.Minute)
	}
	deploy("r1", "web v1")
	active := &s.app.Services["web"].Active.Instances[0]
	if got := s.cs[active.Container].Name; got != "shop-web-1" {
		t.Fatalf("the active container is called %s", got)
	}
	active.Name = "shop-web-1" // what Rebuild finds
	former := active.Container
	s.trace = nil
	deploy("r2", "web v2")
	renames := 0
	for _, line := range s.trace {
		if strings.Contains(line, "  rename ") {
			renames++
		}
	}
	if renames != 2 {
		t.Errorf("%d containers were renamed, want the former and the new one:\n%s", renames, strings.Join(s.trace, "\n"))
	}
	now := s.app.Services["web"].Active.Instances[0].Container
	if got := s.cs[now].Name; got != "shop-web-1" || now == former {
		t.Errorf("the new container is called %s", got)
	}
	if c, ok := s.cs[former]; ok && c.Name == "shop-web-1" {
		t.Error("the former container kept the name")
	}
	if len(s.bad) > 0 {
		t.Errorf("broken rules: %v", s.bad)
	}
}
