package rollout

import (
	"slices"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/reconciler/ledger"
)

// fail ends a rollout's way forward: before any switch the new set is
// discarded, after one the traffic goes back.
func (t *turn) fail(f ledger.Failure) {
	r := t.app.Rollout
	if r.Failure != nil {
		return
	}
	f.At = t.now()
	r.Failure = &f
	t.stays(&f)
	if f.Quarantine && !t.isKept(f.Service) {
		t.quarantine(&f)
	}
	severity := "error"
	if f.Reason == status.Superseded || f.Reason == status.Interrupted {
		severity = "info"
	}
	e := event{service: f.Service, reason: f.Reason, severity: severity, text: t.failedText(&f)}
	if c := r.Changes[f.Service]; c != nil && c.To != nil {
		e.release = &c.To.Release
	}
	t.event(e)
	for _, c := range r.Changes {
		if c.Switched {
			c.Disarmed = false
		}
	}
	if t.anySwitched() {
		t.enter(ledger.RollingBack)
		return
	}
	t.enter(ledger.Discarding)
}

// stays marks what remains on its new release: data that a new release has
// touched, and everything switched where update_config says pause.
func (t *turn) stays(f *ledger.Failure) {
	pause := false
	if c := t.app.Rollout.Changes[f.Service]; c != nil && c.To != nil {
		pause = c.To.Service.Update.FailureAction == "pause"
	}
	for name, c := range t.app.Rollout.Changes {
		if c.Action != ledger.Replace || c.To == nil || !c.Switched && !c.Holding {
			continue
		}
		data := c.HealthyOnce && keepsData(c) && t.service(name).Active != nil
		if data || pause && c.Switched {
			c.Kept = true
			if !c.Switched {
				t.take(name, c)
			}
		}
	}
}

func (t *turn) isKept(service string) bool {
	c := t.change(service)
	return c != nil && c.Kept
}

// quarantine keeps the failed release from being rolled out again.
func (t *turn) quarantine(f *ledger.Failure) {
	s := t.service(f.Service)
	if s.Quarantined == nil {
		s.Quarantined = map[string]ledger.Quarantine{}
	}
	s.Quarantined[f.Release] = ledger.Quarantine{Reason: f.Reason, Message: f.Message, At: f.At, By: status.Actor{Kind: "remora"}}
}

// undo brings every service that does not stay back to its former release, and
// ends the rollout when that is done.
func (t *turn) undo() {
	t.flipBack()
	done := true
	for _, name := range t.changes() {
		c := t.change(name)
		if !c.Kept && !t.undoOne(name, c) {
			done = false
		}
	}
	if done && (!t.served() || t.applied()) {
		t.finishUndo()
	}
}

// served says that a rollback moved traffic, which must be acknowledged before
// the rollout ends.
func (t *turn) served() bool { return t.app.Rollout.Phase == ledger.RollingBack }

func (t *turn) undoOne(name string, c *ledger.Change) bool {
	switch c.Action {
	case ledger.Run:
		return t.undoJob(name, c)
	case ledger.Scale:
		t.undoScale(name, c)
	case ledger.Settings:
		if a := t.service(name).Active; c.Switched && a != nil && c.From != nil {
			a.Release = c.From.Release
			c.Switched = false
		}
	case ledger.Replace:
		return t.undoReplace(name, c)
	case ledger.Drop:
	}
	return true
}

// undoJob waits for a one-shot that still runs, and records how it ended.
func (t *turn) undoJob(name string, c *ledger.Change) bool {
	s := t.app.Services[name]
	if s == nil || c.To == nil {
		return true
	}
	j, ok := s.Jobs[c.To.ID]
	if !ok || j.State != ledger.JobRunning {
		return true
	}
	ctr, exists := t.container(&j.Instance)
	switch {
	case !exists && j.Launched:
		j.State, j.Ended = ledger.JobUnknown, t.now()
	case !exists && t.obs.Busy[j.Instance.Name]:
		return false
	case !exists:
		delete(s.Jobs, c.To.ID)
		return true
	case alive(&ctr):
		return false
	case !ctr.Started.IsZero():
		t.endJob(name, c, &j, &ctr)
	default: // created, never started
		j.State = ledger.JobFailed
	}
	s.Jobs[c.To.ID] = j
	return true
}

