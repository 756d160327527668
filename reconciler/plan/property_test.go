package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// anyApp draws an app without circles: a service depends on earlier ones only.
func anyApp(t *rapid.T) manifests.App {
	var text strings.Builder
	n := rapid.IntRange(0, 6).Draw(t, "services")
	var owners []int // services whose namespaces may be joined
	for i := range n {
		if rapid.IntRange(0, 4).Draw(t, "absent") == 0 {
			continue
		}
		fmt.Fprintf(&text, "s%d app:v%d", i, rapid.IntRange(1, 3).Draw(t, "tag"))
		switch kind := rapid.IntRange(0, 5).Draw(t, "kind"); {
		case kind == 5 && len(owners) > 0:
			fmt.Fprintf(&text, " unit=s%d", rapid.SampledFrom(owners).Draw(t, "unit"))
		default:
			if kind != 0 {
				owners = append(owners, i)
			}
			anyKind(&text, kind, i)
		}
		fmt.Fprintf(&text, " replicas=%d drain=%d", rapid.IntRange(1, 2).Draw(t, "replicas"), rapid.IntRange(1, 2).Draw(t, "drain"))
		if rapid.IntRange(0, 5).Draw(t, "host") == 0 {
			fmt.Fprintf(&text, " host=h%d", rapid.IntRange(0, 1).Draw(t, "hostrev"))
		}
		if deps := anyDependencies(t, i); deps != "" {
			text.WriteString(" depends=" + deps)
		}
		text.WriteString("\n")
	}
	return parseApp(t, text.String())
}

func anyKind(text *strings.Builder, kind, i int) {
	switch kind {
	case 0:
		text.WriteString(" job")
	case 1:
		fmt.Fprintf(text, " volume=d%d", i)
	case 2, 3:
		fmt.Fprintf(text, " port=%d:80", 8000+i)
	}
}

func anyDependencies(t *rapid.T, i int) string {
	var deps []string
	for j := range i {
		if rapid.IntRange(0, 2).Draw(t, "depends") == 0 {
			d := fmt.Sprintf("s%d", j)
			if rapid.IntRange(0, 3).Draw(t, "restart") == 0 {
				d += ":restart"
			}
			deps = append(deps, d)
		}
	}
	return strings.Join(deps, ",")
}

// TestPlanConverges: whatever the sequence of revisions, each can be planned,
// and planning it again after its success changes nothing.
func TestPlanConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l ledger.App
		for n := range rapid.IntRange(1, 5).Draw(t, "revisions") {
			in := input(anyApp(t), l)
			in.ID = fmt.Sprint("r", n)
			for range 2 { // a service that became a one-shot is dropped first
				r := Plan(in)
				if r.Hold != nil && r.Hold.Reason == status.LoadFailed {
					t.Skip("a unit waits for itself by way of another service")
				}
				if r.Hold != nil {
					t.Fatalf("held: %s", r.Hold)
				}
				checkWaves(t, in, r)
				checkInstances(t, in, r)
				l = succeed(in, r)
				in = input(in.App, l)
				in.ID = fmt.Sprint("r", n, "b")
			}
			if again := Plan(in); !again.NoChange {
				t.Fatalf("the second plan is not empty:\n%s", shown(again))
			}
		}
	})
}

// checkWaves: every change is in one place, behind what it depends on.
func checkWaves(t *rapid.T, in Input, r Result) {
	at := map[string]int{}
	for k, w := range r.Waves {
		for slot, names := range [][]string{w.Before, w.Services, w.After} {
			for i, name := range names {
				if _, twice := at[name]; twice || r.Changes[name] == nil {
					t.Fatalf("%s is in two places, or changes nothing:\n%s", name, shown(r))
				}
				at[name] = (k*slots+slot)*100 + i
			}
		}
	}
	if len(at) != len(r.Changes) {
		t.Fatalf("%d changes, %d in waves:\n%s", len(r.Changes), len(at), shown(r))
	}
	if r.FastLane || r.Kind == ledger.Remove {
		return
	}
	for name := range r.Changes {
		checkUnit(t, in, r, name, at)
	}
	for _, s := range in.App.Services {
		for _, d := range s.DependsOn {
			if r.Changes[s.Name] == nil || r.Changes[d.Service] == nil || in.App.Service(d.Service) == nil ||
				in.App.Service(d.Service).Unit == s.Unit {
				continue
			}
			job := s.Kind == manifests.KindOneShot && r.Changes[d.Service].Action == ledger.Run
			same := at[s.Name]/100 == at[d.Service]/100
			if at[d.Service] >= at[s.Name] || same && !job {
				t.Fatalf("%s does not come after %s:\n%s", s.Name, d.Service, shown(r))
			}
		}
	}
}

