package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

const idPrefix = "v1:"

// wanted is one service of a script's revision.
type wanted struct {
	release ledger.Release
	wave    int
	job     string // before or after
	cause   string
}

// wantService reads "web v2 [worker] [stop-first] [replicas=2] …".
func wantService(line string) (wanted, error) {
	f := strings.Fields(line)
	name, tag := f[0], f[1]
	sv := manifests.Service{
		Name: name, Unit: name, Kind: manifests.KindEndpoint, Order: manifests.StartFirst, Replicas: 1, Expose: []uint16{3000},
		Container: manifests.Container{Image: name + ":" + tag, Networks: []manifests.Attachment{{Network: "default"}}},
		Update:    manifests.Update{FailureAction: "rollback", Monitor: 5 * time.Second, MinHealthy: 2 * time.Second, Drain: 3 * time.Second, Progress: 10 * time.Minute},
		Standby:   manifests.Standby{For: 10 * time.Minute, State: manifests.StandbyPaused},
	}
	w := wanted{}
	r := ledger.Release{ID: idPrefix + tag + strings.Repeat("x", max(0, 8-len(tag))), Tag: tag, Digest: "sha256:" + name + tag}
	for _, opt := range f[2:] {
		key, val, _ := strings.Cut(opt, "=")
		if err := wantOption(&w, &sv, &r, key, val); err != nil {
			return w, fmt.Errorf("%s: %w", line, err)
		}
	}
	r.Service, r.Healthcheck = sv, sv.Container.Healthcheck
	w.release = r
	return w, nil
}

func wantOption(w *wanted, sv *manifests.Service, r *ledger.Release, key, val string) error {
	number := func() int { n, _ := strconv.Atoi(val); return n }
	duration := func() time.Duration { d, _ := time.ParseDuration(val); return d }
	switch key {
	case "worker":
		sv.Kind, sv.Order, sv.Expose, sv.Standby.State = manifests.KindWorker, manifests.StopFirst, nil, manifests.StandbyStopped
	case "one-shot":
		sv.Kind, sv.Expose, w.job = manifests.KindOneShot, nil, val
	case "idempotent":
		sv.Idempotent = true
	case "stop-first":
		sv.Order = manifests.StopFirst
	case "start-first":
		sv.Order = manifests.StartFirst
	case "data":
		sv.WritesData, sv.Order = true, manifests.StopFirst
	case "rollback-data":
		sv.Update.RollbackWritten = true
	case "replicas":
		sv.Replicas = number()
	case "parallelism":
		sv.Update.Parallelism = number()
	case "delay":
		sv.Update.Delay = duration()
	case "unit":
		sv.Unit, sv.Container.NetworkMode = val, "service:"+val
	case "hc":
		sv.Container.Healthcheck = &manifests.Healthcheck{Test: []string{"CMD", "ok"}, Interval: 2 * time.Second, Timeout: time.Second, Retries: 3, StartPeriod: 4 * time.Second}
	case "monitor":
		sv.Update.Monitor = duration()
	case "action":
		sv.Update.FailureAction = val
	case "standby":
		sv.Standby.State = manifests.StandbyState(val)
	case "standby-for":
		sv.Standby.For = duration()
	case "name":
		sv.Container.Name = val
	case "wave":
		w.wave = number()
	case "hostrev":
		r.Hostrev = val
	case "restart":
		w.cause = "restart"
	case "canary": // 5/25/50, percentages
		sv.Canary = cmp.Or(sv.Canary, &manifests.Canary{Interval: 10 * time.Second})
		for step := range strings.SplitSeq(val, "/") {
			n, _ := strconv.Atoi(step)
			sv.Canary.Steps = append(sv.Canary.Steps, 100*n)
		}
	case "mirror":
		sv.Canary = cmp.Or(sv.Canary, &manifests.Canary{Interval: 10 * time.Second})
		sv.Canary.Mirror = 100 * number()
	case "image-hc":
		r.FromImage = true
		sv.Container.Healthcheck = &manifests.Healthcheck{Test: []string{"CMD", "ok"}, Interval: 30 * time.Second, Timeout: time.Second, Retries: 3}
	case "ratio":
		sv.Update.MaxFailureRatio, _ = strconv.ParseFloat(val, 64)
	case "hook":
		sv.Container.PostStart = []manifests.Hook{{Command: []string{val}}}
	default:
		return fmt.Errorf("unknown option %q", key)
	}
	return nil
}

