package reconciler

import (
	"slices"

	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/rollout"
)

// hooked notes that post_start ran in a container of this start.
func (w *worker) hooked(a rollout.Action) {
	app := w.app.Clone()
	for _, d := range deployments(&app) {
		for i := range d.Instances {
			if d.Instances[i].Key == a.Instance.Key {
				d.Instances[i].Hooked = a.Instance.Hooked
			}
		}
	}
	w.app, w.saved = app, false
}

// deployments are all sets of containers that the ledger knows of an app.
func deployments(app *ledger.App) []*ledger.Deployed {
	var all []*ledger.Deployed
	for _, s := range app.Services {
		all = append(all, s.Active, s.Standby)
		all = append(all, s.Leaving...)
	}
	if app.Rollout != nil {
		for _, c := range app.Rollout.Changes {
			all = append(all, c.To, c.From)
		}
	}
	return slices.DeleteFunc(all, func(d *ledger.Deployed) bool { return d == nil })
}
