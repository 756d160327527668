package rollout

import (
	"slices"
	"time"

	"github.com/remorahq/remora/reconciler/ledger"
)

// Begin puts a rollout that was planned into the ledger. It takes over the
// standbys that come back, gives sets of one release different names in the
// table, and lets failed one-shots of the changed releases run again. An app
// that has a rollout under way is returned as it is.
func Begin(app ledger.App, r ledger.Rollout, now time.Time) ledger.App {
	next := app.Clone()
	if next.Rollout != nil {
		return next
	}
	clone := ledger.App{Rollout: &r}.Clone()
	ro := clone.Rollout
	ro.Phase, ro.Wave = ledger.Pending, 0
	ro.Began, ro.Since, ro.Progress = now, now, now
	ro.Failure, ro.Superseded = nil, ""
	next.Rollout = ro
	t := &turn{was: &app, app: &next, obs: &Observation{Now: now}}
	for k := range ro.Waves {
		ro.Waves[k].Step = ""
	}
	for _, name := range t.changes() {
		t.beginChange(name, ro.Changes[name])
	}
	ro.Waves = slices.DeleteFunc(ro.Waves, func(w ledger.Wave) bool {
		return len(w.Services)+len(w.Before)+len(w.After) == 0
	})
	return next
}

func (t *turn) beginChange(name string, c *ledger.Change) {
	s := t.service(name)
	switch c.Action {
	case ledger.Replace:
		t.beginReplace(name, s, c)
	case ledger.Run:
		if j, ok := s.Jobs[c.To.ID]; ok && j.State == ledger.JobFailed {
			delete(s.Jobs, c.To.ID)
			t.dismissJob(name, c.To.ID, j)
		}
		if len(c.To.Instances) == 0 {
			c.To.Instances = []ledger.Instance{t.newInstance(name, &c.To.Release, 1)}
		}
	case ledger.Scale:
		c.To.Set = t.app.Rollout.ID
		c.To.Instances = slices.DeleteFunc(c.To.Instances, func(i ledger.Instance) bool {
			return s.Active != nil && hasKey(s.Active.Instances, i.Key)
		})
	case ledger.Settings:
		c.To.Instances = nil
	case ledger.Drop:
	}
	// A failure of an earlier rollout has been looked at by now.
	for _, d := range s.Leaving {
		if d.Place == ledger.Evidence {
			d.Place = ledger.ToRemoval
		}
	}
}

func (t *turn) beginReplace(name string, s *ledger.Service, c *ledger.Change) {
	if c.From == nil {
		c.From = s.Active.Clone()
	}
	if c.FromStandby && t.takeOver(s, c) {
		return
	}
	c.FromStandby = false
	for index := 1; len(c.To.Instances) < c.To.Service.Replicas; index++ {
		if !hasIndex(c.To.Instances, index) {
			c.To.Instances = append(c.To.Instances, t.newInstance(name, &c.To.Release, index))
		}
	}
	for _, d := range slices.Concat([]*ledger.Deployed{s.Active, s.Standby}, s.Leaving) {
		if d != nil && d.ID == c.To.ID {
			c.To.Set = t.app.Rollout.ID
		}
	}
}

// takeOver moves a set that stands by, or drains towards it, into the change.
func (t *turn) takeOver(s *ledger.Service, c *ledger.Change) bool {
	to := c.To.Release
	same := func(d *ledger.Deployed) bool {
		return d != nil && len(d.Instances) > 0 && len(c.To.Instances) > 0 && d.Instances[0].Key == c.To.Instances[0].Key
	}
	var d *ledger.Deployed
	if same(s.Standby) {
		d, s.Standby = s.Standby, nil
	} else if k := slices.IndexFunc(s.Leaving, same); k >= 0 {
		d = s.Leaving[k]
		s.Leaving = slices.Delete(s.Leaving, k, k+1)
	}
	if d == nil {
		c.To.Instances = nil
		return false
	}
	set := d.Set
	d.Release, d.Set = to, set
	d.Place, d.Until = "", time.Time{}
	c.To = d
	return true
}

// dismissJob sends the container of a one-shot's former run away.
func (t *turn) dismissJob(name, id string, j ledger.Job) {
	if j.Instance.Container == "" {
		return
	}
	t.dismiss(name, &ledger.Deployed{Release: ledger.Release{ID: id}, Instances: []ledger.Instance{j.Instance}}, ledger.ToRemoval, false)
}

// Retry lifts what keeps an app's failed releases from being tried again:
// quarantines and one-shots that failed or whose outcome is unknown. An empty
// service means all.
func Retry(app ledger.App, service string) ledger.App {
	next := app.Clone()
	t := &turn{was: &app, app: &next, obs: &Observation{}}
	for name, s := range next.Services {
		if service != "" && service != name {
			continue
		}
		s.Quarantined = nil
		for id, j := range s.Jobs {
			if j.State == ledger.JobFailed || j.State == ledger.JobUnknown {
				delete(s.Jobs, id)
				t.dismissJob(name, id, j)
			}
		}
	}
	next.Seen = ""
	return next
}