// deploy plans as the plan package does, in small, and begins the rollout.
func (s *sim) deploy(id string, kind ledger.RolloutKind, list []wanted, prune bool) {
	r := ledger.Rollout{ID: id, Kind: kind, Revision: id, Changes: map[string]*ledger.Change{}, Networks: []manifests.Network{{Key: "default", Name: "shop_default"}}}
	if kind == ledger.Return {
		r.FastLane = true
	}
	var seen []string
	for _, w := range list {
		seen = append(seen, w.release.Service.Name)
		s.want(&r, w)
	}
	if prune {
		for name, sv := range s.app.Services {
			if !slices.Contains(seen, name) && (sv.Active != nil || sv.Standby != nil) {
				r.Changes[name] = &ledger.Change{Action: ledger.Drop, From: sv.Active}
			}
		}
	}
	s.granted, s.networks = false, s.networks && len(s.app.Services) > 0
	s.failures = map[string]Failed{}
	s.app = Begin(s.app, r, s.now)
}

func (s *sim) want(r *ledger.Rollout, w wanted) {
	sv := w.release.Service
	had := s.app.Services[sv.Name]
	if had == nil {
		had = &ledger.Service{}
	}
	for len(r.Waves) <= w.wave {
		r.Waves = append(r.Waves, ledger.Wave{})
	}
	c := &ledger.Change{Action: ledger.Replace, Kind: sv.Kind, Order: sv.Order, To: &ledger.Deployed{Release: w.release}}
	wave := &r.Waves[w.wave]
	switch {
	case sv.Kind == manifests.KindOneShot:
		if had.Jobs[w.release.ID].State == ledger.JobDone {
			return
		}
		c.Action = ledger.Run
		if w.job == "after" {
			wave.After = append(wave.After, sv.Name)
		} else {
			wave.Before = append(wave.Before, sv.Name)
		}
	case had.Active == nil, had.Active.ID != w.release.ID, had.Active.Hostrev != w.release.Hostrev, w.cause != "":
		if sb := had.Standby; sb != nil && sb.ID == w.release.ID && sb.Hostrev == w.release.Hostrev {
			c.To, c.FromStandby = sb.Clone(), true
		} else {
			r.FastLane = false
		}
		wave.Services = append(wave.Services, sv.Name)
	case len(had.Active.Instances) != sv.Replicas:
		c.Action = ledger.Scale
		for k := len(had.Active.Instances) + 1; k <= sv.Replicas; k++ {
			c.To.Instances = append(c.To.Instances, ledger.Instance{Index: k, Name: fmt.Sprintf("shop-%s-%s-%d", sv.Name, w.release.Tag, k), Key: fmt.Sprint(r.ID, sv.Name, k)})
		}
		r.FastLane = false
		wave.Services = append(wave.Services, sv.Name)
	default:
		return
	}
	r.Changes[sv.Name] = c
}

// setBehaviour reads "web v2 exit-after=1s exit-code=1 …".
func (s *sim) setBehaviour(line string) error {
	f := strings.Fields(line)
	b := behaviour{}
	for _, opt := range f[2:] {
		key, val, _ := strings.Cut(opt, "=")
		d, _ := time.ParseDuration(val)
		n, _ := strconv.Atoi(val)
		switch key {
		case "warm-after":
			b.warmAfter = d
		case "never-warm":
			b.neverWarm = true
		case "exit-after":
			b.exitAfter = d
		case "exit-code":
			b.exitCode = n
		case "unhealthy-at":
			b.unhealthyAt = d
		case "healthy-at":
			b.healthyAt = d
		case "sick-at":
			b.sickAt = d
		case "create-fails":
			b.createFails = true
		case "pull-fails":
			b.pullFails = n
		case "requests":
			b.requests = d
		case "tunnels":
			b.tunnels = d
		default:
			return fmt.Errorf("%s: unknown behaviour %q", line, key)
		}
	}
	s.behave[f[0]+" "+f[1]] = b
	return nil
}

