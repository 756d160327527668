package rollout

import (
	"fmt"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

const (
	// firstPause follows the second crash in a row, longPause is the longest.
	firstPause = time.Second
	longPause  = 5 * time.Minute
	// loopAfter is how many crashes in a row make a CrashLoop.
	loopAfter = 5
	// stableAfter is how long a container runs until its crashes are forgotten.
	stableAfter = time.Minute
)

// keepAll keeps what is promoted as it is to be, also while other services
// are rolled out. It leaves alone what a rollout is exchanging, and everything
// while a person has suspended the app.
func (t *turn) keepAll() {
	if o := t.app.Suspended; o != nil && (o.Until.IsZero() || t.now().Before(o.Until)) {
		t.wakeAt(o.Until)
		return
	}
	t.keepNetworks()
	for _, name := range t.services() {
		s := t.app.Services[name]
		if s.Active == nil || !t.steady(name) {
			continue
		}
		if s.Stopped != nil {
			t.keepStopped(name, s)
			continue
		}
		t.resize(name, s)
		for k := range s.Active.Instances {
			t.keep(name, s, &s.Active.Instances[k])
		}
		t.spill(name, s)
	}
}

// keepNetworks makes the app's networks and service addresses anew where they
// are not known to stand: after a restart of the engine, the host or the agent.
func (t *turn) keepNetworks() {
	if t.obs.Networks || t.app.Rollout != nil {
		return
	}
	for _, name := range t.services() {
		if t.app.Services[name].Active != nil {
			t.act(Action{Kind: Network, Release: t.app.Revision})
			return
		}
	}
}

// steady says that a service's active set serves and no rollout is taking it
// out of service.
func (t *turn) steady(name string) bool {
	c := t.change(name)
	if c == nil || c.Action != ledger.Replace {
		return true
	}
	return !c.Switched && !c.Holding && !c.Disarmed
}

// keep repairs one container of the active set.
func (t *turn) keep(name string, s *ledger.Service, i *ledger.Instance) {
	d := s.Active
	c, ok := t.container(i)
	if !ok {
		t.repair(name, d, i)
		return
	}
	switch c.State {
	case engine.Running:
		t.keepRunning(name, s, i, &c)
	case engine.Paused:
		t.act(on(Unpause, name, d, i))
	case engine.Exited, engine.Dead, engine.Created:
		t.revive(name, s, i, &c)
	case engine.Restarting, engine.Removing:
	}
}

// repair makes a container again that is gone.
func (t *turn) repair(name string, d *ledger.Deployed, i *ledger.Instance) {
	if was := t.formerContainer(name, i.Key); was != "" {
		t.event(event{service: name, release: &d.Release, reason: status.Progressing, severity: "warning", text: "container " + i.Name + " of " + name + " is gone and is made again"})
	}
	if !t.obs.Networks && t.app.Rollout != nil {
		t.act(Action{Kind: Network, Release: d.Revision})
	}
	if ref := d.Reference(); !t.obs.Pulled[ref] {
		t.act(Action{Kind: Pull, Service: name, Release: d.ID, Image: ref, Platform: d.Service.Container.Platform, Deployed: d.Clone()})
		return
	}
	if t.obs.Networks {
		t.create(name, d, i)
	}
}

// formerContainer is the container that an active instance had when the turn
// began.
func (t *turn) formerContainer(name, key string) string {
	s := t.was.Services[name]
	if s == nil || s.Active == nil {
		return ""
	}
	for _, i := range s.Active.Instances {
		if i.Key == key {
			return i.Container
		}
	}
	return ""
}

func (t *turn) keepRunning(name string, s *ledger.Service, i *ledger.Instance, c *engine.Container) {
	if t.outlived(name, s.Active, i, c) {
		t.recreate(name, s.Active, i, c)
		return
	}
	t.hooks(name, s.Active, i, c)
	if s.Crashes == 0 {
		return
	}
	if at := c.Started.Add(stableAfter); t.now().Before(at) {
		t.wakeAt(at)
		return
	}
	s.Crashes, s.NextStart = 0, time.Time{}
}

// revive starts a container that ended: the first time at once, then with
// growing pauses.
func (t *turn) revive(name string, s *ledger.Service, i *ledger.Instance, c *engine.Container) {
	if c.Started.After(i.Epoch) {
		i.Epoch = c.Started
		s.Crashes++
		s.NextStart = t.now()
		if s.Crashes > 1 {
			s.NextStart = t.now().Add(doubling(firstPause, longPause, s.Crashes-1))
		}
		t.crashEvent(name, s, c)
	}
	if t.now().Before(s.NextStart) {
		t.wakeAt(s.NextStart)
		return
	}
	t.start(name, s.Active, i)
}

func (t *turn) crashEvent(name string, s *ledger.Service, c *engine.Container) {
	e := event{service: name, release: &s.Active.Release, reason: status.Progressing, severity: "warning"}
	e.text = fmt.Sprintf("%s %s %s and is started again", name, tag(&s.Active.Release), death(c))
	if wait := s.NextStart.Sub(t.now()); wait > 0 {
		e.text = fmt.Sprintf("%s %s %s; started again in %s (crash %d in a row)", name, tag(&s.Active.Release), death(c), wait, s.Crashes)
	}
	if s.Crashes >= loopAfter {
		e.reason, e.severity = status.CrashLoop, "error"
	}
	t.event(e)
}

// resize adds containers that the release asks for and the ledger does not
// have.
func (t *turn) resize(name string, s *ledger.Service) {
	a := s.Active
	if c := t.change(name); c != nil && c.Action == ledger.Scale {
		return
	}
	for index := 1; len(a.Instances) < a.Service.Replicas; index++ {
		if !hasIndex(a.Instances, index) {
			a.Instances = append(a.Instances, t.newInstance(name, &a.Release, index))
		}
	}
}

func hasIndex(list []ledger.Instance, index int) bool {
	for _, i := range list {
		if i.Index == index {
			return true
		}
	}
	return false
}

// stopEnds is when a person's stop is over; zero for when a person ends it.
func (t *turn) stopEnds(o *ledger.Override) time.Time {
	if !o.Until.IsZero() || o.Enforced {
		return o.Until
	}
	return o.At.Add(t.obs.StopRespect)
}

// keepStopped honours a person's stop: nothing is started, and where the stop
// is ours to carry out, what runs is stopped once its requests have ended.
func (t *turn) keepStopped(name string, s *ledger.Service) {
	d := s.Active
	t.excuse(d)
	if !s.Stopped.Enforced {
		return
	}
	if d.Service.Kind == manifests.KindEndpoint && t.anyAlive(d) && !t.quiet(name, d) {
		return
	}
	t.halt(name, d)
}

// excuse makes the exits so far of d's containers ones that were asked for.
func (t *turn) excuse(d *ledger.Deployed) {
	for k := range d.Instances {
		i := &d.Instances[k]
		if c, ok := t.container(i); ok && !alive(&c) {
			i.Epoch = c.Started
		}
	}
}

// spill thaws the standby of an endpoint service whose active release is down,
// so that the ambassador may send requests there, and freezes it again later.
func (t *turn) spill(name string, s *ledger.Service) {
	if s.Standby == nil || s.Active.Service.Kind != manifests.KindEndpoint {
		return
	}
	state, _ := t.standbySettings(s, s.Standby)
	if state != manifests.StandbyPaused || len(s.Active.Instances) == 0 || !t.anyAlive(s.Standby) {
		return
	}
	down := !t.anyGood(name, s.Active)
	if down && s.Standby.Frozen {
		t.event(event{
			service: name, release: &s.Standby.Release, reason: status.HealthCheckFailed, severity: "error",
			text: fmt.Sprintf("%s %s is down; requests go to %s until it is back", name, tag(&s.Active.Release), tag(&s.Standby.Release)),
		})
	}
	s.Standby.Frozen = !down
}

// anyGood says that a container of the active set runs and is not known to
// fail its checks.
func (t *turn) anyGood(name string, d *ledger.Deployed) bool {
	for k := range d.Instances {
		c, ok := t.container(&d.Instances[k])
		if !ok || c.State != engine.Running {
			continue
		}
		if e, ok := t.endpoint(name, d, &c); !ok || e.Good || !e.Warm && e.Checked == 0 {
			return true
		}
	}
	return false
}
