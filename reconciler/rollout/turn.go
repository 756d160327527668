package rollout

import (
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/reconciler/ledger"
)

// turn is one step being made: the ledger as it was given, the ledger as it
// will be, and what is decided on the way.
type turn struct {
	was *ledger.App
	app *ledger.App
	obs *Observation

	byKey   map[string]string // container IDs by instance key
	actions []Action
	emitted map[string]bool
	events  []status.Event
	wake    time.Time
	// trouble is the first action that failed and is tried again.
	trouble *Failed
	// ended is the revision of the rollout that ended in this turn.
	ended string
	// given is the traffic of was, made once.
	given   []traffic.Service
	isGiven bool
}

// Step decides what is next for an app. It changes neither app nor obs. The
// decision's App is to be saved before its actions are begun; actions that
// could not be carried out are asked for again.
func Step(app ledger.App, obs Observation) Decision {
	next := app.Clone()
	t := &turn{was: &app, app: &next, obs: &obs, emitted: map[string]bool{}}
	t.adopt()
	t.reboot()
	t.expire()
	t.advance()
	if t.ended != "" {
		t.act(Action{Kind: Release_, Release: t.ended})
	}
	t.keepAll()
	t.leave()
	t.standbys()
	t.policies()
	t.names()
	d := Decision{App: next, Actions: t.actions, Wake: t.wake, Events: t.events}
	d.Changed = !reflect.DeepEqual(app, next)
	d.Health, d.Reason, d.Message = t.judge()
	return d
}

// Clone copies what a step changes of an app.
func Clone(app ledger.App) ledger.App { return app.Clone() }

func (t *turn) now() time.Time { return t.obs.Now }

// wakeAt asks for another step at a moment.
func (t *turn) wakeAt(at time.Time) {
	if at.IsZero() {
		return
	}
	if t.wake.IsZero() || at.Before(t.wake) {
		t.wake = at
	}
}

// services returns the names in order, so that decisions do not depend on the
// order of a map.
func (t *turn) services() []string { return slices.Sorted(maps.Keys(t.app.Services)) }

// changes returns the names of the rollout's changes in order.
func (t *turn) changes() []string {
	if t.app.Rollout == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(t.app.Rollout.Changes))
}

// service returns a service's entry, which it makes.
func (t *turn) service(name string) *ledger.Service {
	if t.app.Services == nil {
		t.app.Services = map[string]*ledger.Service{}
	}
	s := t.app.Services[name]
	if s == nil {
		s = &ledger.Service{Name: name}
		t.app.Services[name] = s
	}
	return s
}

// change returns a service's change under way, or nil.
func (t *turn) change(name string) *ledger.Change {
	if t.app.Rollout == nil {
		return nil
	}
	return t.app.Rollout.Changes[name]
}

// container returns an instance's container.
func (t *turn) container(i *ledger.Instance) (engine.Container, bool) {
	if i.Container == "" {
		return engine.Container{}, false
	}
	c, ok := t.obs.Containers[i.Container]
	return c, ok
}

// act asks for an action unless it failed and is not due again. It returns the
// failure, if there is one.
func (t *turn) act(a Action) *Failed {
	key := a.Key()
	f, failed := t.obs.Failures[key]
	if failed && t.trouble == nil && a.Kind != Health && a.Kind != Rename {
		t.trouble = &f
	}
	if failed && t.now().Before(f.Next) {
		t.wakeAt(f.Next)
		return &f
	}
	if !t.emitted[key] {
		t.emitted[key] = true
		t.actions = append(t.actions, a)
	}
	if failed {
		return &f
	}
	return nil
}

// forgetActions takes back what was asked for after mark.
func (t *turn) forgetActions(mark int) {
	for _, a := range t.actions[mark:] {
		delete(t.emitted, a.Key())
	}
	t.actions = t.actions[:mark]
}

// on is an action on one container.
func on(kind Kind, name string, d *ledger.Deployed, i *ledger.Instance) Action {
	return Action{Kind: kind, Service: name, Release: d.ID, Instance: *i, Container: i.Container}
}

// applied says that the ambassador serves what the ledger, as it stands by
// now, asks for.
func (t *turn) applied() bool {
	if !t.isGiven {
		t.given, t.isGiven = Traffic(*t.was, t.obs.Containers), true
	}
	now := Traffic(*t.app, t.obs.Containers)
	if len(now) == 0 && len(t.given) == 0 {
		return true
	}
	return t.obs.Applied && reflect.DeepEqual(now, t.given)
}

// report is what the ambassador says of a release.
func (t *turn) report(name string, d *ledger.Deployed) (traffic.ReleaseReport, bool) {
	r, ok := t.obs.Traffic[t.app.ID()+"/"+name][d.Table()]
	return r, ok
}

// endpoint is what the ambassador says of one container in its present run.
func (t *turn) endpoint(name string, d *ledger.Deployed, c *engine.Container) (traffic.EndpointReport, bool) {
	rep, _ := t.report(name, d)
	for _, e := range rep.Endpoints {
		if e.Container == c.ID && e.Started.Equal(c.Started) {
			return e, true
		}
	}
	return traffic.EndpointReport{}, false
}

// alive says that a container has a process, running or frozen.
func alive(c *engine.Container) bool {
	switch c.State {
	case engine.Running, engine.Paused, engine.Restarting, engine.Removing:
		return true
	case engine.Created, engine.Exited, engine.Dead:
	}
	return false
}

// mayRun says that a container of d has a process, or that an action is under
// way on one, which may be a start whose end is not yet seen.
func (t *turn) mayRun(d *ledger.Deployed) bool {
	return t.anyAlive(d) || t.anyBusy(d)
}

func (t *turn) anyBusy(d *ledger.Deployed) bool {
	return d != nil && slices.ContainsFunc(d.Instances, func(i ledger.Instance) bool { return t.obs.Busy[i.Name] })
}

// anyAlive says that a container of d has a process.
func (t *turn) anyAlive(d *ledger.Deployed) bool {
	if d == nil {
		return false
	}
	for i := range d.Instances {
		if c, ok := t.container(&d.Instances[i]); ok && alive(&c) {
			return true
		}
	}
	return false
}
