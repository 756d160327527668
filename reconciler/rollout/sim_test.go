package rollout

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/reconciler/ledger"
)

// behaviour is what the containers of one release do.
type behaviour struct {
	warmAfter   time.Duration // from its start, on the ambassador's checks
	neverWarm   bool
	exitAfter   time.Duration // from its start; 0 runs on
	exitCode    int
	unhealthyAt time.Duration // from its start, by the engine's HEALTHCHECK
	healthyAt   time.Duration
	sickAt      time.Duration // from its start: probes fail after they were good
	createFails bool
	pullFails   int // that often, passing
	requests    time.Duration
	tunnels     time.Duration
}

// simContainer is a container of the simulated engine.
type simContainer struct {
	engine.Container
	service string
	tag     string
	set     string
	back    time.Time // when the engine starts it again
	manual  bool      // stopped by request: the engine does not bring it back
}

// sim is a deterministic engine and ambassador.
type sim struct {
	start time.Time
	now   time.Time
	app   ledger.App
	cs    map[string]*simContainer
	next  int
	boot  int

	behave map[string]behaviour // by "service tag"

	acked    []traffic.Service
	hasAck   bool
	since    map[string]time.Time // when a release got its state, by service/release/state
	warmed   map[string]bool      // endpoints that were warm, by container and start
	pulled   map[string]bool
	pullErrs map[string]int
	networks bool
	healthy  map[string]time.Time
	failures map[string]Failed
	granted  bool
	gone     map[string]bool   // removed volumes: never any
	shares   map[string]string // of a canary, by service

	superseded string
	reverts    bool
	hurry      bool
	trace      []string
	bad        []string // broken invariants
	last       Decision
	stepped    int
	cut        int                  // after that many actions the agent dies; -1 never
	left       map[string]time.Time // when a release lost the traffic, by service/release
	restart    int                  // after that many actions the engine restarts; <= 0 never
	tableFirst bool                 // the ambassador takes the table before the actions run
	slow       int                  // actions take up to that many rounds; 0 none
	count      int
	pending    map[string]*chain
	down       map[string]time.Time // since when nobody serves, by service
	calm       bool                 // no container ends but by its own behaviour or ours
}

func newSim() *sim {
	at := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	return &sim{
		start: at, now: at, cs: map[string]*simContainer{}, behave: map[string]behaviour{}, since: map[string]time.Time{},
		warmed: map[string]bool{}, pulled: map[string]bool{}, pullErrs: map[string]int{}, healthy: map[string]time.Time{},
		shares:   map[string]string{},
		failures: map[string]Failed{}, cut: -1, left: map[string]time.Time{}, down: map[string]time.Time{},
		app: ledger.App{Version: 1, Environment: "prod", Name: "shop", Project: "shop"},
	}
}

