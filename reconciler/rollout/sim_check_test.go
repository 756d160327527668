package rollout

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// leaves notes when a release loses the traffic: what it carries ends later,
// and nothing of it may come back by itself by then.
func (s *sim) leaves(sv traffic.Service, r traffic.Release, was traffic.ReleaseState) {
	key := sv.Name + "/" + r.Name
	if r.State == traffic.Active {
		delete(s.left, key)
	}
	had := was == traffic.Active || was == traffic.Canary
	if !had || r.State == traffic.Active || r.State == traffic.Canary {
		return
	}
	s.left[key] = s.now
	if was == traffic.Canary {
		return
	}
	name := strings.TrimPrefix(sv.Name, "prod/shop/")
	if ro := s.app.Rollout; ro == nil || ro.Changes[name] == nil || ro.Changes[name].Action != ledger.Replace {
		return
	}
	// A start-first set of which nothing runs gives the traffic back at once, and
	// its policy follows: two sets of it may run anyway.
	crashed := !s.isStopFirst(name) && !slices.ContainsFunc(s.containersOf(name, r.Name), func(c *simContainer) bool {
		return c.State == engine.Running && c.RestartCount == 0
	})
	for _, c := range s.containersOf(name, r.Name) {
		if c.Restart != "no" && !sv.Hold && !crashed {
			s.wrong("%s leaves active and would still come back", c.Name)
		}
	}
}

// containersOf are the containers of one set of a service.
func (s *sim) containersOf(service, set string) []*simContainer {
	var out []*simContainer
	for _, c := range s.cs {
		if c.service == service && c.set == set {
			out = append(out, c)
		}
	}
	return out
}

// known says that the saved ledger has a container.
func (s *sim) known(c *simContainer) bool {
	data, _ := json.Marshal(s.app)
	return strings.Contains(string(data), c.Labels[engine.LabelInstance])
}

// mayEnd checks that nothing is signalled that may have traffic.
func (s *sim) mayEnd(c *simContainer, kind Kind) {
	if left, ok := s.left["prod/shop/"+c.service+"/"+c.set]; ok && c.State == engine.Running {
		b := s.of(c)
		if s.now.Before(left.Add(b.requests)) {
			s.wrong("%s %s with requests in flight", kind, c.Name)
		}
		if s.now.Before(left.Add(b.tunnels)) && !s.isStopFirst(c.service) && !s.inUnit(c.service) {
			s.wrong("%s %s with tunnels", kind, c.Name)
		}
	}
	rep := s.report()
	for _, sv := range s.acked {
		s.mayLeave(c, kind, sv, rep[sv.Name])
		for _, r := range sv.Releases {
			if !slices.ContainsFunc(r.Endpoints, func(e traffic.Endpoint) bool { return e.Container == c.ID && e.Started.Equal(c.Started) }) || c.State != engine.Running {
				continue
			}
			switch {
			case r.State == traffic.Active, r.State == traffic.Canary:
				s.wrong("%s %s while it is %s", kind, c.Name, r.State)
			case r.State == traffic.Draining && !rep[sv.Name][r.Name].RequestsDrained:
				s.wrong("%s %s before it drained", kind, c.Name)
			case kind == Pause && r.State == traffic.Draining:
				s.wrong("pause %s while the table has it draining", c.Name)
			}
		}
	}
}

// mayLeave checks that an endpoint service that is replaced beside has another
// warm release when one of its containers ends.
func (s *sim) mayLeave(c *simContainer, kind Kind, sv traffic.Service, rep map[string]traffic.ReleaseReport) {
	svc := s.app.Services[c.service]
	if sv.Name != "prod/shop/"+c.service || !s.calm || sv.Hold || sv.Maintenance || svc == nil || svc.Active == nil || sv.Active == "" {
		return
	}
	if s.isStopFirst(c.service) || !slices.Contains([]Kind{Stop, Pause, Kill}, kind) || c.State != engine.Running {
		return
	}
	for _, e := range rep[sv.Active].Endpoints {
		if e.Warm && e.Container != c.ID {
			return
		}
	}
	s.wrong("%s %s while nothing else of %s is warm", kind, c.Name, sv.Name)
}

