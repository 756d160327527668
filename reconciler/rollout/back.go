package rollout

import (
	"fmt"
	"time"

	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// Back says what going back to the former release of a service costs: instant
// (it stands by), a duration such as 3s (its containers start), pull (its
// image is gone from the engine), or never (there is none). images says which
// references are on the engine; without it those of the last promotions count
// as kept.
func Back(app ledger.App, service string, images ...map[string]bool) string {
	s := app.Services[service]
	if s == nil {
		return "never"
	}
	now := Serving(&app, service)
	if d := standing(s, now); d != nil {
		// What still drains runs.
		if d.Frozen || !d.Drained || d.Service.Standby.State == manifests.StandbyRunning {
			return "instant"
		}
		return seconds(&d.Release)
	}
	for k := range s.Promoted {
		r := &s.Promoted[k]
		if now != nil && r.ID == now.ID {
			continue
		}
		for _, have := range images {
			if !have[r.Reference()] {
				return "pull"
			}
		}
		return seconds(r)
	}
	return "never"
}

// standing is the set that a return would use: the standby, or what a rollout
// has just replaced.
func standing(s *ledger.Service, now *ledger.Deployed) *ledger.Deployed {
	if s.Active != nil && now != nil && s.Active != now {
		return s.Active
	}
	return s.Standby
}

// seconds is what a start costs: about as long as readiness took to be seen.
func seconds(r *ledger.Release) string {
	d := 3 * time.Second
	if len(probes(r)) == 0 && r.Healthcheck == nil {
		d = max(d, r.Service.Update.MinHealthy)
	}
	return fmt.Sprintf("%ds", int(d.Round(time.Second)/time.Second))
}