func (s *sim) logf(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf("%8s  ", s.now.Sub(s.start).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

func (s *sim) wrong(format string, args ...any) {
	s.bad = append(s.bad, fmt.Sprintf("%s: ", s.now.Sub(s.start))+fmt.Sprintf(format, args...))
}

// of returns the behaviour of a container.
func (s *sim) of(c *simContainer) behaviour { return s.behave[c.service+" "+c.tag] }

// observe makes what the core sees.
func (s *sim) observe() Observation {
	obs := Observation{
		Now: s.now, Containers: map[string]engine.Container{}, Failures: maps.Clone(s.failures), Pulled: maps.Clone(s.pulled),
		Healthy: maps.Clone(s.healthy), Granted: s.granted, Superseded: s.superseded, GoBack: s.reverts, Hurry: s.hurry,
		BootID: "boot", EngineStart: fmt.Sprint("engine-", s.boot), StopRespect: 15 * time.Minute, Networks: s.networks,
	}
	for id, c := range s.cs {
		cc := c.Container
		cc.Labels = maps.Clone(c.Labels)
		obs.Containers[id] = cc
	}
	obs.Applied = s.hasAck && reflect.DeepEqual(s.acked, Traffic(s.app, obs.Containers))
	obs.Traffic = s.report()
	obs.Busy = map[string]bool{}
	for name := range s.pending {
		obs.Busy[name] = true
	}
	return obs
}

// apply lets the ambassador take the table.
func (s *sim) apply() bool {
	cs := s.observe().Containers
	table := Traffic(s.app, cs)
	if s.hasAck && reflect.DeepEqual(table, s.acked) {
		return false
	}
	was := map[string]traffic.ReleaseState{}
	for _, sv := range s.acked {
		for _, r := range sv.Releases {
			was[sv.Name+"/"+r.Name] = r.State
		}
	}
	for _, sv := range table {
		for _, r := range sv.Releases {
			if key := sv.Name + "/" + r.Name; was[key] != r.State {
				s.since[key] = s.now
				s.logf("table %s %s %s%s", sv.Name, s.nick(r.Name), r.State, holdMark(sv))
			}
			s.leaves(sv, r, was[sv.Name+"/"+r.Name])
		}
		if text := shares(sv); text != s.shares[sv.Name] {
			s.shares[sv.Name] = text
			s.logf("table %s splits%s", sv.Name, cmp.Or(text, " nothing"))
		}
		if len(sv.Releases) > 0 && sv.Active == "" && !sv.Hold && !sv.Maintenance {
			s.logf("table %s has nobody active", sv.Name)
		}
	}
	s.acked, s.hasAck = table, true
	return true
}

// shares says what else than the active release gets requests.
func shares(sv traffic.Service) string {
	text := ""
	if sp := sv.Split; sp != nil {
		text += fmt.Sprintf(" %d", sp.Share)
	}
	if m := sv.Mirror; m != nil {
		text += fmt.Sprintf(" copies %d", m.Share)
	}
	return text
}

func holdMark(sv traffic.Service) string {
	if sv.Hold {
		return " (hold)"
	}
	return ""
}

func (s *sim) nick(table string) string {
	id, _, _ := strings.Cut(table, ".")
	return strings.TrimRight(id[len(idPrefix):], "x")
}

// report is the ambassador's report of the table that it has.
func (s *sim) report() map[string]map[string]traffic.ReleaseReport {
	out := map[string]map[string]traffic.ReleaseReport{}
	for _, sv := range s.acked {
		m := map[string]traffic.ReleaseReport{}
		for _, r := range sv.Releases {
			m[r.Name] = s.reportRelease(sv, r)
		}
		out[sv.Name] = m
	}
	return out
}

func (s *sim) reportRelease(sv traffic.Service, r traffic.Release) traffic.ReleaseReport {
	rep := traffic.ReleaseReport{Name: r.Name, State: r.State}
	var b behaviour
	for _, e := range r.Endpoints {
		c := s.cs[e.Container]
		if c == nil {
			continue
		}
		b = s.of(c)
		rep.Endpoints = append(rep.Endpoints, s.reportEndpoint(c, e, r))
	}
	idle := s.now.Sub(s.since[sv.Name+"/"+r.Name])
	if r.State == traffic.Draining {
		rep.RequestsDrained = idle >= b.requests
		rep.Drained = idle >= max(b.requests, b.tunnels)
	}
	if r.State == traffic.Standby {
		rep.RequestsDrained, rep.Drained = r.Paused, r.Paused // open for spilled requests while it runs
	}
	return rep
}

func (s *sim) reportEndpoint(c *simContainer, e traffic.Endpoint, r traffic.Release) traffic.EndpointReport {
	out := traffic.EndpointReport{Container: e.Container, Started: e.Started, Checked: 1}
	key := e.Container + e.Started.String()
	b := s.of(c)
	age := s.now.Sub(c.Started)
	answers := c.State == engine.Running && c.Started.Equal(e.Started) && !b.neverWarm && age >= b.warmAfter && (b.sickAt == 0 || age < b.sickAt)
	if answers && !r.Paused {
		s.warmed[key] = true
	}
	out.Warm = s.warmed[key]
	out.Good = out.Warm && answers
	if !answers {
		out.LastError, out.Failures = "GET /up: 500", 6
	}
	return out
}

// round is one life of the agent until it has nothing to do at this moment.
// It returns the decision, and whether anything happened.
func (s *sim) round() bool {
	s.stepped++
	s.roundtrip()
	d := Step(s.app, s.observe())
	s.last = d
	busy := d.Changed || len(d.Actions) > 0
	if d.Changed {
		s.app = d.App
	}
	for _, e := range d.Events {
		s.logf("event %s %s: %s", e.Severity, e.Reason, e.Message)
	}
	if s.tableFirst {
		busy = s.apply() || busy
	}
	for _, a := range d.Actions {
		if f, ok := s.failures[a.Key()]; ok && s.now.Before(f.Next) {
			continue
		}
		if s.cut == 0 {
			s.cut = -1
			s.agentDies()
			break
		}
		s.cut--
		s.begin(a)
		if s.restart--; s.restart == 0 {
			s.engineRestart()
			break
		}
	}
	busy = s.work() || busy
	s.check()
	return s.apply() || busy
}

// agentDies takes away what only the agent's memory held.
func (s *sim) agentDies() {
	s.logf("agent killed")
	s.pending = nil
	s.failures, s.healthy, s.pulled, s.networks = map[string]Failed{}, map[string]time.Time{}, map[string]bool{}, false
}

// chain is what is under way on one instance, and in how many rounds it runs.
type chain struct {
	actions []Action
	rounds  int
	fresh   bool
}

// begin carries an action out at once, or, with slow, some rounds later, those
// on one instance in order, as the agent's goroutines do.
func (s *sim) begin(a Action) {
	name := a.Instance.Name
	if s.slow == 0 || name == "" {
		s.do(a)
		return
	}
	c := s.pending[name]
	switch {
	case c == nil:
		if s.pending == nil {
			s.pending = map[string]*chain{}
		}
		s.count++
		s.pending[name] = &chain{actions: []Action{a}, rounds: 1 + s.count*7%s.slow, fresh: true}
	case c.fresh:
		c.actions = append(c.actions, a)
	}
}

// work carries out what is due of what is under way.
func (s *sim) work() bool {
	some := len(s.pending) > 0
	for _, name := range slices.Sorted(maps.Keys(s.pending)) {
		c := s.pending[name]
		c.fresh = false
		if c.rounds--; c.rounds > 0 {
			continue
		}
		delete(s.pending, name)
		for _, a := range c.actions {
			delete(s.failures, a.Key())
			s.do(a)
			if _, failed := s.failures[a.Key()]; failed {
				break
			}
		}
	}
	return some
}

// roundtrip writes the ledger and reads it again.
func (s *sim) roundtrip() {
	data, err := json.Marshal(s.app)
	if err != nil {
		panic(err)
	}
	s.app = ledger.App{}
	if err := json.Unmarshal(data, &s.app); err != nil {
		panic(err)
	}
}

// run lets time pass until nothing is left to happen, or for at most d.
func (s *sim) run(d time.Duration) {
	end := s.now.Add(d)
	for range 20000 {
		if s.round() {
			s.tick(time.Millisecond)
			continue
		}
		s.served()
		at := s.nextEvent()
		if w := s.last.Wake; !w.IsZero() && (at.IsZero() || w.Before(at)) {
			at = w
		}
		if at.IsZero() || at.After(end) {
			if end.After(s.now) {
				s.now = end
			}
			s.pass()
			return
		}
		if !at.After(s.now) {
			at = s.now.Add(time.Millisecond)
		}
		s.now = at
		s.pass()
	}
	s.wrong("did not settle in 20000 rounds: %s", s.position())
}

func (s *sim) position() string {
	if r := s.app.Rollout; r != nil {
		return fmt.Sprint(position(r))
	}
	return "no rollout"
}

func (s *sim) tick(d time.Duration) {
	s.now = s.now.Add(d)
	s.pass()
}
