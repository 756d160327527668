package reconciler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/rollout"
)

// show makes the app's status after a step and publishes it.
func (w *worker) show(d rollout.Decision, containers containerSet) {
	if w.forgot && w.desired == nil {
		return
	}
	v := status.App{
		Source: w.app.Source, Environment: w.app.Environment, Name: w.app.Name, Project: w.app.Project, Revision: w.app.Revision,
		Health: d.Health, Reason: d.Reason, Message: d.Message, Sync: w.sync(),
		Pinned: w.app.Pin != nil, Suspended: w.app.Suspended != nil, NextRetry: w.nextRetry(),
		Rollout: rolloutView(w.app.Rollout), Judged: w.judged,
	}
	if w.desired != nil && w.desired.app != nil {
		v.Variables = w.desired.app.Variables
	}
	w.overlay(&v)
	v.Warnings = w.warnings("")
	wanted := w.wantedTags()
	for _, name := range w.names() {
		v.Services = append(v.Services, w.service(name, v, wanted, containers))
	}
	v.Conditions = w.conditions(v)
	w.publishView(v)
}

// overlay puts what holds the app before what the core says of it: why a
// revision cannot be loaded, prepared, planned or begun.
func (w *worker) overlay(v *status.App) {
	if w.app.Rollout != nil {
		return
	}
	switch d := w.desired; {
	case d == nil:
		if v.Reason == "" {
			v.Reason, v.Sync = status.Progressing, status.SyncUnknown
		}
	case len(d.failed) > 0:
		first := d.failed.Errors()[0]
		v.Reason, v.Message = first.Reason, d.failed.Errors().Error()
	case d.skipped != nil:
		v.Reason, v.Message = d.skipped.Reason, d.skipped.String()
	case d.held != "":
		v.Reason, v.Message = status.PruneHeld, d.held
	case w.prepareErr != nil:
		v.Reason, v.Message = w.prepareErr.Reason, w.prepareErr.Message
	case w.last.Hold != nil:
		v.Reason, v.Message = w.last.Hold.Reason, w.last.Hold.String()
	case w.prepared == nil || w.planDue && !w.looking:
		v.Reason = status.Progressing
	}
	if f, failed := w.r.table.failure(w.id); failed {
		v.Reason, v.Health, v.Message = status.PortConflict, status.Degraded, fmt.Sprintf("the ambassador cannot listen on port %d: %s", f.Port, f.Error)
	}
}

// sync says whether the app is what the repository wants.
func (w *worker) sync() status.Sync {
	switch {
	case w.desired == nil:
		return status.SyncUnknown
	case w.desired.app == nil:
		return status.OutOfSync
	case w.app.Rollout != nil || w.planDue && !w.looking || w.last.Hold != nil || !w.last.NoChange:
		return status.OutOfSync
	}
	return status.Synced
}

func rolloutView(ro *ledger.Rollout) *status.Rollout {
	if ro == nil {
		return nil
	}
	v := &status.Rollout{ID: ro.ID, Revision: ro.Revision, Phase: string(ro.Phase), Wave: ro.Wave + 1, Waves: len(ro.Waves), Since: ro.Since}
	if ro.Phase == ledger.Rolling && ro.Wave < len(ro.Waves) {
		v.Phase = string(ro.Waves[ro.Wave].Step)
	}
	if ro.Failure != nil {
		v.Message = ro.Failure.Message
	}
	return v
}