// state is the ledger and the engine in a few lines.
func (s *sim) state() string {
	var b strings.Builder
	for _, name := range (&turn{app: &s.app}).services() {
		sv := s.app.Services[name]
		fmt.Fprintf(&b, "%s:", name)
		one := func(what string, d *ledger.Deployed) {
			if d != nil {
				fmt.Fprintf(&b, " %s=%s", what, d.Tag)
				for _, i := range d.Instances {
					fmt.Fprintf(&b, "[%s]", s.containerState(i.Container))
				}
			}
		}
		one("active", sv.Active)
		one("standby", sv.Standby)
		for _, d := range sv.Leaving {
			one("leaving/"+string(d.Place), d)
		}
		for _, id := range slices.Sorted(maps.Keys(sv.Jobs)) {
			j := sv.Jobs[id]
			fmt.Fprintf(&b, " job %s %s", s.nick(id), j.State)
		}
		for _, id := range slices.Sorted(maps.Keys(sv.Quarantined)) {
			q := sv.Quarantined[id]
			fmt.Fprintf(&b, " quarantined %s (%s)", s.nick(id), q.Reason)
		}
		if sv.Crashes > 0 {
			fmt.Fprintf(&b, " crashes=%d", sv.Crashes)
		}
		fmt.Fprintf(&b, " back=%s\n", Back(s.app, name))
	}
	if r := s.app.Rollout; r != nil {
		fmt.Fprintf(&b, "rollout %s %s\n", r.ID, s.position())
	}
	if l := s.app.Last; l != nil {
		fmt.Fprintf(&b, "last %s %s", l.ID, l.Reason)
		if l.Stalled {
			b.WriteString(" stalled")
		}
		if !l.Retry.IsZero() {
			b.WriteString(" retried")
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "status %s %s %s\n", s.last.Health, s.last.Reason, s.last.Message)
	return b.String()
}

func (s *sim) containerState(id string) string {
	c := s.cs[id]
	if c == nil {
		return "none"
	}
	out := c.Name + " " + string(c.State)
	if c.Restart != "no" {
		out += " " + c.Restart
	}
	return out
}

// flush returns the trace since the last flush and the broken invariants.
func (s *sim) flush() string {
	out := s.trace
	s.trace = nil
	for _, b := range s.bad {
		out = append(out, "BROKEN "+b)
	}
	s.bad = nil
	if len(out) == 0 {
		return ""
	}
	return strings.Join(out, "\n") + "\n"
}

// TestScripts runs the scripts in testdata: what a person would see of
// rollouts, step by step. The commands are explained at their cases.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := newSim()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out, err := s.command(d)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			if strings.Contains(out, "BROKEN") {
				t.Errorf("%s: invariant broken:\n%s", d.Pos, out)
			}
			return out
		})
	})
}

func (s *sim) command(d *datadriven.TestData) (string, error) {
	lines := strings.Split(strings.TrimSpace(d.Input), "\n")
	switch d.Cmd {
	case "behave": // what containers of a release do: SERVICE TAG option…
		for _, l := range lines {
			if err := s.setBehaviour(l); err != nil {
				return "", err
			}
		}
		return "", nil
	case "deploy": // begin a rollout to these releases; see wantService
		return "", s.deployCommand(d, lines)
	case "run": // let time pass, until nothing happens or for=DURATION
		return s.runCommand(d) + s.flush(), nil
	case "state": // the ledger, the containers, the status
		return s.state(), nil
	case "engine-restart": // the engine ends everything and brings back what it may
		s.engineRestart()
		return s.flush(), nil
	case "agent-restart": // the agent dies, and its memory with it
		s.agentDies()
		return s.flush(), nil
	case "kill": // a container ends by itself: NAME [code=N] [gone]
		return "", s.killCommand(d)
	case "supersede": // a newer revision changes this app: REVISION [back|hurry]
		s.superseded = d.CmdArgs[0].Key
		s.reverts, s.hurry = d.HasArg("back"), d.HasArg("hurry")
		return "", nil
	case "retry": // a person's retry
		s.app = Retry(s.app, "")
		return "", nil
	case "hand": // a person's stop: SERVICE (docker stop) or SERVICE enforced (remora stop), SERVICE start
		return "", s.handCommand(d)
	}
	return "", fmt.Errorf("unknown command %s", d.Cmd)
}