// checkPairs: no two releases of a stop-first service have a process.
func (s *sim) checkPairs() {
	sets := map[string]map[string]bool{}
	for _, c := range s.cs {
		if alive(&c.Container) && s.isStopFirst(c.service) {
			if sets[c.service] == nil {
				sets[c.service] = map[string]bool{}
			}
			sets[c.service][c.set] = true
		}
	}
	for name, m := range sets {
		if len(m) > 1 {
			s.wrong("two releases of stop-first %s run: %v", name, slices.Sorted(maps.Keys(m)))
		}
	}
	armed := map[string]string{}
	for _, c := range s.cs {
		if !s.isStopFirst(c.service) || c.Restart != "unless-stopped" {
			continue
		}
		if had := armed[c.service]; had != "" && had != c.set {
			s.wrong("two releases of stop-first %s would come back", c.service)
		}
		armed[c.service] = c.set
	}
}

// inUnit says that a service is replaced as its unit is: stop-first here.
func (s *sim) inUnit(name string) bool {
	return s.app.Services["u"] != nil && name == "a"
}

func (s *sim) isStopFirst(name string) bool {
	for _, sv := range []*ledger.Deployed{Serving(&s.app, name)} {
		if sv != nil && sv.Service.Order == manifests.StopFirst {
			return true
		}
	}
	if r := s.app.Rollout; r != nil && r.Changes[name] != nil {
		return r.Changes[name].Order == manifests.StopFirst
	}
	return false
}

// served: every service whose release does not fail by itself has a container
// with traffic, or holds; after an accident, again within two seconds.
func (s *sim) served() {
	for _, sv := range s.acked {
		svc := s.app.Services[strings.TrimPrefix(sv.Name, "prod/shop/")]
		if svc == nil || svc.Active == nil || sv.Hold || sv.Maintenance || svc.Stopped != nil {
			continue
		}
		up := false
		for _, r := range sv.Releases {
			for _, e := range r.Endpoints {
				c := s.cs[e.Container]
				up = up || r.Name == sv.Active && c != nil && (c.State == engine.Running || c.State == engine.Restarting || s.of(c).exitAfter > 0)
			}
		}
		if up {
			delete(s.down, sv.Name)
			continue
		}
		if _, ok := s.down[sv.Name]; !ok {
			s.down[sv.Name] = s.now
		}
		if since := s.down[sv.Name]; s.now.Sub(since) > 2*time.Second && s.now.After(svc.NextStart) {
			s.wrong("%s has nobody that serves since %s", sv.Name, since.Sub(s.start))
		}
	}
}

// check looks at what must always hold.
func (s *sim) check() {
	s.checkPairs()
	s.checkCanaries()
	for _, sv := range s.acked {
		name := strings.TrimPrefix(sv.Name, "prod/shop/")
		svc := s.app.Services[name]
		if svc == nil || svc.Active == nil || sv.Hold || sv.Maintenance {
			continue
		}
		if sv.Active == "" {
			s.wrong("%s has a promoted release, and neither traffic nor hold", name)
		}
	}
}

// checkCanaries: a share, or copies, go only to a release in the state of a
// canary beside an active one, whose containers were warm; and a release is in
// that state for nothing else.
func (s *sim) checkCanaries() {
	rep := s.report()
	for _, sv := range s.acked {
		given := ""
		if sv.Split != nil {
			given = sv.Split.Release
		}
		if sv.Mirror != nil {
			given = sv.Mirror.Release
		}
		found := given == ""
		for _, r := range sv.Releases {
			if r.State != traffic.Canary {
				continue
			}
			found = found || r.Name == given
			if sv.Active == "" || sv.Hold {
				s.wrong("%s has a canary and nobody active", sv.Name)
			}
			for _, e := range rep[sv.Name][r.Name].Endpoints {
				if c := s.cs[e.Container]; s.calm && !e.Warm && c != nil && c.Started.Equal(e.Started) {
					s.wrong("%s has a share and was never warm", c.Name)
				}
			}
		}
		if !found {
			s.wrong("%s gives a share to %s, which is no canary", sv.Name, given)
		}
	}
}