// names are the services of the ledger and of the desire, sorted.
func (w *worker) names() []string {
	var names []string
	for name := range w.app.Services {
		names = append(names, name)
	}
	if w.desired != nil && w.desired.app != nil {
		for _, s := range w.desired.app.Services {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// wantedTags are what people call the desired release of each service.
func (w *worker) wantedTags() map[string]string {
	out := map[string]string{}
	if w.desired == nil || w.desired.app == nil {
		return out
	}
	for _, s := range w.desired.app.Services {
		out[s.Name] = tagOfImage(s.Container.Image)
	}
	return out
}

// tagOfImage is what people call an image: its tag, else the digest's
// beginning, else latest.
func tagOfImage(ref string) string {
	name, digest, pinned := strings.Cut(ref, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[i+1:]
	}
	if pinned {
		return strings.TrimPrefix(digest, "sha256:")[:min(8, max(0, len(digest)-7))]
	}
	return "latest"
}

// publish shows a bare reason, while the core cannot be asked.
func (w *worker) publish(reason status.Reason, message string) {
	w.r.mu.Lock()
	v := w.r.views[w.id]
	w.r.mu.Unlock()
	v.Environment, v.Name, v.Reason, v.Message, v.Health = w.env, w.name, reason, message, status.HealthUnknown
	v.Conditions = w.conditions(v)
	w.publishView(v)
}

// publishView stores the app's status and wakes those that watch.
func (w *worker) publishView(v status.App) {
	if v.Reason != w.outcome.Reason || v.Health != w.outcome.Health {
		w.since = w.r.now()
	}
	v.Since = w.since
	ready := v.Health == status.Healthy
	changed := w.outcome.Health != v.Health || w.outcome.Sync != v.Sync
	w.outcome = v
	w.r.mu.Lock()
	w.r.views[w.id] = v
	w.r.mu.Unlock()
	if changed && ready {
		w.r.wakeDependants(w.id)
	}
}

// waitsFor notes which apps an app waits for.
func (r *Reconciler) waitsFor(id, env string, names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.after, id)
	for _, name := range names {
		r.after[id] = append(r.after[id], env+"/"+name)
	}
}

// wakeDependants wakes the apps that wait for one.
func (r *Reconciler) wakeDependants(app string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, names := range r.after {
		if slices.Contains(names, app) && r.workers[id] != nil {
			r.workers[id].wake()
		}
	}
}

// Status returns the status of the whole host.
func (r *Reconciler) Status(context.Context) (status.Host, error) {
	info, err, _ := r.world.state()
	rep, _, ack, tableErr := r.table.state()
	h := status.Host{
		Name: r.cfg.Host.Name, AgentVersion: r.cfg.Version, Time: r.now(),
		Engine:     status.EngineState{Connected: err == nil, Version: info.Version, APIVersion: info.APIVersion},
		Ambassador: status.Ambassador{Connected: tableErr == nil && rep.Version != "", Version: rep.Version, Generation: rep.Generation},
	}
	if err != nil {
		h.Engine.Message = err.Error()
	}
	if tableErr != nil {
		h.Ambassador.Message = tableErr.Error()
	}
	for _, f := range ack.Failures {
		h.Ambassador.Message = strings.TrimSpace(h.Ambassador.Message + fmt.Sprintf(" port %d of %s: %s", f.Port, f.Owner, f.Error))
	}
	for _, src := range r.cfg.Host.Sources {
		h.Sources = append(h.Sources, r.sources[src.Name].snapshot()...)
	}
	r.mu.Lock()
	h.LastReconcile = r.lastRun
	for _, v := range r.views {
		h.Apps = append(h.Apps, v)
	}
	r.mu.Unlock()
	slices.SortFunc(h.Apps, func(a, b status.App) int { return compare(a.Environment+"/"+a.Name, b.Environment+"/"+b.Name) })
	h.NeedPerson = needPerson(h)
	return h, nil
}

// needPerson counts what waits for a person.
func needPerson(h status.Host) int {
	n := 0
	for _, s := range h.Sources {
		for _, c := range s.Conditions {
			if e, ok := status.Explain(c.Reason); ok && !c.True && e.NeedsPerson {
				n++
			}
		}
	}
	for _, a := range h.Apps {
		if e, ok := status.Explain(a.Reason); ok && e.NeedsPerson {
			n++
		}
	}
	return n
}

// finished notes that a reconcile has ended.
func (r *Reconciler) finished() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastRun = r.now()
}

// sinceRun returns how long ago a reconcile last ended.
func (r *Reconciler) sinceRun() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lastRun.IsZero() {
		return 0
	}
	return r.now().Sub(r.lastRun)
}
