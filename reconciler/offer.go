package reconciler

import (
	"reflect"

	"github.com/remorahq/remora/reconciler/plan"
	"github.com/remorahq/remora/reconciler/rollout"
)

// offerTraffic hands the table keeper what the ambassador should carry for the
// app by now, and says whether it already does.
func (w *worker) offerTraffic(containers containerSet) (applied bool) {
	backends := rollout.Traffic(w.app, containers)
	if len(backends) == 0 && w.offered == nil {
		return true
	}
	part := plan.TrafficOf(w.app, backends, nil)
	part.Namespaces = w.r.nets.namespacesOf(part.Networks)
	if w.offered == nil || !reflect.DeepEqual(part, *w.offered) {
		w.offered = &part
		w.r.table.set(w.id, part)
	}
	return w.r.table.applied(w.id)
}
