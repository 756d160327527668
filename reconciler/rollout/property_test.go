package rollout

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/reconciler/ledger"
)

// drawApp draws a revision: each line is one service as scripts write it.
func drawApp(t *rapid.T, tag int) []string {
	n := rapid.IntRange(1, 4).Draw(t, "services")
	var lines []string
	for k := range n {
		name := string(rune('a' + k))
		line := fmt.Sprintf("%s v%d wave=%d", name, tag, rapid.IntRange(0, 1).Draw(t, "wave"))
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			line += " worker"
		case 1:
			line += " data"
		case 2:
			line += " stop-first"
		case 3:
			line += " replicas=2"
		case 4:
			line += " hc"
		case 5:
			line += rapid.SampledFrom([]string{" canary=5/50", " mirror=10", " canary=20 mirror=1"}).Draw(t, "canary")
		}
		lines = append(lines, line)
	}
	if rapid.Bool().Draw(t, "unit") {
		lines[0] = fmt.Sprintf("a v%d", tag)
		lines = append(lines, fmt.Sprintf("u v%d worker unit=a", tag))
	}
	if rapid.Bool().Draw(t, "job") {
		lines = append(lines, fmt.Sprintf("j v%d one-shot=before idempotent", tag))
	}
	if rapid.Bool().Draw(t, "smoke") {
		lines = append(lines, fmt.Sprintf("s v%d one-shot=after idempotent", tag))
	}
	return lines
}

// retag makes another revision of an app: some services get a new tag.
func retag(t *rapid.T, lines []string, tag int) []string {
	out := make([]string, len(lines))
	for k, l := range lines {
		out[k] = l
		if unit := strings.HasPrefix(l, "a ") || strings.HasPrefix(l, "u "); unit || rapid.Bool().Draw(t, "changes") {
			f := strings.Fields(l)
			f[1] = fmt.Sprintf("v%d", tag)
			out[k] = strings.Join(f, " ")
		}
	}
	return out
}

// misbehave draws what the containers of a tag do. What fails does so while it
// is watched.
func (s *sim) misbehave(t *rapid.T, lines []string, healthy bool) {
	for _, l := range lines {
		f := strings.Fields(l)
		key := f[0] + " " + f[1]
		if _, ok := s.behave[key]; ok {
			continue
		}
		b := behaviour{
			warmAfter: time.Duration(rapid.IntRange(0, 3).Draw(t, "warm")) * 200 * time.Millisecond,
			requests:  time.Duration(rapid.IntRange(0, 2).Draw(t, "requests")) * time.Second,
			tunnels:   time.Duration(rapid.IntRange(0, 2).Draw(t, "tunnels")) * 10 * time.Second,
			pullFails: rapid.IntRange(0, 1).Draw(t, "pull"),
		}
		if strings.Contains(l, " hc") {
			b.healthyAt = 300 * time.Millisecond
		}
		if strings.Contains(l, "one-shot") {
			b.exitAfter = time.Second
		}
		if !healthy {
			fault(t, l, &b)
		}
		s.behave[key] = b
	}
}

func fault(t *rapid.T, line string, b *behaviour) {
	job := strings.Contains(line, "one-shot")
	switch rapid.IntRange(0, 9).Draw(t, "fault") {
	case 0:
		if !job {
			b.exitAfter = time.Duration(rapid.IntRange(1, 30).Draw(t, "exit")) * 100 * time.Millisecond
		}
		b.exitCode = 1
	case 1:
		b.neverWarm = true
	case 2:
		b.createFails = true
	case 3:
		if !job {
			b.sickAt = 2 * time.Second
		}
	}
}

func wants(t *rapid.T, lines []string) []wanted {
	var out []wanted
	for _, l := range lines {
		w, err := wantService(l)
		if err != nil {
			t.Fatalf("%v", err)
		}
		out = append(out, w)
	}
	return out
}

