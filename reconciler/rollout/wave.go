package rollout

import (
	"maps"
	"slices"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/reconciler/ledger"
)

// openWave begins the present wave, or, after the last, the monitoring.
func (t *turn) openWave() {
	r := t.app.Rollout
	if r.Wave >= len(r.Waves) {
		t.enter(ledger.Monitoring)
		return
	}
	if r.Waves[r.Wave].Step == "" {
		t.toStep(ledger.BeforeJobs)
	}
}

// toStep puts the present wave on a step.
func (t *turn) toStep(s ledger.WaveStep) {
	r := t.app.Rollout
	r.Waves[r.Wave].Step = s
	r.Since, r.Progress = t.now(), t.now()
}

// rolling works on the present wave.
func (t *turn) rolling() {
	r := t.app.Rollout
	if r.Wave >= len(r.Waves) || r.Waves[r.Wave].Step == "" {
		t.openWave()
		return
	}
	if t.superseded() || t.reverted() {
		return
	}
	if f := t.watch(); f != nil {
		t.fail(*f)
		return
	}
	t.tend()
	t.rest()
	if t.overdue() {
		return
	}
	w := &r.Waves[r.Wave]
	switch w.Step {
	case ledger.BeforeJobs:
		t.jobsThen(w.Before, nil, ledger.Starting)
	case ledger.Starting:
		t.starting(w)
	case ledger.Warming:
		t.warming(w)
	case ledger.Exchanging:
		t.exchanging(w)
	case ledger.AfterJobs:
		if t.attend(w) {
			t.jobsThen(w.After, w, t.beforeSwitch(w))
		}
	case ledger.Canary:
		t.canarying(w)
	case ledger.Switching:
		t.switching(w)
	case ledger.Replacing:
		t.replacing(w)
	case ledger.Switched:
		r.Wave++
		t.openWave()
	}
}

// overdue fails a rollout that made no progress for too long. What is not the
// release's fault is tried again later.
func (t *turn) overdue() bool {
	r := t.app.Rollout
	if t.jobRuns() {
		return false
	}
	limit := r.Progress.Add(t.progressDeadline())
	if t.now().Before(limit) {
		t.wakeAt(limit)
		return false
	}
	f := ledger.Failure{Reason: status.HealthCheckFailed, Message: "no progress for " + t.progressDeadline().String()}
	if p := t.lastTrouble(); p != nil {
		f.Reason, f.Retry = p.Reason, true
		f.Message += ": " + p.Message
	}
	t.fail(f)
	return true
}

// lastTrouble is a failure of an action that passes.
func (t *turn) lastTrouble() *Failed {
	for _, key := range slices.Sorted(maps.Keys(t.obs.Failures)) {
		if f := t.obs.Failures[key]; f.Passing {
			return &f
		}
	}
	return nil
}

// progressDeadline is the longest of the changed services, and never shorter
// than what one of them may take to warm and its former to end.
func (t *turn) progressDeadline() time.Duration {
	var d time.Duration
	for _, c := range t.app.Rollout.Changes {
		if c.To != nil && c.Action != ledger.Run {
			d = max(d, or(c.To.Service.Update.Progress, defaultProgress), HoldFor(&c.To.Release)+time.Minute)
			if plan := c.To.Service.Canary; plan != nil {
				d = max(d, plan.Interval+time.Minute)
			}
		}
	}
	return or(d, defaultProgress)
}

// inWave calls f for the changes of a wave that bring containers.
func (t *turn) inWave(w *ledger.Wave, f func(name string, c *ledger.Change)) {
	for _, name := range w.Services {
		c := t.change(name)
		if c != nil && c.To != nil && (c.Action == ledger.Replace || c.Action == ledger.Scale) {
			f(name, c)
		}
	}
}

// answersSoon says that every container of d answers the ambassador and has
// only just started, so that its HEALTHCHECK is all that is waited for.
func (t *turn) answersSoon(name string, d *ledger.Deployed) bool {
	for k := range d.Instances {
		c, ok := t.container(&d.Instances[k])
		if !ok || t.now().Sub(c.Started) > soonReady {
			return false
		}
		if e, ok := t.endpoint(name, d, &c); !ok || !e.Warm {
			return false
		}
	}
	return len(d.Instances) > 0
}

// early says that a change's containers start before the switch.
func (t *turn) early(name string, c *ledger.Change) bool {
	return c.Action == ledger.Scale || t.style(name) == beside
}

// starting creates all containers of the wave; those that start before the
// switch are started meanwhile.
func (t *turn) starting(w *ledger.Wave) {
	all := true
	t.inWave(w, func(name string, c *ledger.Change) {
		for k := range c.To.Instances {
			i := &c.To.Instances[k]
			if _, ok := t.container(i); ok {
				continue
			}
			all = false
			if f := t.create(name, c.To, i); f != nil && !f.Passing && t.app.Rollout.Failure == nil {
				t.fail(*t.blame(name, c.To, f))
			}
		}
	})
	if all && t.app.Rollout.Failure == nil {
		t.toStep(ledger.Warming)
	}
}

// soonReady is how long after its start a candidate that answers is taken to be
// ready any moment.
const soonReady = 2 * time.Second

// warming waits until all that starts before the switch is ready. What is about
// to be replaced is disarmed meanwhile where that is a matter of milliseconds:
// the engine takes as long to change a policy.
func (t *turn) warming(w *ledger.Wave) {
	t.endpoints(w, func(name string, c *ledger.Change) {
		if c.Switched || t.style(name) != beside {
			return
		}
		c.Disarmed = c.FromStandby || len(w.After) == 0 && !t.canaried(name, c) && t.answersSoon(name, c.To)
		if c.Disarmed {
			t.disarm(name, t.service(name).Active)
		}
	})
	if t.attend(w) {
		t.toStep(ledger.Exchanging)
	}
}

// attend keeps what runs before the switch ready, and says whether all is.
func (t *turn) attend(w *ledger.Wave) bool {
	all := true
	t.inWave(w, func(name string, c *ledger.Change) {
		if t.app.Rollout.Failure != nil || c.Switched || !t.early(name, c) && !t.exchanged(name, c) {
			return
		}
		if c.FromStandby {
			c.To.Frozen = false
		}
		v := t.bring(name, c.To)
		if v.failure != nil {
			t.fail(*v.failure)
		}
		c.HealthyOnce = c.HealthyOnce || v.ready
		all = all && v.ready
	})
	return all && t.app.Rollout.Failure == nil
}

// exchanged says that a stop-first service runs its new containers already.
func (t *turn) exchanged(name string, c *ledger.Change) bool {
	return c.Action == ledger.Replace && c.Holding && t.style(name) == exchange &&
		!t.mayRun(t.service(name).Active)
}

// endpoints calls f for the changes of a wave whose containers have traffic,
// or belong to a unit that has.
func (t *turn) endpoints(w *ledger.Wave, f func(name string, c *ledger.Change)) {
	t.inWave(w, func(name string, c *ledger.Change) {
		if s := t.style(name); c.Action == ledger.Replace && (s == beside || s == exchange) {
			f(name, c)
		}
	})
}

// jobsThen runs one-shots and goes on when all are done. w gives the
// candidates that they test.
func (t *turn) jobsThen(names []string, w *ledger.Wave, next ledger.WaveStep) {
	if t.runJobs(names, w) {
		t.toStep(next)
	}
}
