package rollout

import (
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/reconciler/ledger"
)

// sets are all sets of containers of a service, wherever they stand.
func (t *turn) sets(name string) []*ledger.Deployed {
	var out []*ledger.Deployed
	if s := t.app.Services[name]; s != nil {
		out = append(out, s.Active, s.Standby)
		out = append(out, s.Leaving...)
	}
	if c := t.change(name); c != nil && c.Action != ledger.Run {
		out = append(out, c.To)
	}
	n := 0
	for _, d := range out {
		if d != nil {
			out[n], n = d, n+1
		}
	}
	return out[:n]
}

// everyName is the services of the ledger and of the rollout.
func (t *turn) everyName() []string {
	names := t.services()
	for _, n := range t.changes() {
		if t.app.Services[n] == nil {
			names = append(names, n)
		}
	}
	return names
}

// adopt matches the ledger's instances with the containers that exist: a
// container is found by its ID, or by the key in its labels when the agent
// died before it could write the ID down.
func (t *turn) adopt() {
	t.byKey = map[string]string{}
	for id, c := range t.obs.Containers {
		key := c.Labels[engine.LabelInstance]
		if had := t.byKey[key]; key != "" && (had == "" || id < had) {
			t.byKey[key] = id
		}
	}
	for _, name := range t.everyName() {
		for _, d := range t.sets(name) {
			for i := range d.Instances {
				t.adoptInstance(&d.Instances[i])
			}
		}
		t.adoptJobs(name)
	}
}

func (t *turn) adoptJobs(name string) {
	s := t.app.Services[name]
	if s == nil {
		return
	}
	for id, j := range s.Jobs {
		if j.Instance.Name != "" {
			t.adoptInstance(&j.Instance)
			s.Jobs[id] = j
		}
	}
}

func (t *turn) adoptInstance(i *ledger.Instance) {
	c, ok := t.container(i)
	if !ok {
		if c, ok = t.obs.Containers[t.byKey[i.Key]]; !ok {
			t.lose(i)
			return
		}
		i.Container = c.ID
	}
	i.Restart = c.Restart
}

// lose forgets a container that is gone; what it takes to make it again stays.
func (t *turn) lose(i *ledger.Instance) {
	if i.Container == "" {
		return
	}
	i.Container, i.Restart, i.Restarts, i.Captured = "", "", 0, false
	i.Epoch, i.Hooked = time.Time{}, time.Time{}
}

// reboot notices another start of the host or of the engine: what the engine
// ended is no crash, standbys stand by stopped, and a rollout that was cut off
// before its switch begins again.
func (t *turn) reboot() {
	was, start := t.app.BootID, t.app.EngineStart
	if t.obs.EngineStart == "" || was == t.obs.BootID && start == t.obs.EngineStart {
		return
	}
	t.app.BootID, t.app.EngineStart = t.obs.BootID, t.obs.EngineStart
	if start == "" {
		return
	}
	for _, name := range t.everyName() {
		for _, d := range t.sets(name) {
			t.rebase(d)
		}
		if s := t.app.Services[name]; s != nil {
			s.NextStart = time.Time{}
		}
		t.cutJobs(name)
	}
	t.interrupt()
}

// rebase makes the containers' present state the one from which on starts and
// exits count.
func (t *turn) rebase(d *ledger.Deployed) {
	for i := range d.Instances {
		in := &d.Instances[i]
		c, ok := t.container(in)
		if !ok {
			continue
		}
		in.Restarts = c.RestartCount
		if !alive(&c) {
			in.Epoch = c.Started
		}
	}
}

// cutJobs: the outcome of a one-shot that ran when the engine ended is not
// known.
func (t *turn) cutJobs(name string) {
	s := t.app.Services[name]
	if s == nil {
		return
	}
	for id, j := range s.Jobs {
		if j.State != ledger.JobRunning || !j.Launched {
			continue
		}
		if c, ok := t.container(&j.Instance); ok && c.State == engine.Created {
			continue // it never ran
		}
		j.State, j.Ended = ledger.JobUnknown, t.now()
		s.Jobs[id] = j
	}
}

// interrupt discards a rollout that the restart cut off before its switch.
func (t *turn) interrupt() {
	r := t.app.Rollout
	if r == nil || r.Phase != ledger.Rolling || t.anySwitched() {
		return
	}
	if f := t.cutOffJob(); f != nil {
		t.fail(*f)
		return
	}
	t.fail(ledger.Failure{
		Reason: status.Interrupted, Retry: true,
		Message: "the host or its container engine restarted; the rollout begins again",
	})
}

// cutOffJob is the failure of a one-shot that may not be repeated and whose
// outcome is unknown.
func (t *turn) cutOffJob() *ledger.Failure {
	for _, name := range t.changes() {
		c := t.change(name)
		if c.Action != ledger.Run || c.To == nil || c.To.Service.Idempotent {
			continue
		}
		if j := t.service(name).Jobs[c.To.ID]; j.State == ledger.JobUnknown {
			return t.unknownJob(name, c, &j)
		}
	}
	return nil
}

// expireMaintenance opens a service again when its maintenance is over.
func (t *turn) expireMaintenance(name string, s *ledger.Service) {
	switch {
	case s.Maintenance == nil || s.Maintenance.Until.IsZero():
	case t.now().Before(s.Maintenance.Until):
		t.wakeAt(s.Maintenance.Until)
	default:
		s.Maintenance = nil
		t.event(event{service: name, reason: status.Succeeded, text: name + " was under maintenance; its time is over and it takes requests again"})
	}
}

// expire ends a person's stop, and maintenance, when its time is over.
func (t *turn) expire() {
	for _, name := range t.services() {
		s := t.app.Services[name]
		t.expireMaintenance(name, s)
		if s.Stopped == nil {
			continue
		}
		end := t.stopEnds(s.Stopped)
		switch {
		case end.IsZero():
		case t.now().Before(end):
			t.wakeAt(end)
		default:
			s.Stopped = nil
			t.event(event{service: name, reason: status.Progressing, text: name + " was stopped by hand; its time is over and it is started again"})
		}
	}
}
