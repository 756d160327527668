package rollout

import (
	"maps"
	"slices"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// keepEvidence is how long a failed container is kept stopped.
const keepEvidence = 24 * time.Hour

// leave takes every set that is on its way out a step further, and forgets
// services of which nothing is left.
func (t *turn) leave() {
	for _, name := range t.services() {
		s := t.app.Services[name]
		for _, d := range slices.Clone(s.Leaving) {
			t.leaveOne(name, s, d)
		}
		s.Leaving = slices.DeleteFunc(s.Leaving, func(d *ledger.Deployed) bool { return len(d.Instances) == 0 })
		if len(s.Leaving) == 0 {
			s.Leaving = nil
		}
		t.oldJobs(name, s)
		if t.vanished(name, s) {
			delete(t.app.Services, name)
		}
	}
}

// vanished says that nothing of a service is left to remember.
func (t *turn) vanished(name string, s *ledger.Service) bool {
	return s.Active == nil && s.Standby == nil && len(s.Leaving) == 0 && len(s.Jobs) == 0 &&
		len(s.Quarantined) == 0 && t.change(name) == nil && (t.app.Rollout == nil) && len(s.Anonymous) == 0 && s.Stopped == nil &&
		t.was.Services[name] != nil
}

func (t *turn) leaveOne(name string, s *ledger.Service, d *ledger.Deployed) {
	if !d.Drained {
		if !t.unitDrained(name, d) {
			return
		}
		d.Drained = true
	}
	if d.Place == ledger.ToStandby {
		t.toStandby(name, s, d)
	}
	if d == s.Standby || !t.disarm(name, d) || !t.applied() {
		return
	}
	switch d.Place {
	case ledger.ToStandby:
	case ledger.Evidence:
		t.evidence(name, d)
	case ledger.ToRemoval, "":
		t.remove(name, d)
	}
}

// unitDrained says that d, and what leaves with it of the same unit, has
// nothing in flight.
func (t *turn) unitDrained(name string, d *ledger.Deployed) bool {
	if !t.drained(name, d) {
		return false
	}
	if d.Service.Kind == manifests.KindEndpoint {
		return true
	}
	for _, other := range t.services() {
		for _, o := range t.app.Services[other].Leaving {
			if other != name && o.Service.Unit != "" && o.Service.Unit == d.Service.Unit &&
				o.Service.Kind == manifests.KindEndpoint && o.Since.Equal(d.Since) && !o.Drained {
				return false
			}
		}
	}
	return true
}

// toStandby makes a drained set the standby; the one before is retired.
func (t *turn) toStandby(name string, s *ledger.Service, d *ledger.Deployed) {
	rest, until := t.standbySettings(s, d)
	if until <= 0 || s.Active == nil {
		d.Place = ledger.ToRemoval
		return
	}
	if old := s.Standby; old != nil {
		t.dismiss(name, old, ledger.ToRemoval, mayServe(old))
	}
	s.Leaving = slices.DeleteFunc(s.Leaving, func(x *ledger.Deployed) bool { return x == d })
	d.Since, d.Until, d.Place = t.now(), t.now().Add(until), ""
	d.Frozen = rest == manifests.StandbyPaused
	s.Standby = d
}

// standbySettings are what the active release says of standbys. Two releases
// of a stop-first service, and those of a worker, never both have a process.
func (t *turn) standbySettings(s *ledger.Service, d *ledger.Deployed) (manifests.StandbyState, time.Duration) {
	set := d.Service.Standby
	if s.Active != nil {
		set = s.Active.Service.Standby
	}
	state := set.State
	if s.Active != nil && s.Active.Service.Order == manifests.StopFirst || d.Service.Order == manifests.StopFirst {
		state = manifests.StandbyStopped
	}
	if state == "" {
		state = manifests.StandbyPaused
		if d.Service.Kind != manifests.KindEndpoint {
			state = manifests.StandbyStopped
		}
	}
	return state, set.For
}

// evidence captures what a failed set leaves behind and keeps one of its
// containers, stopped.
func (t *turn) evidence(name string, d *ledger.Deployed) {
	if d.Until.IsZero() {
		d.Until = t.now().Add(keepEvidence)
	}
	if !t.now().Before(d.Until) {
		d.Place = ledger.ToRemoval
		t.remove(name, d)
		return
	}
	t.wakeAt(d.Until)
	kept := t.worst(d)
	for k := range d.Instances {
		i := &d.Instances[k]
		c, ok := t.container(i)
		if !ok {
			continue
		}
		t.capture(name, d, i)
		if alive(&c) {
			t.stop(name, d, i, &c)
		} else if k != kept {
			t.act(on(Remove, name, d, i))
		}
	}
	t.dropGone(d)
}

// worst is the container that says most: one that ended by itself, else the
// first.
func (t *turn) worst(d *ledger.Deployed) int {
	for k := range d.Instances {
		if c, ok := t.container(&d.Instances[k]); ok && (c.ExitCode != 0 || c.OOMKilled) {
			return k
		}
	}
	for k := range d.Instances {
		if _, ok := t.container(&d.Instances[k]); ok {
			return k
		}
	}
	return 0
}

// capture asks once for the evidence of a container, and again while that
// fails.
func (t *turn) capture(name string, d *ledger.Deployed, i *ledger.Instance) {
	a := on(Capture, name, d, i)
	a.Deployed = d.Clone()
	if q, ok := t.app.Services[name].Quarantined[d.ID]; ok {
		a.Message = q.Message
	}
	// Its marks must not change the key under which its failure is known.
	if _, failed := t.obs.Failures[a.Key()]; i.Captured && !failed {
		return
	}
	i.Captured = true
	t.act(a)
}

// remove stops and removes a set.
func (t *turn) remove(name string, d *ledger.Deployed) {
	for k := range d.Instances {
		i := &d.Instances[k]
		c, ok := t.container(i)
		switch {
		case !ok:
		case alive(&c):
			t.stop(name, d, i, &c)
		default:
			t.act(on(Remove, name, d, i))
		}
	}
	t.dropGone(d)
}

// dropGone forgets instances without a container, unless one may just be
// coming about.
func (t *turn) dropGone(d *ledger.Deployed) {
	d.Instances = slices.DeleteFunc(d.Instances, func(i ledger.Instance) bool {
		return i.Container == "" && !t.obs.Busy[i.Name]
	})
}

// standbys keeps standbys as they are to be, and retires them when their time
// is over.
func (t *turn) standbys() {
	for _, name := range t.services() {
		s := t.app.Services[name]
		if c := t.change(name); c != nil && c.Action == ledger.Replace && c.Switched && s.Active != nil && s.Active.Frozen {
			t.freeze(name, s.Active)
		}
		if s.Standby != nil {
			t.standby(name, s, s.Standby)
		}
	}
}

func (t *turn) standby(name string, s *ledger.Service, d *ledger.Deployed) {
	for k := range d.Instances {
		if d.Instances[k].Container == "" {
			t.retire(name, s)
			return
		}
	}
	if !d.Until.IsZero() && !t.now().Before(d.Until) {
		t.retire(name, s)
		return
	}
	t.wakeAt(d.Until)
	t.excuse(d)
	d.Frozen = d.Frozen && t.anyAlive(d)
	state, _ := t.standbySettings(s, d)
	switch {
	case d.Frozen:
		t.freeze(name, d)
	case state == manifests.StandbyStopped:
		if t.applied() && t.disarm(name, d) {
			// It drained before it came to stand by.
			t.halt(name, d)
		}
	default:
		t.thaw(name, d)
	}
}

// retire sends a standby to its removal.
func (t *turn) retire(name string, s *ledger.Service) {
	d := s.Standby
	s.Standby = nil
	t.dismiss(name, d, ledger.ToRemoval, mayServe(d))
	t.leaveOne(name, s, d)
}

// mayServe says that a standby may have requests: it was not paused, so that
// the ambassador could send what its active release failed to take.
func mayServe(d *ledger.Deployed) bool {
	return !d.Frozen && d.Service.Kind == manifests.KindEndpoint
}

// freeze pauses what runs of a set, once the ambassador sends it nothing more
// and has nothing left on it.
func (t *turn) freeze(name string, d *ledger.Deployed) {
	if !t.applied() || !t.drained(name, d) {
		return
	}
	for k := range d.Instances {
		i := &d.Instances[k]
		if c, ok := t.container(i); ok && c.State == engine.Running {
			t.act(on(Pause, name, d, i))
		}
	}
}

// thaw unpauses what is paused of a set.
func (t *turn) thaw(name string, d *ledger.Deployed) {
	for k := range d.Instances {
		i := &d.Instances[k]
		if c, ok := t.container(i); ok && c.State == engine.Paused {
			t.act(on(Unpause, name, d, i))
		}
	}
}

// rest freezes what was replaced, while it is watched whether the new releases
// hold: its timers and jobs stand still, and it is back within milliseconds.
func (t *turn) rest() {
	for _, name := range t.changes() {
		c, s := t.change(name), t.app.Services[name]
		if c.Action != ledger.Replace || !c.Switched || c.Kept || s == nil || s.Active == nil || t.style(name) != beside {
			continue
		}
		if !s.Active.Drained && t.drained(name, s.Active) {
			s.Active.Drained = true
		}
		state, _ := t.standbySettings(s, s.Active)
		s.Active.Frozen = s.Active.Drained && state != manifests.StandbyRunning && t.restsWithUnit(name)
	}
}

// restsWithUnit says that all of the unit has drained.
func (t *turn) restsWithUnit(name string) bool {
	for _, m := range t.unitMembers(name) {
		if s := t.app.Services[m]; s != nil && s.Active != nil && !s.Active.Drained && s.Active.Service.Kind == manifests.KindEndpoint {
			return false
		}
	}
	return true
}

// oldJobs removes the containers of one-shots that ended: when a later run
// exists, or after a day.
func (t *turn) oldJobs(name string, s *ledger.Service) {
	for _, id := range slices.Sorted(maps.Keys(s.Jobs)) {
		j := s.Jobs[id]
		if j.Instance.Name == "" || j.State == ledger.JobRunning {
			continue
		}
		d := &ledger.Deployed{Release: ledger.Release{ID: id}, Instances: []ledger.Instance{j.Instance}}
		c, ok := t.container(&j.Instance)
		switch {
		case !ok:
			if !t.obs.Busy[j.Instance.Name] && j.State != ledger.JobUnknown {
				j.Instance = ledger.Instance{}
			}
		case alive(&c):
		case j.State == ledger.JobFailed && !j.Instance.Captured:
			t.capture(name, d, &j.Instance)
		case t.outdated(s, j) && !t.repeats(name, id):
			t.act(on(Remove, name, d, &j.Instance))
		}
		s.Jobs[id] = j
	}
}

// repeats says that the rollout under way deals with this run.
func (t *turn) repeats(name, id string) bool {
	c := t.change(name)
	return c != nil && c.To != nil && c.To.ID == id
}

func (t *turn) outdated(s *ledger.Service, j ledger.Job) bool {
	if at := j.Ended.Add(keepEvidence); t.now().Before(at) {
		t.wakeAt(at)
	} else {
		return true
	}
	for _, o := range s.Jobs {
		if o.Began.After(j.Began) {
			return true
		}
	}
	return false
}
