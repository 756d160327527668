package cli

import (
	"testing"
	"time"

	"github.com/remorahq/remora/internal/status"
)

// still marks that there is no verdict yet.
const still = -1

func TestWaiterJudges(t *testing.T) {
	now := time.Now()
	live := func(h *status.Host) {
		a := &h.Apps[1]
		a.Reason, a.Sync, a.Message = status.Succeeded, status.Synced, ""
		for i := range a.Services {
			s := &a.Services[i]
			s.Reason, s.Sync, s.Message = status.Succeeded, status.Synced, ""
			if s.Wanted == "v44" && s.Kind == "endpoint" {
				s.Running = "v44"
			}
		}
	}
	reason := func(r status.Reason) func(*status.Host) {
		return func(h *status.Host) {
			h.Apps[1].Reason = r
			for i := range h.Apps[1].Services {
				h.Apps[1].Services[i].Reason = r
			}
		}
	}
	rolling := func(h *status.Host) { h.Apps[1].Rollout = &status.Rollout{Phase: "warming"} }
	for name, tc := range map[string]struct {
		w      waiter
		change func(*status.Host)
		want   int
	}{
		"rolled_back":       {waiter{arg: "shop", rev: "67e2c98a"}, nil, waitRolledBack},
		"rev_of_seven":      {waiter{arg: "shop", rev: "67e2c98"}, nil, waitRolledBack},
		"other_rev":         {waiter{arg: "shop", rev: "deadbeef"}, nil, still},
		"descendant":        {waiter{arg: "shop", rev: "deadbeef"}, func(h *status.Host) { h.Sources[0].History = []string{"deadbeef00"}; live(h) }, exitOK},
		"live":              {waiter{arg: "shop", rev: "67e2c98a"}, live, exitOK},
		"not_judged_yet":    {waiter{arg: "shop", rev: "67e2c98a"}, func(h *status.Host) { h.Apps[1].Judged = "main@sha1:1c0ffee1" }, still},
		"live_not_judged":   {waiter{arg: "shop", rev: "67e2c98a"}, func(h *status.Host) { live(h); h.Apps[1].Judged = "main@sha1:1c0ffee1" }, still},
		"rolling":           {waiter{arg: "shop", rev: "67e2c98a"}, rolling, still},
		"quarantined":       {waiter{arg: "shop", rev: "67e2c98a"}, reason(status.Quarantined), waitRolledBack},
		"suspended":         {waiter{arg: "shop", rev: "67e2c98a"}, reason(status.Suspended), waitHeld},
		"pinned":            {waiter{arg: "shop", rev: "67e2c98a"}, reason(status.Pinned), waitHeld},
		"frozen":            {waiter{arg: "shop", rev: "67e2c98a"}, reason(status.Frozen), waitHeld},
		"load_failed":       {waiter{arg: "shop", rev: "67e2c98a"}, reason(status.LoadFailed), waitHeld},
		"registry_away":     {waiter{arg: "shop", rev: "67e2c98a"}, reason(status.RegistryUnavailable), still},
		"no_app_yet":        {waiter{arg: "store", rev: "67e2c98a"}, nil, still},
		"value_rolled_back": {waiter{arg: "shop", variable: "WEB_TAG", value: "v44"}, nil, waitRolledBack},
		"value_live":        {waiter{arg: "shop", variable: "WEB_TAG", value: "v44"}, live, exitOK},
		"value_rolling":     {waiter{arg: "shop", variable: "WEB_TAG", value: "v44"}, rolling, still},
		"value_not_yet":     {waiter{arg: "shop", variable: "WEB_TAG", value: "v45"}, nil, still},
		"value_superseded":  {waiter{arg: "shop", variable: "WEB_TAG", value: "v43", wanted: true}, nil, waitSuperseded},
		"value_of_another":  {waiter{arg: "shop", variable: "DB_TAG", value: "v44"}, live, still},
	} {
		t.Run(name, func(t *testing.T) {
			h := rolledBack(now)
			if tc.change != nil {
				tc.change(&h)
			}
			got := still
			v := tc.w.judge(h)
			if v != nil {
				got = v.code
			}
			if got != tc.want {
				t.Errorf("verdict %d (%+v), want %d; waits for %q", got, v, tc.want, tc.w.now)
			}
			if v == nil && tc.w.now == "" {
				t.Error("no word on what is waited for")
			}
		})
	}
}

func TestFailureMustStandAWhile(t *testing.T) {
	w := waiter{}
	at := time.Now()
	bad := &verdict{code: waitRolledBack}
	if w.settled(bad, at) != nil || w.settled(bad, at.Add(time.Second)) != nil {
		t.Error("a failure counts at once")
	}
	if w.settled(nil, at.Add(1500*time.Millisecond)) != nil || w.settled(bad, at.Add(3*time.Second)) != nil {
		t.Error("a failure that passed counts")
	}
	if w.settled(bad, at.Add(6*time.Second)) == nil {
		t.Error("a failure that stands does not count")
	}
	if w.settled(&verdict{code: exitOK}, at) == nil {
		t.Error("success must stand a while")
	}
}
