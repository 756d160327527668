package reconciler

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/plan"
	"github.com/remorahq/remora/reconciler/rollout"
)

// service makes one service's row.
func (w *worker) service(name string, app status.App, wanted map[string]string, containers containerSet) status.Service {
	v := status.Service{Name: name, Wanted: wanted[name], Traffic: -1, Sync: status.Synced, Health: status.Missing, Reason: app.Reason, Back: "never", Message: app.Message, Warnings: slices.Concat(w.warnings(name), w.certificateWarnings(name), w.listenWarnings(name))}
	if w.desired != nil && w.desired.app != nil {
		if s := w.desired.app.Service(name); s != nil {
			v.Kind = string(s.Kind)
		}
	}
	s := w.app.Services[name]
	if s == nil {
		s = &ledger.Service{}
	}
	base := w.r.now()
	if serving := rollout.Serving(&w.app, name); serving != nil {
		w.serving(&v, s, serving, containers)
		base = serving.Since
	}
	if c := w.changeOf(name); c != nil || v.Running != v.Wanted && v.Wanted != "" || v.Running == "" {
		v.Sync = status.OutOfSync
	}
	v.Back = rollout.Back(w.app, name)
	if last := lastJob(s); last != nil {
		jobRow(&v, last)
		base = last.Began
	}
	v.Since = w.sinceShown(name, v, base)
	return v
}

// changeOf is what the rollout under way does to a service, or nil.
func (w *worker) changeOf(name string) *ledger.Change {
	if w.app.Rollout == nil {
		return nil
	}
	return w.app.Rollout.Changes[name]
}

// serving fills a row from the release that has the traffic, or runs in the
// service's place, and adds the containers of the others.
func (w *worker) serving(v *status.Service, s *ledger.Service, d *ledger.Deployed, containers containerSet) {
	v.Kind = string(d.Service.Kind)
	v.Running, v.RunningRelease = d.Tag, d.ID
	seen := w.r.table.seen(w.id, []string{w.id + "/" + v.Name})[w.id+"/"+v.Name]
	active := instances(d, "active", containers, seen)
	v.Health = healthOf(active, s)
	v.Instances = active
	for _, other := range w.others(v.Name, s, d) {
		v.Instances = append(v.Instances, instances(other.d, other.role, containers, seen)...)
	}
	if d.Service.Kind == manifests.KindEndpoint {
		v.Traffic = share(d, seen)
		if v.Traffic > 0 {
			v.Traffic -= rollout.CanaryShare(&w.app, v.Name)
		}
	}
	if s.Stopped != nil {
		v.Reason, v.Health, v.Message = status.StoppedByHand, status.HealthSuspended, stoppedMessage(s.Stopped)
		if s.Stopped.Enforced {
			v.Traffic = 0
		}
	}
	if m := s.Maintenance; m != nil && v.Traffic > 0 {
		v.Traffic = 0
	}
	if s.Maintenance != nil && s.Stopped == nil && v.Reason.Open() {
		v.Reason, v.Message = status.Maintenance, maintenanceMessage(s.Maintenance)
	}
	if c := w.changeOf(v.Name); c != nil && c.Holding && v.Traffic > 0 {
		v.Traffic = 0
	}
}

// share is the percentage of new requests that a release gets: none while
// nothing of it is good, or no ambassador answers.
func share(d *ledger.Deployed, seen map[string]traffic.ReleaseReport) int {
	rep := seen[d.Table()]
	if rep.State == traffic.Active && anyGood(rep.Endpoints) {
		return 100
	}
	return 0
}

// placed is a release that does not serve, and what it is there for.
type placed struct {
	d    *ledger.Deployed
	role string
}

// others are a service's releases beside the one that serves.
func (w *worker) others(name string, s *ledger.Service, serving *ledger.Deployed) []placed {
	var out []placed
	add := func(d *ledger.Deployed, role string) {
		if d != nil && d != serving {
			out = append(out, placed{d, role})
		}
	}
	if c := w.changeOf(name); c != nil && c.Action != ledger.Run && c.Action != ledger.Settings {
		role := "candidate"
		if c.Trial != nil {
			role = "canary"
		}
		add(c.To, role)
	}
	add(s.Active, "draining")
	add(s.Standby, "standby")
	for _, d := range s.Leaving {
		role := "draining"
		if d.Place == ledger.Evidence {
			role = "failed"
		}
		add(d, role)
	}
	return out
}

// shown is what a row was when it became so.
type shown struct {
	running string
	reason  status.Reason
	health  status.Health
	sync    status.Sync
	since   time.Time
}