// checkUnit: a unit is replaced together, in one wave.
func checkUnit(t *rapid.T, in Input, r Result, name string, at map[string]int) {
	for _, s := range in.App.Unit(name) {
		c := r.Changes[s.Name]
		if r.Changes[name].Action != ledger.Replace || s.Kind == manifests.KindOneShot {
			continue
		}
		if c == nil || c.Action != ledger.Replace || at[s.Name]/100 != at[name]/100 {
			t.Fatalf("%s and %s are one unit:\n%s", name, s.Name, shown(r))
		}
	}
}

// checkInstances: names and keys are unique on the engine, and counts are as
// wanted.
func checkInstances(t *rapid.T, in Input, r Result) {
	taken := map[string]bool{}
	for _, c := range in.Containers {
		taken[c.Name] = true
	}
	keys := map[string]bool{}
	for name, c := range r.Changes {
		if c.To == nil {
			continue
		}
		if want := in.App.Service(name).Replicas; c.Action != ledger.Run && len(c.To.Instances) != want {
			t.Fatalf("%s: %d instances, want %d", name, len(c.To.Instances), want)
		}
		for _, i := range c.To.Instances {
			if i.Container == "" && (taken[i.Name] || keys[i.Key]) {
				t.Fatalf("%s: name %s or key %s is taken", name, i.Name, i.Key)
			}
			taken[i.Name], keys[i.Key] = true, true
		}
	}
}

// TestNoSecondWriter: a plan that is not held starts nothing on a volume that
// a running container outside the service writes.
func TestNoSecondWriter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := input(anyApp(t), ledger.App{})
		volume := fmt.Sprintf("shop_d%d", rapid.IntRange(0, 5).Draw(t, "volume"))
		writable := rapid.Bool().Draw(t, "writable")
		state := rapid.SampledFrom([]engine.State{engine.Running, engine.Paused, engine.Exited, engine.Created}).Draw(t, "state")
		in.Containers = append(in.Containers, engine.Container{
			ID: "x", Name: "x", State: state, Mounts: []engine.Observed{{Type: "volume", Name: volume, Writable: writable}},
		})
		in.Volumes = append(in.Volumes, engine.Volume{Name: volume})
		r := Plan(in)
		if r.Hold != nil && r.Hold.Reason == status.LoadFailed {
			t.Skip("a unit waits for itself by way of another service")
		}
		writes := writable && (state == engine.Running || state == engine.Paused)
		starts := false
		for _, c := range r.Changes {
			for _, m := range c.To.Service.Container.Mounts {
				starts = starts || "shop_"+m.Source == volume
			}
		}
		if held := r.Hold != nil; held != (writes && starts) {
			t.Fatalf("held %v, want %v: %v", held, writes && starts, r.Hold)
		}
	})
}

// TestLostLedger: a ledger rebuilt from labels and the table plans nothing.
func TestLostLedger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l ledger.App
		var in Input
		for n := range rapid.IntRange(1, 3).Draw(t, "revisions") {
			app := anyApp(t)
			for range 2 {
				in = input(app, l)
				in.ID = fmt.Sprint("r", n)
				r := Plan(in)
				if r.Hold != nil {
					t.Skip("a unit waits for itself by way of another service")
				}
				l = succeed(in, r)
			}
		}
		in = input(in.App, l)
		if len(in.Containers) == 0 {
			t.Skip("nothing runs")
		}
		in.Ledger = Rebuild(RebuildInput{
			App: in.App, Images: in.Images, Key: in.Key, Containers: in.Containers, Table: tableOf(l), Now: noon,
		})
		r := Plan(in)
		maps.DeleteFunc(r.Changes, func(_ string, c *ledger.Change) bool {
			// Settings are not on the labels; a job alone leaves no trace.
			return c.Action == ledger.Settings || c.Action == ledger.Run && onlyJobs(in.App)
		})
		if len(r.Changes) > 0 {
			t.Fatalf("rebuilt ledger changes something:\n%s", shown(Plan(in)))
		}
	})
}

func onlyJobs(app manifests.App) bool {
	return !slices.ContainsFunc(app.Services, func(s manifests.Service) bool { return s.Kind != manifests.KindOneShot })
}

// tableOf is the ambassador's table as the ledger would have it.
func tableOf(l ledger.App) traffic.Table {
	var t traffic.Table
	for name, s := range l.Services {
		svc := traffic.Service{Name: l.ID() + "/" + name}
		for state, d := range map[traffic.ReleaseState]*ledger.Deployed{traffic.Active: s.Active, traffic.Standby: s.Standby} {
			if d == nil || d.Service.Kind != manifests.KindEndpoint {
				continue
			}
			rel := traffic.Release{Name: d.Table(), State: state}
			for _, i := range d.Instances {
				rel.Endpoints = append(rel.Endpoints, traffic.Endpoint{Container: i.Container})
			}
			svc.Releases = append(svc.Releases, rel)
		}
		t.Services = append(t.Services, svc)
	}
	return t
}
