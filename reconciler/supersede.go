package reconciler

import (
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/plan"
	"github.com/remorahq/remora/reconciler/rollout"
)

// newer completes an observation with what a newer revision means for the
// rollout under way.
func (w *worker) newer(o *rollout.Observation) {
	if o.Superseded = w.superseded(); o.Superseded == "" {
		return
	}
	o.Hurry = w.desired.app.Live
	o.GoBack = wantsBack(w.app.Rollout, plan.Wanted(*w.desired.app, w.prepared.images))
}

// wantsBack says that the desired releases of all services that a rollout
// replaces are those that it replaced.
func wantsBack(ro *ledger.Rollout, wanted map[string]string) bool {
	replaced := false
	for name, c := range ro.Changes {
		if c.Action != ledger.Replace {
			continue
		}
		if c.From == nil || wanted[name] != c.From.ID {
			return false
		}
		replaced = true
	}
	return replaced
}
