package reconciler

import (
	"reflect"

	"github.com/remorahq/remora/reconciler/plan"
	"github.com/remorahq/remora/reconciler/rollout"
)

// traffic is what the ambassador should carry for the app by now; nil for
// nothing. same says that it is what the table keeper was handed last.
func (w *worker) traffic(containers containerSet) (part *plan.AppTraffic, same bool) {
	backends := rollout.Traffic(w.app, containers)
	if len(backends) == 0 && w.offered == nil {
		return nil, true
	}
	p := plan.TrafficOf(w.app, backends, nil)
	p.Namespaces = w.r.nets.namespacesOf(p.Networks)
	return &p, w.offered != nil && reflect.DeepEqual(p, *w.offered)
}

// offerTraffic hands the table keeper what the ambassador should carry for the
// app by now, and says whether it already does.
func (w *worker) offerTraffic(containers containerSet) (applied bool) {
	part, same := w.traffic(containers)
	if part == nil {
		return true
	}
	if !same {
		w.offered = part
		w.r.table.set(w.id, *part)
	}
	return w.r.table.applied(w.id)
}

// carried says whether the ambassador carries what it should, without handing
// anything over: the ledger is not on disk yet.
func (w *worker) carried(containers containerSet) bool {
	part, same := w.traffic(containers)
	return part == nil || same && w.r.table.applied(w.id)
}