// settleDown lets everything end that is under way; rollouts that were
// interrupted are begun again, as the plan would.
func (s *sim) settleDown(t *rapid.T, id string, lines []string) {
	s.run(30 * time.Minute)
	for k := 0; s.app.Rollout == nil && s.app.Last != nil && !s.app.Last.Retry.IsZero() && k < 5; k++ {
		s.deploy(fmt.Sprintf("%s-%d", id, k), ledger.Apply, wants(t, lines), true)
		s.run(30 * time.Minute)
	}
	if s.app.Rollout != nil {
		t.Fatalf("rollout %s does not end: %s\n%s\n%s", s.app.Rollout.ID, s.position(), s.state(), strings.Join(s.trace, "\n"))
	}
}

// converged checks what must hold when nothing is under way.
func (s *sim) converged(t *rapid.T) {
	fail := func(format string, args ...any) {
		t.Fatalf(format+"\n%s\n%s", append(args, s.state(), strings.Join(s.trace, "\n"))...)
	}
	if len(s.bad) > 0 {
		fail("broken: %s", strings.Join(s.bad, "\n"))
	}
	if s.round(); s.round() && !s.crashing() {
		fail("a second step still wants something: %+v changed=%v", s.last.Actions, s.last.Changed)
	}
	for _, c := range s.cs {
		if !s.known(c) {
			fail("container %s is not in the ledger", c.Name)
		}
	}
	for name, sv := range s.app.Services {
		if sv.Active == nil {
			continue
		}
		for _, i := range sv.Active.Instances {
			c := s.cs[i.Container]
			if c == nil || c.Restart != "unless-stopped" || c.State != engine.Running && !s.fails(c) {
				fail("%s is not up and armed: %+v", name, c)
			}
		}
		for id, c := range s.cs {
			if c.service == name && c.Restart == "unless-stopped" && !s.isActive(sv, id) {
				fail("%s would come back", c.Name)
			}
		}
	}
}

// judgeEnd checks that a good revision was promoted in the end, and that a bad
// one was not.
func (s *sim) judgeEnd(t *rapid.T, lines []string, superseded bool) {
	bad := false
	for _, l := range lines {
		f := strings.Fields(l)
		b := s.behave[f[0]+" "+f[1]]
		shot := strings.Contains(l, "one-shot")
		bad = bad || b.neverWarm && !shot && !strings.Contains(l, "worker") || b.createFails || b.sickAt > 0 && !strings.Contains(l, "worker") || b.exitCode != 0
	}
	reason := s.app.Last.Reason
	switch {
	case bad && reason == "Succeeded":
		t.Fatalf("a bad revision was promoted: %v\n%s\n%s", lines, s.state(), strings.Join(s.trace, "\n"))
	case !bad && !superseded && reason != "Succeeded":
		t.Fatalf("a good revision was not promoted: %s\n%s\n%s", s.app.Last.Message, s.state(), strings.Join(s.trace, "\n"))
	}
}

func (s *sim) isActive(sv *ledger.Service, id string) bool {
	for _, i := range sv.Active.Instances {
		if i.Container == id {
			return true
		}
	}
	return false
}

func (s *sim) fails(c *simContainer) bool { b := s.of(c); return b.exitAfter > 0 }

func (s *sim) crashing() bool {
	for _, c := range s.cs {
		if s.fails(c) && c.Restart == "unless-stopped" {
			return true
		}
	}
	return false
}

// TestConverges draws apps, failures and moments at which the agent or the
// engine dies, and checks at every action, and at the end, what must hold.
func TestConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim()
		s.calm, s.tableFirst = true, rapid.Bool().Draw(t, "tableFirst")
		s.slow = rapid.SampledFrom([]int{0, 0, 3, 6}).Draw(t, "slow")
		lines := drawApp(t, 1)
		s.misbehave(t, lines, true)
		s.deploy("r1", ledger.Apply, wants(t, lines), true)
		s.settleDown(t, "r1", lines)
		s.converged(t)
		for k := range rapid.IntRange(1, 3).Draw(t, "deployments") {
			next := retag(t, lines, k+2)
			s.misbehave(t, next, false)
			id, accident := fmt.Sprintf("r%d", k+2), false
			s.deploy(id, ledger.Apply, wants(t, next), true)
			s.cut = rapid.IntRange(-1, 30).Draw(t, "cut")
			if rapid.Bool().Draw(t, "engineRestarts") {
				s.restart = rapid.IntRange(1, 40).Draw(t, "restart")
				s.calm = false
			}
			if rapid.IntRange(0, 3).Draw(t, "accident") == 0 {
				s.run(time.Duration(rapid.IntRange(0, 8000).Draw(t, "accidentAfter")) * time.Millisecond)
				s.accident(t)
				accident = true
			}
			if rapid.IntRange(0, 3).Draw(t, "supersede") == 0 {
				s.run(time.Duration(rapid.IntRange(0, 5000).Draw(t, "after")) * time.Millisecond)
				s.superseded = "newer"
			}
			superseded := s.superseded != "" || accident
			s.settleDown(t, id, next)
			s.judgeEnd(t, next, superseded)
			s.superseded, s.restart, s.cut, s.calm = "", 0, -1, true
			s.converged(t)
			if s.app.Last.Reason == "Succeeded" {
				s.goBack(t, id, lines)
				lines = next
			}
		}
	})
}

