package plan

import (
	"maps"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// Positions of a wave k: 3k its before-jobs, 3k+1 its services, 3k+2 its
// after-jobs.
const (
	slotBefore = iota
	slotServices
	slotAfter
	slots
)

// scheduler gives every changed service a position that follows those of its
// dependencies.
type scheduler struct {
	*planner
	at    map[string]int // by service
	state map[string]int // 1 being visited, 2 done
	path  []string
	cycle []string
}

// waves puts the changed services in order. Services that do not change take
// no position but pass their dependencies on.
func (p *planner) waves() ([]ledger.Wave, *Held) {
	s := &scheduler{planner: p, at: map[string]int{}, state: map[string]int{}}
	for _, name := range p.names() {
		s.visit(name)
	}
	if s.cycle != nil {
		return nil, &Held{
			Reason: status.LoadFailed, Service: s.cycle[0],
			Message: "depends_on goes in a circle: " + strings.Join(s.cycle, " → "),
			Remedy:  "remove one of these dependencies",
		}
	}
	if name := s.joinUnits(); name != "" {
		unit := p.want[name].Service.Unit
		return nil, &Held{
			Reason: status.LoadFailed, Service: name,
			Message: "depends_on goes in a circle: " + strings.Join(p.units[unit], ", ") + " are replaced together and wait for what waits for them",
			Remedy:  "remove one of these dependencies",
		}
	}
	s.delayJobs()
	return s.collect(), nil
}

// visit positions a service after its dependencies.
func (s *scheduler) visit(name string) {
	switch s.state[name] {
	case 1:
		if s.cycle == nil {
			start := slices.Index(s.path, name)
			s.cycle = append(slices.Clone(s.path[start:]), name)
		}
		return
	case 2:
		return
	}
	s.state[name] = 1
	s.path = append(s.path, name)
	after := -1
	for _, d := range s.dependencies(name) {
		s.visit(d)
		after = max(after, s.at[d])
	}
	s.at[name] = s.position(name, after)
	s.path = s.path[:len(s.path)-1]
	s.state[name] = 2
}

// position is the first one of the right slot behind after.
func (s *scheduler) position(name string, after int) int {
	c := s.changes[name]
	switch {
	case c == nil:
		return after
	case c.Action != ledger.Run:
		return next(after+1, slotServices)
	}
	if wave := s.tests(name); wave >= 0 && wave*slots+slotAfter >= after {
		return wave*slots + slotAfter
	}
	if after >= 0 && after%slots == slotBefore {
		return after // before-jobs of one wave run in order
	}
	return next(after+1, slotBefore)
}

// next is the first position of a slot that is not before from.
func next(from, slot int) int {
	return from + ((slot-from)%slots+slots)%slots
}

// tests returns the wave whose candidates a one-shot depends on, or -1. A
// data service has no candidate: what depends on it alone waits for it. Only a
// job without dependants is an after-job of a stop-first endpoint service,
// whose new container is up by then.
func (s *scheduler) tests(job string) int {
	wave := -1
	for _, d := range s.dependencies(job) {
		c := s.changes[d]
		if c == nil || c.Action != ledger.Replace || c.Kind != manifests.KindEndpoint {
			continue
		}
		if c.Order == manifests.StartFirst || len(s.waiting[job]) == 0 {
			wave = max(wave, s.at[d]/slots)
		}
	}
	return wave
}

// joinUnits moves the services of a unit into its latest member's wave, and
// their dependants behind it, until nothing moves. It returns a member of a
// unit that waits for its own unit by way of others, if there is one.
func (s *scheduler) joinUnits() (circular string) {
	if len(s.changes) == 0 || len(s.units) == len(s.want) {
		return ""
	}
	for range len(s.want) + 1 {
		circular = ""
		moved := false
		for _, name := range s.names() {
			at := max(s.at[name], s.latest(name), s.position(name, s.behind(name)))
			if at == s.at[name] {
				continue
			}
			s.at[name], moved = at, true
			if circular == "" || len(s.unit(name)) > 1 {
				circular = name
			}
		}
		if !moved {
			return ""
		}
	}
	return circular
}

// latest is the last position of a changed member of name's unit.
func (s *scheduler) latest(name string) int {
	at := -1
	if c := s.changes[name]; c == nil || c.Action == ledger.Run {
		return at
	}
	for _, other := range s.unit(name) {
		if s.changes[other] != nil {
			at = max(at, s.at[other])
		}
	}
	return at
}

// behind is the last position of what name waits for outside its unit.
func (s *scheduler) behind(name string) int {
	after := -1
	for _, d := range s.dependencies(name) {
		if s.want[d].Service.Unit != s.want[name].Service.Unit {
			after = max(after, s.at[d])
		}
	}
	return after
}

// delayJobs moves a before-job to the first wave of those that wait for it.
func (s *scheduler) delayJobs() {
	for range len(s.want) + 1 {
		moved := false
		for _, name := range s.names() {
			if c := s.changes[name]; c == nil || c.Action != ledger.Run || s.at[name]%slots != slotBefore {
				continue
			}
			first := -1
			for _, d := range s.waiting[name] {
				if s.changes[d] != nil && (first < 0 || s.at[d]/slots < first) {
					first = s.at[d] / slots
				}
			}
			if first*slots > s.at[name] {
				s.at[name] = first * slots
				moved = true
			}
		}
		if !moved {
			return
		}
	}
}

// collect makes the waves. What is dropped goes with the last one, so that a
// port moves from one service to another in one generation.
func (s *scheduler) collect() []ledger.Wave {
	byWave := map[int]*ledger.Wave{}
	for _, name := range s.inOrder() {
		c := s.changes[name]
		if c == nil || c.Action == ledger.Drop {
			continue
		}
		w := byWave[s.at[name]/slots]
		if w == nil {
			w = &ledger.Wave{}
			byWave[s.at[name]/slots] = w
		}
		switch s.at[name] % slots {
		case slotBefore:
			w.Before = append(w.Before, name)
		case slotServices:
			w.Services = append(w.Services, name)
		case slotAfter:
			w.After = append(w.After, name)
		}
	}
	var waves []ledger.Wave
	for _, k := range slices.Sorted(maps.Keys(byWave)) {
		waves = append(waves, *byWave[k])
	}
	return s.addDrops(waves)
}

func (s *scheduler) addDrops(waves []ledger.Wave) []ledger.Wave {
	for _, name := range slices.Sorted(maps.Keys(s.changes)) {
		if s.changes[name].Action != ledger.Drop {
			continue
		}
		if len(waves) == 0 {
			waves = append(waves, ledger.Wave{})
		}
		last := &waves[len(waves)-1]
		last.Services = append(last.Services, name)
	}
	return waves
}

// inOrder lists the services so that jobs of one slot follow their
// dependencies.
func (s *scheduler) inOrder() []string {
	var out []string
	seen := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		for _, d := range s.dependencies(name) {
			add(d)
		}
		out = append(out, name)
	}
	for _, name := range s.names() {
		add(name)
	}
	return out
}