func (s *sim) deployCommand(d *datadriven.TestData, lines []string) error {
	var list []wanted
	for _, l := range lines {
		if strings.TrimSpace(l) == "" {
			continue
		}
		w, err := wantService(l)
		if err != nil {
			return err
		}
		list = append(list, w)
	}
	kind := ledger.Apply
	if d.HasArg("return") {
		kind = ledger.Return
	}
	if d.HasArg("remove") {
		kind = ledger.Remove
	}
	s.superseded, s.reverts, s.hurry = "", false, false
	s.deploy(d.CmdArgs[0].Key, kind, list, d.HasArg("prune") || d.HasArg("remove"))
	return nil
}

func (s *sim) runCommand(d *datadriven.TestData) string {
	span := "1h"
	if d.HasArg("for") {
		for _, a := range d.CmdArgs {
			if a.Key == "for" {
				span = a.Vals[0]
			}
		}
	}
	dur, err := time.ParseDuration(span)
	if err != nil {
		return err.Error()
	}
	if d.HasArg("for") {
		s.run(dur)
		return ""
	}
	end := s.now.Add(dur)
	for s.app.Rollout != nil && s.now.Before(end) {
		s.runUntilIdle(end)
	}
	s.runIdle()
	return ""
}

// runUntilIdle lets one moment after the other pass until the rollout is over.
func (s *sim) runUntilIdle(end time.Time) {
	for range 20000 {
		if s.app.Rollout == nil {
			return
		}
		if s.round() {
			s.tick(time.Millisecond)
			continue
		}
		s.run(time.Millisecond)
		at := s.nextEvent()
		if w := s.last.Wake; !w.IsZero() && (at.IsZero() || w.Before(at)) {
			at = w
		}
		if at.IsZero() || at.After(end) {
			s.now = end
			return
		}
		if at.After(s.now) {
			s.now = at
			s.pass()
		}
	}
}

// runIdle ends what is due at this moment.
func (s *sim) runIdle() {
	for range 200 {
		if !s.round() {
			return
		}
		s.tick(time.Millisecond)
	}
	s.wrong("still busy after 200 rounds")
}

func (s *sim) killCommand(d *datadriven.TestData) error {
	name, code := d.CmdArgs[0].Key, 1
	for _, c := range s.cs {
		if c.Name != name {
			continue
		}
		if d.HasArg("gone") {
			delete(s.cs, c.ID)
			return nil
		}
		c.State, c.ExitCode, c.Finished = engine.Exited, code, s.now
		return nil
	}
	return fmt.Errorf("no container %s", name)
}

func (s *sim) handCommand(d *datadriven.TestData) error {
	name := d.CmdArgs[0].Key
	sv := s.app.Services[name]
	if sv == nil {
		return fmt.Errorf("no service %s", name)
	}
	if d.HasArg("start") {
		sv.Stopped = nil
		return nil
	}
	sv.Stopped = &ledger.Override{By: status.Actor{Kind: "user", Name: "ann"}, At: s.now, Enforced: d.HasArg("enforced")}
	if sv.Stopped.Enforced {
		return nil
	}
	for _, i := range sv.Active.Instances {
		if c := s.cs[i.Container]; c != nil {
			c.State, c.manual, c.Finished = engine.Exited, true, s.now
		}
	}
	return nil
}