// undoScale takes the added containers away again.
func (t *turn) undoScale(name string, c *ledger.Change) {
	s := t.service(name)
	added := &ledger.Deployed{Release: c.To.Release, Set: c.To.Set, Instances: c.To.Instances}
	if c.Switched && s.Active != nil && c.From != nil {
		var kept []ledger.Instance
		for _, i := range s.Active.Instances {
			if hasKey(c.From.Instances, i.Key) {
				kept = append(kept, i)
			} else {
				added.Instances = append(added.Instances, i)
			}
		}
		s.Active.Instances, s.Active.Service = kept, c.From.Service
	}
	c.Switched = false
	c.To.Instances = nil
	t.dismiss(name, added, ledger.ToRemoval, false)
}

func hasKey(list []ledger.Instance, key string) bool {
	for _, i := range list {
		if i.Key == key {
			return true
		}
	}
	return false
}

// undoReplace takes one service back. Those that serve beside each other went
// back together in flipBack.
func (t *turn) undoReplace(name string, c *ledger.Change) bool {
	s := t.service(name)
	switch st := t.style(name); {
	case c.To == nil || len(c.To.Instances) == 0 && !c.Switched && !c.Holding:
		return true
	case st == beside:
		if c.Switched {
			return false // waits for flipBack
		}
	case st == exchange && (c.Switched || c.Holding):
		if !t.exchangeBack(name, c, s) {
			return false
		}
	case c.Switched: // a worker
		c.Disarmed = true
		if !t.disarm(name, c.To) || t.style(name) == background && !t.halt(name, c.To) {
			return false
		}
	}
	t.backOn(name, c)
	return true
}

// exchangeBack stops the new containers of a stop-first service and starts the
// old ones; requests wait meanwhile.
func (t *turn) exchangeBack(name string, c *ledger.Change, s *ledger.Service) bool {
	if !t.vacate(name, c, c.To) {
		return false
	}
	if s.Active == nil {
		return true
	}
	s.Active.Frozen = false
	return t.restored(name, s.Active)
}

// restored brings a former set back, and says when it serves as well as it
// can: when it is ready, or when it had its time.
func (t *turn) restored(name string, d *ledger.Deployed) bool {
	t.awaken(d)
	v := t.bring(name, d)
	if v.failure == nil {
		return v.ready
	}
	t.stall(name, d, v.failure.Message)
	return true
}

// awaken lets the exits of a set that is wanted again count from now on.
func (t *turn) awaken(d *ledger.Deployed) {
	since := t.app.Rollout.Since
	for k := range d.Instances {
		i := &d.Instances[k]
		if c, ok := t.container(i); ok && !alive(&c) && c.Started.Before(since) {
			i.Epoch = c.Started
		}
	}
}

// stall says that going back failed too: a rollback is never rolled back.
func (t *turn) stall(name string, d *ledger.Deployed, why string) {
	r := t.app.Rollout
	if r.Failure.Stuck {
		return
	}
	r.Failure.Stuck = true
	t.event(event{
		service: name, release: &d.Release, reason: r.Failure.Reason, severity: "error",
		text: name + " " + tag(&d.Release) + ": going back failed too: " + why + "; a person must look → remora logs " + t.app.Name + "/" + name,
	})
}

