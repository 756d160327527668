package rollout

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
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
	gone     map[string]bool // removed volumes: never any

	superseded string
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
		Healthy: maps.Clone(s.healthy), Granted: s.granted, Superseded: s.superseded,
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
		if len(sv.Releases) > 0 && sv.Active == "" && !sv.Hold && !sv.Maintenance {
			s.logf("table %s has nobody active", sv.Name)
		}
	}
	s.acked, s.hasAck = table, true
	return true
}

// leaves notes when a release loses the traffic: what it carries ends later,
// and nothing of it may come back by itself by then.
func (s *sim) leaves(sv traffic.Service, r traffic.Release, was traffic.ReleaseState) {
	key := sv.Name + "/" + r.Name
	if r.State == traffic.Active {
		delete(s.left, key)
	}
	if was != traffic.Active || r.State == traffic.Active {
		return
	}
	s.left[key] = s.now
	name := strings.TrimPrefix(sv.Name, "prod/shop/")
	if ro := s.app.Rollout; ro == nil || ro.Changes[name] == nil || ro.Changes[name].Action != ledger.Replace {
		return
	}
	for _, c := range s.cs {
		if c.service == name && c.set == r.Name && c.Restart != "no" && !sv.Hold {
			s.wrong("%s leaves active and would still come back", c.Name)
		}
	}
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
			s.logf("agent killed")
			s.pending = nil
			s.failures, s.healthy, s.pulled, s.networks = map[string]Failed{}, map[string]time.Time{}, map[string]bool{}, false
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
			case r.State == traffic.Active:
				s.wrong("%s %s while it is active", kind, c.Name)
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
