package rollout

import (
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// level is how far a container has come.
type level int

const (
	coming level = iota
	up
	died
)

// raise brings one container towards running: it is created, started or
// unpaused. died says that it ended by itself.
func (t *turn) raise(name string, d *ledger.Deployed, i *ledger.Instance) (level, *Failed) {
	c, ok := t.container(i)
	if !ok {
		return coming, t.create(name, d, i)
	}
	switch c.State {
	case engine.Running:
		if t.outlived(name, d, i, &c) {
			return coming, t.recreate(name, d, i, &c)
		}
		return up, nil
	case engine.Paused:
		return coming, t.act(on(Unpause, name, d, i))
	case engine.Exited, engine.Dead, engine.Created:
		if c.State != engine.Created && c.Started.After(i.Epoch) {
			return died, nil
		}
		return coming, t.start(name, d, i)
	case engine.Restarting:
		return died, nil
	case engine.Removing:
	}
	return coming, nil
}

// create asks for the container of an instance.
func (t *turn) create(name string, d *ledger.Deployed, i *ledger.Instance) *Failed {
	a := on(Create, name, d, i)
	a.Deployed, a.Image, a.Policy = d.Clone(), "", "no"
	if _, joins := t.owner(name, d, i); joins {
		o, ok := t.ownerContainer(name, d, i)
		if !ok {
			return nil // the owner of its namespaces comes first
		}
		a.Owner = o.ID
	}
	return t.act(a)
}

// start asks for a start, unless another set of a stop-first service still has
// a process, or the owner of the namespaces does not run yet.
func (t *turn) start(name string, d *ledger.Deployed, i *ledger.Instance) *Failed {
	if t.rival(name, d) {
		return nil
	}
	if _, joins := t.owner(name, d, i); joins {
		if o, ok := t.ownerContainer(name, d, i); !ok || o.State != engine.Running {
			return nil
		}
	}
	return t.act(on(Start, name, d, i))
}

// rival says that starting d would run two releases of a stop-first service at
// once. It is the last guard, whatever led here.
func (t *turn) rival(name string, d *ledger.Deployed) bool {
	for _, other := range t.sets(name) {
		if other == d || d.Service.Order != manifests.StopFirst && other.Service.Order != manifests.StopFirst {
			continue
		}
		if t.mayRun(other) && !t.scaling(name) {
			return true
		}
	}
	return false
}

func (t *turn) scaling(name string) bool {
	c := t.change(name)
	return c != nil && c.Action == ledger.Scale
}

// owner returns the service whose namespaces an instance joins.
func (t *turn) owner(name string, d *ledger.Deployed, _ *ledger.Instance) (string, bool) {
	unit := d.Service.Unit
	return unit, unit != "" && unit != name
}

// ownerContainer is the owner's container of the same index, in the same
// place: a candidate joins a candidate.
func (t *turn) ownerContainer(name string, d *ledger.Deployed, i *ledger.Instance) (engine.Container, bool) {
	unit, _ := t.owner(name, d, i)
	o := t.sibling(name, unit, d)
	if o == nil {
		return engine.Container{}, false
	}
	for k := range o.Instances {
		if o.Instances[k].Index == i.Index || len(o.Instances) == 1 {
			return t.container(&o.Instances[k])
		}
	}
	return engine.Container{}, false
}

// sibling returns the set of another service that stands where d stands.
func (t *turn) sibling(name, other string, d *ledger.Deployed) *ledger.Deployed {
	s, o := t.app.Services[name], t.app.Services[other]
	if c := t.change(name); c != nil && c.To == d {
		if oc := t.change(other); oc != nil && oc.Action == ledger.Replace {
			return oc.To
		}
	} else if s != nil && o != nil && s.Standby == d {
		return o.Standby
	}
	if o == nil {
		return nil
	}
	return o.Active
}

// outlived says that the owner of a joiner's namespaces started after it: it
// hangs in namespaces that are gone.
func (t *turn) outlived(name string, d *ledger.Deployed, i *ledger.Instance, c *engine.Container) bool {
	if _, joins := t.owner(name, d, i); !joins {
		return false
	}
	o, ok := t.ownerContainer(name, d, i)
	return ok && o.State == engine.Running && c.Started.Before(o.Started)
}

// recreate takes a container away; the next step makes it again.
func (t *turn) recreate(name string, d *ledger.Deployed, i *ledger.Instance, c *engine.Container) *Failed {
	if f := t.stop(name, d, i, c); f != nil {
		return f
	}
	return t.act(on(Remove, name, d, i))
}

// stop ends a container as its manifest says: hooks, signal, grace.
func (t *turn) stop(name string, d *ledger.Deployed, i *ledger.Instance, c *engine.Container) *Failed {
	i.Epoch = c.Started
	if c.State == engine.Removing {
		return nil
	}
	if c.State == engine.Paused {
		t.act(on(Unpause, name, d, i))
	} else if hooks := d.Service.Container.PreStop; len(hooks) > 0 && c.State == engine.Running {
		a := on(PreStop, name, d, i)
		a.Hooks = hooks
		t.act(a)
	}
	a := on(Stop, name, d, i)
	a.Signal, a.Grace = d.Service.Container.StopSignal, grace(&d.Service)
	return t.act(a)
}

// halt stops all of d and says when nothing of it has a process any more.
func (t *turn) halt(name string, d *ledger.Deployed) bool {
	if d == nil {
		return true
	}
	for k := range d.Instances {
		i := &d.Instances[k]
		if c, ok := t.container(i); ok && alive(&c) {
			t.stop(name, d, i, &c)
		}
	}
	return !t.mayRun(d)
}

// disarm waits until no container of d would come back by itself. An action
// under way may be the one that arms it, so its end is waited for.
func (t *turn) disarm(name string, d *ledger.Deployed) bool {
	if d == nil {
		return true
	}
	all := !t.anyBusy(d)
	for k := range d.Instances {
		i := &d.Instances[k]
		if c, ok := t.container(i); ok && c.Restart != "no" && c.Restart != "" {
			a := on(SetRestart, name, d, i)
			a.Policy = "no"
			t.act(a)
			all = false
		}
	}
	return all
}

// verdict is what became of a set that is being made ready.
type verdict struct {
	ready   bool
	failure *ledger.Failure
}

// bring makes the containers of d ready, at most update_config's parallelism
// at once, and says whether they are, or why they never will be.
func (t *turn) bring(name string, d *ledger.Deployed) verdict {
	c := t.change(name)
	if c != nil && c.To != d {
		c = nil
	}
	ready, limit := 0, t.batch(c, d)
	for k := range d.Instances[:limit] {
		ok, failure := t.bringOne(name, d, &d.Instances[k])
		if failure != nil {
			return verdict{failure: failure}
		}
		if ok {
			ready++
		}
	}
	if c != nil && ready > c.Ready {
		c.Ready, c.ReadyAt = ready, t.now()
		t.app.Rollout.Progress = t.now()
	}
	return verdict{ready: ready == len(d.Instances)}
}

// batch is how many containers of d may be on their way or ready by now.
func (t *turn) batch(c *ledger.Change, d *ledger.Deployed) int {
	all, p := len(d.Instances), d.Service.Update.Parallelism
	if c == nil || p <= 0 {
		return all
	}
	if c.Ready > 0 && c.Ready%p == 0 && c.Ready < all {
		if next := c.ReadyAt.Add(d.Service.Update.Delay); t.now().Before(next) {
			t.wakeAt(next)
			return c.Ready
		}
	}
	return min(all, c.Ready/p*p+p)
}

// bringOne makes one container ready.
func (t *turn) bringOne(name string, d *ledger.Deployed, i *ledger.Instance) (bool, *ledger.Failure) {
	lv, f := t.raise(name, d, i)
	if f != nil && !f.Passing {
		return false, t.blame(name, d, f)
	}
	c, _ := t.container(i)
	if lv == died {
		return false, t.broken(name, d, death(&c))
	}
	ok, why := false, "it did not start"
	if lv == up {
		ok, why = t.ready(name, d, i, &c)
		if !ok && c.Health == "unhealthy" && !t.onlyWarns(name, d) {
			return false, t.broken(name, d, unhealthy(&c))
		}
		if f, bad := t.obs.Failures[on(PostStart, name, d, i).Key()]; bad && !f.Passing && !ok {
			return false, t.broken(name, d, f.Message)
		}
	}
	if ok || lv != up {
		return ok, nil
	}
	limit := t.warmSince(&c).Add(WarmingDeadline(&d.Release))
	if t.now().Before(limit) {
		t.wakeAt(limit)
		return false, nil
	}
	if t.unseen(name, d, &c) {
		return false, &ledger.Failure{
			Service: name, Release: d.ID, Reason: status.Interrupted, Retry: true,
			Message: "the ambassador does not answer, so nothing could say whether " + name + " is ready",
		}
	}
	return false, t.broken(name, d, "not ready after "+WarmingDeadline(&d.Release).String()+": "+why)
}

// unseen says that the ambassador, which is to check the container, has not
// reported of it: that is not the release's fault.
func (t *turn) unseen(name string, d *ledger.Deployed, c *engine.Container) bool {
	if d.Service.Kind != manifests.KindEndpoint || len(probes(&d.Release)) == 0 {
		return false
	}
	_, ok := t.endpoint(name, d, c)
	return !ok
}

// warmSince is when a container's warming began: at its start, or, for one
// that was unpaused, with the rollout's present step.
func (t *turn) warmSince(c *engine.Container) time.Time {
	if r := t.app.Rollout; r != nil && r.Since.After(c.Started) {
		return r.Since
	}
	return c.Started
}

// blame makes a failure of an action that will not pass.
func (t *turn) blame(name string, d *ledger.Deployed, f *Failed) *ledger.Failure {
	fail := t.broken(name, d, f.Message)
	if f.Reason != "" {
		fail.Reason = f.Reason
	}
	fail.Quarantine = fail.Reason == status.HealthCheckFailed || fail.Reason == status.JobFailed
	return fail
}

// broken is a failure of the release itself.
func (t *turn) broken(name string, d *ledger.Deployed, message string) *ledger.Failure {
	return &ledger.Failure{Service: name, Release: d.ID, Reason: status.HealthCheckFailed, Message: message, Quarantine: true}
}