// accident ends a container from outside: it exits, or it is gone.
func (s *sim) accident(t *rapid.T) {
	ids := slices.Sorted(maps.Keys(s.cs))
	if len(ids) == 0 {
		return
	}
	c := s.cs[rapid.SampledFrom(ids).Draw(t, "victim")]
	s.calm = false
	if rapid.Bool().Draw(t, "gone") {
		s.logf("accident: %s is gone", c.Name)
		delete(s.cs, c.ID)
		return
	}
	if c.State == engine.Running {
		s.logf("accident: %s is killed", c.Name)
		s.die(c, 137)
	}
}

// goBack returns to the former revision, in the fast lane where it stands by,
// and forward again.
func (s *sim) goBack(t *rapid.T, id string, former []string) {
	if !rapid.Bool().Draw(t, "return") {
		return
	}
	now := s.app.Services
	s.deploy(id+"-back", ledger.Return, wants(t, former), true)
	s.settleDown(t, id+"-back", former)
	if s.app.Last.Reason != "Succeeded" {
		t.Fatalf("the return failed: %s\n%s", s.app.Last.Message, strings.Join(s.trace, "\n"))
	}
	s.converged(t)
	var next []wanted
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if a := now[name].Active; a != nil {
			next = append(next, wanted{release: a.Release})
		}
	}
	s.deploy(id+"-again", ledger.Apply, next, true)
	s.settleDown(t, id+"-again", nil)
	s.converged(t)
}

// TestStepIsPure: a step changes neither the ledger nor the observation that
// it is given, and deciding twice gives the same.
func TestStepIsPure(t *testing.T) {
	s := newSim()
	w, err := wantService("web v1 replicas=2")
	if err != nil {
		t.Fatal(err)
	}
	form := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for k := range 60 {
		if k == 0 || k == 30 {
			s.deploy(fmt.Sprint("r", k), ledger.Apply, []wanted{w}, true)
			w.release.ID, w.release.Tag = idPrefix+"v2xxxxxx", "v2"
		}
		s.roundtrip()
		obs := s.observe()
		app, seen := form(s.app), form(obs)
		a, b := Step(s.app, obs), Step(s.app, obs)
		if form(a) != form(b) {
			t.Fatalf("two steps differ:\n%s\n%s", form(a), form(b))
		}
		if form(s.app) != app || form(obs) != seen {
			t.Fatalf("a step changed what it was given")
		}
		s.round()
		s.tick(300 * time.Millisecond)
	}
	if s.app.Services["web"].Standby == nil {
		t.Fatal("the second release was not promoted")
	}
}

// BenchmarkIdle is a step of an app of 1,000 services with nothing to do.
func BenchmarkIdle(b *testing.B) {
	s := newSim()
	var list []wanted
	for k := range 1000 {
		w, err := wantService(fmt.Sprintf("s%d v1", k))
		if err != nil {
			b.Fatal(err)
		}
		w.release.Service.Container.Environment = map[string]string{"A": "b"}
		list = append(list, w)
	}
	s.deploy("r1", ledger.Apply, list, true)
	for range 20 {
		s.round()
		s.tick(time.Second)
	}
	if s.app.Rollout != nil {
		b.Fatal(s.position())
	}
	obs := s.observe()
	b.ResetTimer()
	for b.Loop() {
		if d := Step(s.app, obs); d.Changed {
			b.Fatal("changed")
		}
	}
}