// flipBack returns the traffic of services whose releases stand beside each
// other: all together, as soon as every former set answers.
func (t *turn) flipBack() {
	var names []string
	ready := true
	for _, name := range t.changes() {
		c := t.change(name)
		if c.Action != ledger.Replace || c.Kept || !c.Switched || t.style(name) != beside {
			continue
		}
		names = append(names, name)
		// What crashed is not waited for: the engine may be busy starting it
		// again, and the requests of a moment are lost.
		c.Disarmed = true
		disarmed := t.disarm(name, c.To) || !t.anyRunning(c.To)
		from := t.service(name).Active
		ready = (from == nil || t.answers(name, from)) && disarmed && ready
	}
	if !ready {
		return
	}
	for _, name := range names {
		t.change(name).Switched = false
	}
}

// answers says that a former set may have the traffic again: at once where it
// still drains, after one good check where it was paused or ended.
func (t *turn) answers(name string, from *ledger.Deployed) bool {
	from.Frozen = false
	if from.Drained {
		// A pause that is under way would freeze what just got the traffic.
		return t.restored(name, from) && !t.anyBusy(from)
	}
	if t.allRunning(from) {
		return true
	}
	from.Drained = true // what does not run has nothing in flight
	return false
}

func (t *turn) anyRunning(d *ledger.Deployed) bool {
	return slices.ContainsFunc(d.Instances, func(i ledger.Instance) bool {
		c, ok := t.container(&i)
		return ok && c.State == engine.Running
	})
}

func (t *turn) allRunning(d *ledger.Deployed) bool {
	for k := range d.Instances {
		if c, ok := t.container(&d.Instances[k]); !ok || c.State != "running" {
			return false
		}
	}
	return true
}

// backOn ends a service's change: its former set serves, the new one leaves.
func (t *turn) backOn(name string, c *ledger.Change) {
	s := t.service(name)
	had := c.HadTraffic
	c.Switched, c.Holding, c.Disarmed = false, false, false
	if s.Active != nil {
		s.Active.Drained, s.Active.Frozen, s.Active.Since = false, false, t.now()
	}
	out := c.To.Clone()
	c.To.Instances = nil
	place := ledger.ToRemoval
	f := t.app.Rollout.Failure
	switch {
	case f.Service == name && f.Quarantine:
		place = ledger.Evidence
	case c.FromStandby:
		place = ledger.ToStandby
	}
	t.dismiss(name, out, place, had)
}

// dismiss sends a set on its way out. served says that it had traffic, which
// must drain first.
func (t *turn) dismiss(name string, d *ledger.Deployed, p ledger.Place, served bool) {
	if len(d.Instances) == 0 {
		return
	}
	d.Place, d.Since, d.Until, d.Drained, d.Frozen = p, t.now(), time.Time{}, !served, false
	s := t.service(name)
	s.Leaving = append(s.Leaving, d)
}

// finishUndo ends a rollout that failed.
func (t *turn) finishUndo() {
	r := t.app.Rollout
	f := r.Failure
	kept := t.promoteKept()
	o := t.outcome(f.Reason, t.failedOutcome(f, kept))
	switch {
	case f.Reason == status.Superseded:
	case f.Reason == status.Interrupted:
		o.Retry = t.now()
	case len(kept) > 0 && t.pauses(f):
		o.Stalled = true
	case len(kept) > 0:
		o.Reason, o.Stalled = status.StatefulNotRolledBack, true
	case f.Stuck:
		o.Stalled = true
		o.Reason = status.RolledBack
	case f.Quarantine && f.Reason == status.HealthCheckFailed && t.hadBefore(f.Service):
		o.Reason = status.RolledBack
	}
	if f.Reason == status.JobFailed && !f.Quarantine {
		o.Stalled = true
	}
	if f.Retry && o.Retry.IsZero() {
		o.Retry = t.now().Add(doubling(10*time.Second, longRetry, o.Attempts))
	}
	t.end(o)
}

// pauses says that the failed service's update_config stops here instead of
// going back.
func (t *turn) pauses(f *ledger.Failure) bool {
	c := t.change(f.Service)
	return c != nil && c.To != nil && c.To.Service.Update.FailureAction == "pause"
}

func (t *turn) hadBefore(service string) bool {
	s := t.app.Services[service]
	return s != nil && s.Active != nil
}
