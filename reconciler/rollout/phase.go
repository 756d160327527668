package rollout

import (
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/reconciler/ledger"
)

// advance takes the rollout under way as far as it goes without waiting. What
// a phase asked for before it was left is taken back: the next one asks for
// what it still needs.
func (t *turn) advance() {
	for t.app.Rollout != nil {
		mark, at := len(t.actions), position(t.app.Rollout)
		t.phase(t.app.Rollout)
		if r := t.app.Rollout; r != nil && position(r) == at {
			return
		}
		t.forgetActions(mark)
		if t.app.Rollout == nil {
			return
		}
	}
}

type place struct {
	phase ledger.Phase
	wave  int
	step  ledger.WaveStep
}

func position(r *ledger.Rollout) place {
	p := place{phase: r.Phase, wave: r.Wave}
	if r.Phase == ledger.Rolling && r.Wave < len(r.Waves) {
		p.step = r.Waves[r.Wave].Step
	}
	return p
}

// enter begins a phase.
func (t *turn) enter(p ledger.Phase) {
	r := t.app.Rollout
	r.Phase, r.Since, r.Progress = p, t.now(), t.now()
}

func (t *turn) phase(r *ledger.Rollout) {
	switch r.Phase {
	case ledger.Pending, "":
		t.pending()
	case ledger.Granted:
		t.enter(ledger.Pulling)
	case ledger.Pulling:
		t.pulling()
	case ledger.Rolling:
		t.rolling()
	case ledger.Monitoring:
		t.monitoring()
	case ledger.Discarding, ledger.RollingBack:
		t.undo()
	case ledger.Ended:
		t.app.Rollout = nil
	}
}

// superseded ends a rollout that a newer revision replaces: only before the
// switch, and never while a job runs.
func (t *turn) superseded() bool {
	if t.obs.Superseded == "" || t.anySwitched() || t.jobRuns() {
		return false
	}
	t.app.Rollout.Superseded = t.obs.Superseded
	t.fail(ledger.Failure{Reason: status.Superseded, Message: "superseded by " + t.obs.Superseded})
	return true
}

// reverted ends a rollout after the switch, when a newer revision wants back
// what it replaced: the moment at which most reverts come.
func (t *turn) reverted() bool {
	if t.obs.Superseded == "" || !t.obs.GoBack || !t.anySwitched() || t.jobRuns() {
		return false
	}
	t.app.Rollout.Superseded = t.obs.Superseded
	t.fail(ledger.Failure{Reason: status.Superseded, Message: "reverted by " + t.obs.Superseded})
	return true
}

// gateEvery is how often a gate that said wait is asked again.
const gateEvery = 5 * time.Second

func (t *turn) pending() {
	r := t.app.Rollout
	if t.superseded() {
		return
	}
	if r.Kind != ledger.Return && t.obs.NotReady != "" {
		t.wakeAt(t.now().Add(gateEvery))
		return
	}
	if t.obs.Granted || t.ungated() {
		t.enter(ledger.Granted)
		return
	}
	t.act(Action{Kind: Acquire, Release: r.Revision})
	if t.obs.Waiting != "" {
		t.wakeAt(t.now().Add(gateEvery))
	}
}

// ungated says that a rollout needs no gate: a return to releases that stand
// by, none of them stop-first.
func (t *turn) ungated() bool {
	r := t.app.Rollout
	if r.Kind != ledger.Return || !r.FastLane {
		return false
	}
	for name := range r.Changes {
		if s := t.style(name); s == exchange || s == background {
			return false
		}
	}
	return true
}

// pulling brings all images, and makes networks and volumes, before anything
// is touched.
func (t *turn) pulling() {
	if t.superseded() {
		return
	}
	r := t.app.Rollout
	if r.Kind != ledger.Remove && !t.obs.Networks && !r.FastLane {
		t.actOrFail("", nil, Action{Kind: Network, Release: r.Revision})
	}
	done := t.obs.Networks || r.FastLane || r.Kind == ledger.Remove
	for _, name := range t.changes() {
		if !t.pulled(name) {
			done = false
		}
		if t.app.Rollout.Phase != ledger.Pulling {
			return
		}
	}
	if done && r.Phase == ledger.Pulling {
		t.enter(ledger.Rolling)
		t.openWave()
	}
}

// pulled says that the image of what a change creates is there.
func (t *turn) pulled(name string) bool {
	c := t.change(name)
	if c.To == nil || c.Action == ledger.Drop || c.Action == ledger.Settings || c.Action == ledger.Run && t.jobDone(name, c) {
		return true
	}
	missing := false
	for k := range c.To.Instances {
		if _, ok := t.container(&c.To.Instances[k]); !ok {
			missing = true
		}
	}
	ref := c.To.Reference()
	if !missing || t.obs.Pulled[ref] {
		return true
	}
	t.actOrFail(name, c.To, Action{
		Kind: Pull, Service: name, Release: c.To.ID, Image: ref,
		Platform: c.To.Service.Container.Platform, Deployed: c.To.Clone(),
	})
	return false
}

// actOrFail asks for an action without which the rollout cannot go on.
func (t *turn) actOrFail(name string, d *ledger.Deployed, a Action) {
	f := t.act(a)
	if f == nil || f.Passing {
		return
	}
	fail := ledger.Failure{Service: name, Reason: f.Reason, Message: f.Message}
	if d != nil {
		fail = *t.blame(name, d, f)
	}
	t.fail(fail)
}

// monitoring watches what was switched, and promotes it when the time is over.
func (t *turn) monitoring() {
	if t.reverted() {
		return
	}
	if f := t.watch(); f != nil {
		t.fail(*f)
		return
	}
	t.tend()
	t.rest()
	at := t.app.Rollout.Since.Add(t.monitorFor())
	if t.now().Before(at) && (!t.obs.Hurry || t.obs.Superseded == "") {
		t.wakeAt(at)
		return
	}
	t.promote()
}

// anySwitched says that a change has the traffic, or runs in its former's
// place.
func (t *turn) anySwitched() bool {
	if t.app.Rollout == nil {
		return false
	}
	for _, c := range t.app.Rollout.Changes {
		if c.Switched {
			return true
		}
	}
	return false
}
