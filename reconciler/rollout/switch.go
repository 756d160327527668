package rollout

import (
	"strings"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// exchanging replaces the stop-first endpoint services of a wave: new requests
// wait, those in flight end, the old containers stop, the new ones start and
// warm. Requests wait on until the switch.
func (t *turn) exchanging(w *ledger.Wave) {
	all := true
	t.endpoints(w, func(name string, c *ledger.Change) {
		if t.style(name) == exchange && !c.Switched && !t.vacate(name, c, t.service(name).Active) {
			all = false
		}
	})
	if !t.attend(w) || !all {
		return
	}
	t.toStep(ledger.AfterJobs)
}

// vacate takes a set out of service so that another may start in its place:
// requests wait, nothing of it comes back by itself, what is in flight ends,
// it stops. It returns true when nothing of it has a process.
func (t *turn) vacate(name string, c *ledger.Change, out *ledger.Deployed) bool {
	c.Holding, c.Disarmed = true, true
	if out == nil {
		return true
	}
	disarmed := t.disarm(name, out)
	if !t.anyAlive(out) {
		return disarmed // waits for what is under way, too
	}
	return disarmed && t.quiet(name, out) && t.halt(name, out)
}

// quiet says that no request is in flight on d, nor on its unit, and none can
// begin. Tunnels are not waited for.
func (t *turn) quiet(name string, d *ledger.Deployed) bool {
	if !t.applied() {
		return false
	}
	for _, member := range t.unitMembers(name) {
		o := d
		if member != name {
			o = t.sibling(name, member, d)
		}
		if o == nil || o.Service.Kind != manifests.KindEndpoint || !t.anyAlive(o) {
			continue
		}
		rep, ok := t.report(member, o)
		if !ok || waiting(rep.State) || !rep.RequestsDrained {
			return false
		}
	}
	return true
}

// drained says that nothing is in flight on d, tunnels included, and nothing
// can begin.
func (t *turn) drained(name string, d *ledger.Deployed) bool {
	if !t.anyAlive(d) {
		return true
	}
	if d.Service.Kind != manifests.KindEndpoint {
		return true
	}
	rep, ok := t.report(name, d)
	return t.applied() && ok && !waiting(rep.State) && rep.Drained
}

// waiting says that a release has new requests, or is about to.
func waiting(s traffic.ReleaseState) bool {
	return s == traffic.Active || s == traffic.Warming || s == traffic.Canary
}

// unitMembers are the services that share namespaces with name, itself among
// them.
func (t *turn) unitMembers(name string) []string {
	unit := t.unitOf(name)
	var out []string
	for _, n := range t.everyName() {
		if n == name || t.unitOf(n) == unit {
			out = append(out, n)
		}
	}
	return out
}

// switching moves the traffic of a wave in one table generation. What is about
// to leave is disarmed first, so that an engine's restart at this moment
// brings back nothing but the active set.
func (t *turn) switching(w *ledger.Wave) {
	pending, ready := false, true
	t.endpoints(w, func(name string, c *ledger.Change) {
		if c.Switched {
			return
		}
		pending = true
		c.Disarmed = true
		ready = t.disarm(name, t.service(name).Active) && ready
	})
	if pending && (!ready || !t.attend(w)) {
		return
	}
	t.flip(w)
	if t.applied() {
		t.tellSwitch(w)
		t.toStep(ledger.Replacing)
	}
}

// tellSwitch says which services of a wave got their traffic: the moment that
// a person waits for.
func (t *turn) tellSwitch(w *ledger.Wave) {
	var moved []string
	t.endpoints(w, func(name string, c *ledger.Change) {
		text := name + " " + tag(&c.To.Release)
		if from := t.service(name).Active; from != nil {
			text = name + " " + tag(&from.Release) + "→" + tag(&c.To.Release)
		}
		moved = append(moved, text)
	})
	if len(moved) > 0 {
		t.event(event{reason: status.Progressing, text: "switched: " + strings.Join(moved, ", ")})
	}
}

// flip makes the new sets of a wave the ones that serve.
func (t *turn) flip(w *ledger.Wave) {
	t.endpoints(w, func(name string, c *ledger.Change) {
		if !c.Switched {
			t.take(name, c)
		}
	})
	for _, name := range w.Services {
		switch c := t.change(name); {
		case c == nil || c.Switched:
		case c.Action == ledger.Scale:
			t.join(name, c)
		case c.Action == ledger.Settings && t.service(name).Active != nil:
			t.service(name).Active.Release = c.To.Release
			c.Switched = true
		}
	}
}

// take puts a change's new set in the place of the one that serves.
func (t *turn) take(name string, c *ledger.Change) {
	c.Switched, c.HadTraffic, c.Disarmed, c.Holding = true, true, false, false
	c.To.Drained, c.To.Frozen, c.Trial = false, false, nil
	for k := range c.To.Instances {
		i := &c.To.Instances[k]
		if ctr, ok := t.container(i); ok {
			i.Restarts = ctr.RestartCount
		}
	}
	if s := t.service(name); s.Active != nil {
		s.Active.Drained = !t.anyAlive(s.Active)
	}
}

// join adds the containers of a Scale to the active set.
func (t *turn) join(name string, c *ledger.Change) {
	s := t.service(name)
	c.Switched = true
	if s.Active == nil {
		return
	}
	s.Active.Service = c.To.Service
	s.Active.Instances = append(s.Active.Instances, c.To.Instances...)
	c.To.Instances = nil
}

// replacing exchanges the workers of a wave: their new code starts only now.
func (t *turn) replacing(w *ledger.Wave) {
	all := true
	t.inWave(w, func(name string, c *ledger.Change) {
		if c.Action != ledger.Replace || t.app.Rollout.Failure != nil {
			return
		}
		switch t.style(name) {
		case background:
			all = t.replaceWorker(name, c) && all
		case overlap:
			all = t.overlapWorker(name, c) && all
		case beside, exchange:
		}
	})
	if all && t.app.Rollout.Failure == nil {
		t.toStep(ledger.Switched)
	}
}

// replaceWorker stops the old containers, then starts the new ones.
func (t *turn) replaceWorker(name string, c *ledger.Change) bool {
	if !c.Switched {
		c.Disarmed = true
		s := t.service(name)
		if !t.disarm(name, s.Active) || !t.halt(name, s.Active) {
			return false
		}
		t.take(name, c)
	}
	return t.bringWorker(name, c)
}

// overlapWorker starts the new containers and stops the old ones once those
// are ready.
func (t *turn) overlapWorker(name string, c *ledger.Change) bool {
	if !c.Switched {
		t.take(name, c)
	}
	s := t.service(name)
	if !t.bringWorker(name, c) || !t.disarm(name, s.Active) || !t.halt(name, s.Active) {
		return false
	}
	if s.Active != nil {
		s.Active.Drained = true
	}
	return true
}

func (t *turn) bringWorker(name string, c *ledger.Change) bool {
	c.To.Frozen = false
	v := t.bring(name, c.To)
	if v.failure != nil {
		t.fail(*v.failure)
	}
	c.HealthyOnce = c.HealthyOnce || v.ready
	return v.ready
}
