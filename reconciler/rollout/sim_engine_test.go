package rollout

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
)

// nextEvent is the next moment at which a container or a report changes.
func (s *sim) nextEvent() time.Time {
	var at time.Time
	soon := func(t time.Time) {
		if t.After(s.now) && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	for _, c := range s.cs {
		if c.State == engine.Restarting {
			soon(c.back)
		}
		if c.State != engine.Running {
			continue
		}
		b := s.of(c)
		for _, d := range []time.Duration{b.warmAfter, b.exitAfter, b.unhealthyAt, b.healthyAt, b.sickAt} {
			if d > 0 {
				soon(c.Started.Add(d))
			}
		}
	}
	for _, sv := range s.acked {
		for _, r := range sv.Releases {
			for _, e := range r.Endpoints {
				if c := s.cs[e.Container]; c != nil && r.State == traffic.Draining {
					b := s.of(c)
					soon(s.since[sv.Name+"/"+r.Name].Add(b.requests))
					soon(s.since[sv.Name+"/"+r.Name].Add(b.tunnels))
				}
			}
		}
	}
	return at
}

// pass lets containers do what is due.
func (s *sim) pass() {
	for _, id := range slices.Sorted(maps.Keys(s.cs)) {
		c := s.cs[id]
		if c.State == engine.Restarting && !s.now.Before(c.back) {
			c.State, c.Started = engine.Running, s.now
		}
		if c.State != engine.Running {
			continue
		}
		b := s.of(c)
		age := s.now.Sub(c.Started)
		if b.exitAfter > 0 && age >= b.exitAfter {
			s.die(c, b.exitCode)
			continue
		}
		if b.unhealthyAt > 0 && age >= b.unhealthyAt {
			c.Health = "unhealthy"
		} else if b.healthyAt > 0 && age >= b.healthyAt {
			c.Health = "healthy"
		}
	}
}

// die ends a container by itself; the engine restarts it if its policy says so.
func (s *sim) die(c *simContainer, code int) {
	c.ExitCode, c.Finished = code, s.now
	if c.Restart == "unless-stopped" {
		s.logf("engine restarts %s", c.Name)
		c.State, c.Health = engine.Restarting, ""
		c.back = s.now.Add(min(time.Minute, 100*time.Millisecond<<min(c.RestartCount, 20)))
		c.RestartCount++
		return
	}
	s.logf("%s exits with %d", c.Name, code)
	c.State = engine.Exited
}

func (s *sim) fail(a Action, err error, passing bool) {
	f := s.failures[a.Key()]
	f.Attempts++
	f.Err, f.Message, f.Passing = err, err.Error(), passing
	f.Next = s.now.Add(a.Retry(f.Attempts))
	f.Reason = status.HealthCheckFailed
	if passing {
		f.Reason = status.EngineUnavailable
	}
	s.failures[a.Key()] = f
}

var errSim = errors.New("simulated")

// do carries one action out.
func (s *sim) do(a Action) {
	quiet := a.Kind == Acquire || a.Kind == Network || a.Kind == Release_ || a.Kind == Health
	what := a.Service + " " + s.tagOf(a)
	if c := s.cs[a.Container]; c != nil {
		what = c.Name
	}
	if a.Kind == Create {
		what = a.Instance.Name
	}
	extra := a.Policy
	if a.Kind == Rename {
		extra = "→ " + a.Name
	}
	if !quiet {
		s.logf("%s %s %s", a.Kind, strings.TrimSpace(what), extra)
	}
	if s.doShared(a) {
		return
	}
	c := s.cs[a.Container]
	if c == nil {
		if a.Kind != Remove && a.Kind != Stop {
			s.fail(a, engine.ErrNotFound, true)
		}
		return
	}
	if s.doOne(a, c) {
		delete(s.failures, a.Key())
	}
}

func (s *sim) tagOf(a Action) string {
	if a.Deployed != nil {
		return a.Deployed.Tag
	}
	return ""
}

func (s *sim) doShared(a Action) bool {
	switch a.Kind {
	case Acquire:
		s.granted = true
	case Release_:
		s.granted = false
	case Network:
		s.networks = true
	case Pull:
		if key := a.Service + " " + a.Deployed.Tag; s.behave[key].pullFails > s.pullErrs[key] {
			s.pullErrs[key]++
			s.fail(a, errSim, true)
			return true
		}
		s.pulled[a.Image] = true
	case Create:
		s.create(a)
		return true
	default:
		return false
	}
	delete(s.failures, a.Key())
	return true
}

func (s *sim) create(a Action) {
	if s.behave[a.Service+" "+a.Deployed.Tag].createFails {
		s.fail(a, errSim, false)
		return
	}
	for _, c := range s.cs {
		if c.Labels[engine.LabelInstance] == a.Instance.Key {
			return
		}
		if c.Name == a.Instance.Name {
			s.fail(a, engine.ErrConflict, true)
			return
		}
	}
	if a.Policy != "no" {
		s.wrong("%s is created with restart %q", a.Instance.Name, a.Policy)
	}
	s.next++
	id := fmt.Sprintf("c%03d", s.next)
	s.cs[id] = &simContainer{
		Container: engine.Container{
			ID: id, Name: a.Instance.Name, State: engine.Created, Created: s.now, Restart: a.Policy,
			Labels: map[string]string{
				engine.LabelInstance: a.Instance.Key, engine.LabelService: a.Service, engine.LabelRelease: a.Release,
				engine.LabelApp: "shop", engine.LabelEnvironment: "prod",
			},
			Addresses: map[string]netip.Addr{"shop_default": netip.AddrFrom4([4]byte{10, 210, byte(s.next >> 8), byte(s.next)})},
		},
		service: a.Service, tag: a.Deployed.Tag, set: a.Deployed.Table(),
	}
	delete(s.failures, a.Key())
}

func (s *sim) doOne(a Action, c *simContainer) bool {
	switch a.Kind {
	case Start:
		s.startOne(c)
	case Stop, Kill:
		if c.State == engine.Paused {
			s.fail(a, engine.ErrConflict, true)
			return false
		}
		s.mayEnd(c, a.Kind)
		if alive(&c.Container) {
			c.State, c.Finished, c.ExitCode = engine.Exited, s.now, 0
		}
		c.manual = true
	case Pause:
		s.mayEnd(c, a.Kind)
		if c.State == engine.Running {
			c.State = engine.Paused
		}
	case Unpause:
		if c.State == engine.Paused {
			c.State = engine.Running
		}
	case Remove:
		s.removeOne(c)
	case SetRestart:
		c.Restart = a.Policy
	case Rename:
		for _, o := range s.cs {
			if o != c && o.Name == a.Name {
				s.fail(a, engine.ErrConflict, true)
				return false
			}
		}
		c.Name = a.Name
	case Health:
		b := s.of(c)
		if c.State != engine.Running || b.healthyAt == 0 || s.now.Sub(c.Started) < b.healthyAt {
			s.fail(a, errSim, true)
			return false
		}
		s.healthy[c.ID] = c.Started
	case PostStart:
		s.hooked(a.Instance.Key, c.Started)
	case PreStop, Capture:
	default:
		s.wrong("unknown action %s", a.Kind)
	}
	return true
}

// hooked notes in the ledger that post_start ran, as the agent does.
func (s *sim) hooked(key string, at time.Time) {
	app := s.app.Clone()
	t := &turn{app: &app}
	for _, name := range t.everyName() {
		for _, d := range t.sets(name) {
			for k := range d.Instances {
				if d.Instances[k].Key == key {
					d.Instances[k].Hooked = at
				}
			}
		}
	}
	s.app = app
}

func (s *sim) startOne(c *simContainer) {
	if c.State == engine.Running {
		return
	}
	c.State, c.Started, c.Health, c.manual, c.RestartCount = engine.Running, s.now, "", false, 0
	c.ExitCode, c.OOMKilled = 0, false
	for _, o := range s.cs {
		if o.service == c.service && o.set != c.set && o.Restart != "no" && s.isStopFirst(c.service) {
			s.wrong("%s starts while %s would come back", c.Name, o.Name)
		}
	}
	s.checkPairs()
}

func (s *sim) removeOne(c *simContainer) {
	if c.State == engine.Running || c.State == engine.Paused {
		s.wrong("%s is removed while it runs", c.Name)
	}
	if !s.known(c) {
		s.wrong("%s is removed and is not in the ledger", c.Name)
	}
	delete(s.cs, c.ID)
}

// engineRestart ends every container; the engine brings back what its policy
// says.
func (s *sim) engineRestart() {
	s.boot++
	s.logf("engine restarts")
	s.tick(time.Second)
	for _, id := range slices.Sorted(maps.Keys(s.cs)) {
		c := s.cs[id]
		if alive(&c.Container) {
			c.State, c.ExitCode, c.Finished, c.Health = engine.Exited, 137, s.now, ""
		} else {
			continue
		}
		if c.Restart == "unless-stopped" && !c.manual {
			c.State, c.Started = engine.Running, s.now
			s.logf("engine brings back %s", c.Name)
		}
	}
	s.checkPairs()
	s.pending = nil
	s.networks, s.pulled, s.healthy, s.failures, s.granted = false, map[string]bool{}, map[string]time.Time{}, map[string]Failed{}, false
}
