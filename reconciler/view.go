package reconciler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
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
		Pinned: w.app.Pin != nil, Suspended: w.app.Suspended != nil, NextRetry: w.retryAt(),
		Rollout: rolloutView(w.app.Rollout), Judged: w.judged,
	}
	w.overlay(&v)
	wanted := w.wantedTags()
	for _, name := range w.names() {
		v.Services = append(v.Services, w.service(name, v, wanted, containers))
	}
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
	case w.prepared == nil || w.planDue:
		v.Reason = status.Progressing
	}
}

// sync says whether the app is what the repository wants.
func (w *worker) sync() status.Sync {
	switch {
	case w.desired == nil:
		return status.SyncUnknown
	case w.desired.app == nil:
		return status.OutOfSync
	case w.app.Rollout != nil || w.planDue || w.last.Hold != nil || !w.last.NoChange:
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

// service makes one service's row.
func (w *worker) service(name string, app status.App, wanted map[string]string, containers containerSet) status.Service {
	v := status.Service{Name: name, Wanted: wanted[name], Traffic: -1, Sync: status.Synced, Health: status.Missing, Reason: app.Reason, Back: "never", Since: w.since, Message: app.Message}
	if w.desired != nil && w.desired.app != nil {
		if s := w.desired.app.Service(name); s != nil {
			v.Kind = string(s.Kind)
		}
	}
	s := w.app.Services[name]
	if s == nil {
		v.Sync = status.OutOfSync
		return v
	}
	if s.Active != nil {
		w.active(&v, s, containers)
	}
	if s.Active == nil || v.Running != v.Wanted && v.Wanted != "" {
		v.Sync = status.OutOfSync
	}
	for _, d := range append([]*ledger.Deployed{s.Standby}, s.Leaving...) {
		if d != nil {
			v.Instances = append(v.Instances, instances(d, roleOf(d, s), containers)...)
		}
	}
	v.Back = rollout.Back(w.app, name)
	jobRow(&v, s)
	return v
}

// active fills a row from the active release.
func (w *worker) active(v *status.Service, s *ledger.Service, containers containerSet) {
	v.Kind = string(s.Active.Service.Kind)
	v.Running, v.RunningRelease, v.Since = s.Active.Tag, s.Active.ID, s.Active.Since
	v.Instances = instances(s.Active, "active", containers)
	v.Health = healthOf(v.Instances, s)
	if s.Active.Service.Kind == manifests.KindEndpoint {
		v.Traffic = 100
	}
	if s.Stopped != nil {
		v.Reason, v.Health, v.Message = status.StoppedByHand, status.HealthSuspended, stoppedMessage(s.Stopped)
	}
}

func stoppedMessage(o *ledger.Override) string {
	m := "stopped by " + o.By.Name
	if o.Reason != "" {
		m += ": " + o.Reason
	}
	if !o.Until.IsZero() {
		m += ", repaired at " + o.Until.Format("15:04")
	}
	return m
}

func roleOf(d *ledger.Deployed, s *ledger.Service) string {
	switch {
	case d == s.Standby:
		return "standby"
	case d.Place == ledger.Evidence:
		return "failed"
	}
	return "draining"
}

// instances are the containers of a release as the engine has them.
func instances(d *ledger.Deployed, role string, containers containerSet) []status.Instance {
	var out []status.Instance
	for _, i := range d.Instances {
		v := status.Instance{ID: i.Container, Name: i.Name, Release: d.Tag, Role: role, State: "missing"}
		if c, ok := containers[i.Container]; ok {
			v.Name, v.State, v.Health, v.Started = c.Name, string(c.State), c.Health, c.Started
		}
		for _, a := range i.Addresses {
			v.Address = a.String()
		}
		out = append(out, v)
	}
	return out
}

// healthOf sums up the containers of the active release.
func healthOf(list []status.Instance, s *ledger.Service) status.Health {
	running := 0
	for _, i := range list {
		switch {
		case i.State == string(engine.Running) && i.Health != "unhealthy":
			running++
		case i.Health == "unhealthy":
			return status.Degraded
		}
	}
	switch {
	case running == len(list) && running > 0:
		return status.Healthy
	case s.Crashes > 0 || running > 0:
		return status.Degraded
	}
	return status.Missing
}

// jobRow shows a one-shot's last run.
func jobRow(v *status.Service, s *ledger.Service) {
	var last *ledger.Job
	for _, j := range s.Jobs {
		if last == nil || j.Began.After(last.Began) {
			last = &j
		}
	}
	if last == nil {
		return
	}
	v.Kind, v.Since = string(manifests.KindOneShot), last.Began
	switch last.State {
	case ledger.JobDone:
		v.Health, v.Sync, v.Running = status.Healthy, status.Synced, "done"
	case ledger.JobRunning:
		v.Health, v.Running = status.HealthProgressing, "running"
	default:
		v.Health, v.Running, v.Message = status.Degraded, "failed", fmt.Sprintf("exited %d", last.ExitCode)
	}
}

// publish shows a bare reason, while the core cannot be asked.
func (w *worker) publish(reason status.Reason, message string) {
	w.r.mu.Lock()
	v := w.r.views[w.id]
	w.r.mu.Unlock()
	v.Environment, v.Name, v.Reason, v.Message, v.Health = w.env, w.name, reason, message, status.HealthUnknown
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
		w.r.wakeDependants(w.env, w.name)
	}
}

// wakeDependants wakes all apps: one of them may wait for this one.
func (r *Reconciler) wakeDependants(env, name string) {
	for _, w := range r.all() {
		if w.env == env && w.name != name {
			w.wake()
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
