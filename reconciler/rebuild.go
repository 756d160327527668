package reconciler

import (
	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/plan"
)

// adoptable says that an app's ledger is lost, or never was, though containers
// of it are on the engine.
func (w *worker) adoptable() bool {
	if len(w.app.Services) > 0 || w.app.Rollout != nil {
		return false
	}
	return len(w.r.world.ofApp(w.id)) > 0
}

// rebuild makes the ledger of an app anew from the containers' labels, the
// ambassador's table and what the repository wants; nothing is recreated.
func (w *worker) rebuild(app manifests.App, p *prepared) {
	_, table, _, _ := w.r.table.state()
	var containers []engine.Container
	for _, c := range w.r.world.ofApp(w.id) {
		containers = append(containers, c)
	}
	w.app = plan.Rebuild(plan.RebuildInput{App: app, Images: p.images, Containers: containers, Table: table, Key: w.r.key, Now: w.r.now()})
	w.saved = false
	w.record(status.Event{Reason: status.Interrupted, Severity: "warning", Message: "the ledger was rebuilt from the containers' labels; nothing was recreated"})
}
