package reconciler

import (
	"context"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/plan"
)

// rebuildHost makes the shared ledger anew where it is lost: networks,
// addresses and ports are those that the engine and the ambassador have.
func (r *Reconciler) rebuildHost(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, askLimit)
	table, err := r.cfg.Traffic.Table(limited)
	cancel()
	if err != nil {
		r.cfg.Logger.Debug("no table of the ambassador to begin from", "err", err)
	}
	r.former = table
	r.table.begin(table)
	r.nets.standing(table, r.cfg.BootID)
	empty := false
	r.host.read(func(h *ledger.Host) { empty = len(h.Subnets) == 0 && len(h.Claims) == 0 })
	if _, _, synced := r.world.state(); !empty || !synced {
		return
	}
	networks, err := r.cfg.Engine.Networks(ctx)
	if err != nil {
		r.cfg.Logger.Warn("networks not read", "err", err)
		return
	}
	rebuilt := plan.RebuildHost(r.world.all(), networks, table, r.now())
	if len(rebuilt.Subnets) == 0 && len(rebuilt.Claims) == 0 {
		return
	}
	if err := r.host.update(func(h *ledger.Host) error { *h = rebuilt; return nil }); err != nil {
		r.cfg.Logger.Warn("shared ledger not rebuilt", "err", err)
	}
}

// adoptable says that an app's ledger is lost, or never was, though containers
// of it are on the engine.
func (w *worker) adoptable() bool {
	return len(w.app.Services) == 0 && w.app.Rollout == nil && len(w.r.world.ofApp(w.id)) > 0
}

// rebuild makes the ledger of an app anew from the containers' labels, the
// ambassador's table and what the repository wants; nothing is recreated.
func (w *worker) rebuild(app manifests.App, p *prepared, revision string) {
	w.app = plan.Rebuild(plan.RebuildInput{
		App: app, Images: p.images, Key: w.r.key, Revision: revision, Containers: w.r.world.all(), Table: w.r.former, Now: w.r.now(),
	})
	w.saved = false
	w.record(status.Event{Reason: status.Interrupted, Severity: "warning", Message: "the ledger was rebuilt from the containers' labels; nothing was recreated"})
}