// sinceShown is since when a row is as it is. One that is shown for the first
// time since the agent began is so since base.
func (w *worker) sinceShown(name string, v status.Service, base time.Time) time.Time {
	now := shown{v.RunningRelease, v.Reason, v.Health, v.Sync, base}
	was, known := w.shown[name]
	switch {
	case known && now.running == was.running && now.reason == was.reason && now.health == was.health && now.sync == was.sync:
		return was.since
	case known:
		now.since = w.r.now()
	case w.shown == nil:
		w.shown = map[string]shown{}
	}
	w.shown[name] = now
	return now.since
}

// warnings are what loading said of a service without stopping it; with no
// name those of the app as a whole.
func (w *worker) warnings(service string) []string {
	if w.desired == nil || w.desired.app == nil {
		return nil
	}
	var out []string
	for _, d := range slices.Concat(w.desired.app.Warnings, plan.AddressLost(w.desired.app, w.r.cfg.KeepClient)) {
		of := strings.HasPrefix(d.Field, "services.")
		if service == "" && !of || of && (d.Field == "services."+service || strings.HasPrefix(d.Field, "services."+service+".")) {
			out = append(out, d.String())
		}
	}
	return out
}

func maintenanceMessage(m *ledger.Maintenance) string {
	text := "visitors get the page that " + m.By.Name + " put up"
	if m.Reason != "" {
		text += ": " + m.Reason
	}
	if !m.Until.IsZero() {
		text += ", until " + m.Until.Format("15:04")
	}
	return text
}

// listenWarnings are what the ambassador says of the listeners that lead to a
// service.
func (w *worker) listenWarnings(service string) (out []string) {
	rep, table, _, _ := w.r.table.state()
	for _, warning := range rep.Warnings {
		for _, l := range table.Listeners {
			leads := slices.ContainsFunc(l.Routes, func(r traffic.Route) bool { return r.Service == w.id+"/"+service })
			if l.ListenerKey == warning.ListenerKey && leads {
				out = append(out, warning.Text)
			}
		}
	}
	return out
}

func stoppedMessage(o *ledger.Override) string {
	m := "stopped by " + o.By.Name
	if o.Reason != "" {
		m += ": " + o.Reason
	}
	if !o.Until.IsZero() {
		m += ", repaired at " + o.Until.Format("15:04")
	}
	return m
}

// instances are the containers of a release as the engine has them. The
// ambassador counts tunnels by release: they are shown where that has one
// container.
func instances(d *ledger.Deployed, role string, containers containerSet, seen map[string]traffic.ReleaseReport) []status.Instance {
	out := make([]status.Instance, 0, len(d.Instances))
	for _, i := range d.Instances {
		v := status.Instance{ID: i.Container, Name: i.Name, Release: d.Tag, Role: role, State: "missing"}
		if c, ok := containers[i.Container]; ok {
			v.Name, v.State, v.Health, v.Started = c.Name, string(c.State), c.Health, c.Started
		}
		if networks := slices.Sorted(maps.Keys(i.Addresses)); len(networks) > 0 {
			v.Address = i.Addresses[networks[0]].String()
		}
		if len(d.Instances) == 1 {
			v.Tunnels = seen[d.Table()].Tunnels
		}
		out = append(out, v)
	}
	return out
}

// healthOf sums up the containers of the active release.
func healthOf(list []status.Instance, s *ledger.Service) status.Health {
	running := 0
	for _, i := range list {
		switch {
		case i.State == string(engine.Running) && i.Health != "unhealthy":
			running++
		case i.Health == "unhealthy":
			return status.Degraded
		}
	}
	switch {
	case running == len(list) && running > 0:
		return status.Healthy
	case s.Crashes > 0 || running > 0:
		return status.Degraded
	}
	return status.Missing
}

// lastJob is a one-shot's last run, or nil.
func lastJob(s *ledger.Service) *ledger.Job {
	var last *ledger.Job
	for _, j := range s.Jobs {
		if last == nil || j.Began.After(last.Began) {
			last = &j
		}
	}
	return last
}

// jobRow shows a one-shot's last run.
func jobRow(v *status.Service, last *ledger.Job) {
	v.Kind = string(manifests.KindOneShot)
	switch last.State {
	case ledger.JobDone:
		v.Health, v.Sync, v.Running = status.Healthy, status.Synced, "done"
	case ledger.JobRunning:
		v.Health, v.Running = status.HealthProgressing, "running"
	case ledger.JobUnknown:
		v.Health, v.Running, v.Message = status.Degraded, "unknown", "its container vanished while it ran; `remora retry` runs it again"
	default:
		v.Health, v.Running, v.Message = status.Degraded, "failed", fmt.Sprintf("exited %d", last.ExitCode)
	}
}
