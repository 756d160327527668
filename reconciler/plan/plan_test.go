package plan

import (
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/reconciler/ledger"
)

// TestScripts runs testdata/scripts: "plan" shows what an app would change, "apply"
// also carries it out; the other commands change the world around it.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		w := &world{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return w.run(t, d) })
	})
}

// world is what a script works on.
type world struct {
	ledger  ledger.App
	host    ledger.Host
	volumes []engine.Volume
	foreign []engine.Container
	n       int
}

func (w *world) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "plan", "apply", "restart":
		w.n++
		in := input(parseApp(t, d.Input), w.ledger)
		in.ID = "r" + string(rune('0'+w.n))
		in.Host, in.Volumes, in.Containers = w.host, append(in.Volumes, w.volumes...), append(in.Containers, w.foreign...)
		if d.Cmd == "restart" {
			in.Restart = []string{"*"}
			if d.HasArg("service") {
				d.ScanArgs(t, "service", &in.Restart[0])
			}
		}
		r := Plan(in)
		if d.Cmd == "apply" && r.Hold == nil {
			w.ledger = succeed(in, r)
			if again := Plan(input(in.App, w.ledger)); !again.NoChange || again.Hold != nil {
				t.Errorf("%s: the second plan is not empty:\n%s", d.Pos, shown(again))
			}
		}
		return shown(r)
	case "quarantine": // service=web reason=… : the wanted release of the last plan
		return w.quarantine(t, d)
	case "forget-standby":
		for _, s := range w.ledger.Services {
			s.Standby = nil
		}
	case "drain":
		for _, s := range w.ledger.Services {
			if s.Standby != nil {
				s.Standby.Place = ledger.ToStandby
				s.Leaving, s.Standby = append(s.Leaving, s.Standby), nil
			}
		}
	case "volume":
		v := engine.Volume{Labels: map[string]string{}}
		var project, key string
		d.ScanArgs(t, "name", &v.Name)
		d.MaybeScanArgs(t, "project", &project)
		d.MaybeScanArgs(t, "key", &key)
		v.Labels[engine.LabelComposeProject], v.Labels[engine.LabelComposeVolume] = project, key
		w.volumes = append(w.volumes, v)
	case "container":
		w.container(t, d)
	case "claim":
		var key, app string
		d.ScanArgs(t, "key", &key)
		d.ScanArgs(t, "app", &app)
		w.host.Claims = merged(w.host.Claims, map[string]string{key: app})
	case "create-volumes":
		w.ledger.CreateVolumes = true
	case "suspend":
		w.ledger.Suspended = &ledger.Override{By: status.Actor{Name: "ann"}, Reason: "hands off"}
	case "job":
		w.job(t, d)
	default:
		t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
	}
	return "ok\n"
}

func (w *world) container(t *testing.T, d *datadriven.TestData) {
	c := engine.Container{State: engine.Running, Labels: map[string]string{}}
	var project, volume, bind string
	d.ScanArgs(t, "name", &c.Name)
	d.MaybeScanArgs(t, "project", &project)
	if d.MaybeScanArgs(t, "volume", &volume) {
		c.Mounts = append(c.Mounts, engine.Observed{Type: "volume", Name: volume, Writable: !d.HasArg("ro")})
	}
	if d.MaybeScanArgs(t, "bind", &bind) {
		c.Mounts = append(c.Mounts, engine.Observed{Type: "bind", Source: bind, Writable: !d.HasArg("ro")})
	}
	if d.HasArg("stopped") {
		c.State = engine.Exited
	}
	c.Labels[engine.LabelComposeProject] = project
	w.foreign = append(w.foreign, c)
}

// quarantine puts the release that the given app wants of a service away.
func (w *world) quarantine(t *testing.T, d *datadriven.TestData) string {
	var service string
	d.ScanArgs(t, "service", &service)
	in := input(parseApp(t, d.Input), w.ledger)
	id := Wanted(in.App, in.Images)[service]
	s := w.ledger.Services[service]
	s.Quarantined = map[string]ledger.Quarantine{id: {Reason: status.HealthCheckFailed, Message: "GET /up: 500", At: noon}}
	return Short(id) + "\n"
}

// job sets how the newest release of a one-shot ended.
func (w *world) job(t *testing.T, d *datadriven.TestData) {
	var service, state string
	d.ScanArgs(t, "service", &service)
	d.ScanArgs(t, "state", &state)
	in := input(parseApp(t, d.Input), w.ledger)
	if w.ledger.Services[service] == nil {
		w.ledger.Services = map[string]*ledger.Service{service: {Name: service}}
	}
	id := Wanted(in.App, in.Images)[service]
	w.ledger.Services[service].Jobs = map[string]ledger.Job{id: {State: ledger.JobState(strings.ToLower(state))}}
}
