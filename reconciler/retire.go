package reconciler

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/plan"
)

// retire forgets an app that the repository no longer has once nothing of it
// runs: its networks go, and what it claimed is free. Volumes stay.
func (w *worker) retire(ctx context.Context) {
	if !w.gone || w.retiring || w.r.now().Before(w.retireAt) || w.app.Rollout != nil || w.planDue || w.busyApp() {
		return
	}
	w.retiring = true
	app := w.app
	var err error
	w.spawn(ctx, func(ctx context.Context) { err = w.r.forgetApp(ctx, app) }, func() {
		w.retiring = false
		switch {
		case err == nil:
			w.forgotten()
		case ctx.Err() == nil:
			w.notForgotten(err)
		}
	})
}

// notForgotten says once why an app that is gone still has a network, such as
// one that another container is on, and tries again later.
func (w *worker) notForgotten(err error) {
	if w.retireErr == nil || w.retireErr.Error() != err.Error() {
		w.log.Warn("app not forgotten yet", "err", err)
		w.record(status.Event{Reason: status.Progressing, Severity: "warning", Revision: revisionOf(w.desired), Message: "removed, but not all of it yet: " + err.Error()})
	}
	w.retireErr, w.retireAt = err, w.r.now().Add(retireAgain)
}

// retireAgain is the pause before what is left of a removed app is tried again.
const retireAgain = time.Minute

// busyApp says whether anything of the app is left.
func (w *worker) busyApp() bool {
	for _, s := range w.app.Services {
		if s.Active != nil || s.Standby != nil || len(s.Leaving) > 0 {
			return true
		}
	}
	return len(w.r.world.ofApp(w.id)) > 0
}

// forgotten drops the app from memory; its worker stays, with nothing to do.
func (w *worker) forgotten() {
	w.record(status.Event{Reason: status.Succeeded, Revision: revisionOf(w.desired), Message: "removed; its volumes stay"})
	w.r.table.drop(w.id)
	w.app = ledger.App{Version: ledger.Version, Environment: w.app.Environment, Name: w.app.Name}
	w.retireErr, w.retireAt, w.shown = nil, time.Time{}, nil
	w.desired, w.prepared, w.last, w.offered, w.gone, w.forgot = nil, nil, plan.Result{}, nil, false, true
	w.r.mu.Lock()
	delete(w.r.views, w.id)
	w.r.mu.Unlock()
}

// forgetApp removes an app's networks and its entries in the ledger.
func (r *Reconciler) forgetApp(ctx context.Context, app appLedger) error {
	networks, err := r.cfg.Engine.Networks(ctx)
	if err != nil {
		return fmt.Errorf("list networks: %w", err)
	}
	for _, n := range networks {
		if n.Labels[engine.LabelApp] != app.Name || n.Labels[engine.LabelEnvironment] != app.Environment {
			continue
		}
		if err := r.forgetNetwork(ctx, n.Name); err != nil {
			return err
		}
	}
	err = r.host.update(func(h *ledger.Host) error {
		plan.KeepClaims(h, app.ID(), nil)
		plan.FreePorts(h, app.ID())
		for name := range app.Services {
			plan.FreeAddresses(h, plan.ServiceOwner(app.Environment, app.Name, name), r.now())
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.store.removeApp(app.Environment, app.Name)
}

// forgetNetwork removes a network of ours with its service addresses, unless a
// container of somebody else's is on it.
func (r *Reconciler) forgetNetwork(ctx context.Context, name string) error {
	if err := r.cfg.Namespaces.Remove(ctx, name); err != nil {
		return fmt.Errorf("remove the service addresses of %s: %w", name, err)
	}
	r.nets.set(name, "")
	if err := r.cfg.Engine.RemoveNetwork(ctx, name); err != nil {
		return fmt.Errorf("remove network %s: %w", name, err)
	}
	return r.host.update(func(h *ledger.Host) error { plan.FreeSubnet(h, name); return nil })
}

// report says once per revision why an app is not rolled out.
func (w *worker) report(d *desired) {
	switch {
	case len(d.failed) > 0:
		errs := d.failed.Errors()
		if len(errs) == 0 {
			return
		}
		w.record(status.Event{Reason: errs[0].Reason, Severity: "error", Revision: d.revision.String(), Message: errs.Error()})
	case d.held != "":
		w.record(status.Event{Reason: status.PruneHeld, Severity: "warning", Revision: d.revision.String(), Message: d.held})
	case d.skipped != nil && len(w.app.Services) > 0:
		w.record(status.Event{Reason: d.skipped.Reason, Revision: d.revision.String(), Message: d.skipped.String()})
	}
}

// sameFailure says that two desires failed alike.
func (d *desired) sameFailure(o *desired) bool {
	return d.app == nil && o.app == nil && d.held == o.held && slices.EqualFunc(d.failed, o.failed, sameDiagnostic) && (d.skipped == nil) == (o.skipped == nil)
}
