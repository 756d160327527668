package rollout

import (
	"fmt"
	"math"
	"strings"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// canaried says that a change gets its traffic in steps: it stands beside what
// serves, and no return hurries.
func (t *turn) canaried(name string, c *ledger.Change) bool {
	return t.app.Rollout.Kind != ledger.Return && c.Canaried() &&
		c.To.Service.Kind == manifests.KindEndpoint && t.style(name) == beside
}

// beforeSwitch is the step that follows the jobs after the new containers.
func (t *turn) beforeSwitch(w *ledger.Wave) ledger.WaveStep {
	step := ledger.Switching
	t.endpoints(w, func(name string, c *ledger.Change) {
		if t.canaried(name, c) {
			step = ledger.Canary
		}
	})
	return step
}

// canarying gives the new sets of a wave their shares, each at its own pace,
// until all have had their last one. What fails meanwhile is discarded as
// before a switch.
func (t *turn) canarying(w *ledger.Wave) {
	if !t.attend(w) {
		return
	}
	done := true
	t.endpoints(w, func(name string, c *ledger.Change) {
		if t.app.Rollout.Failure != nil || !t.canaried(name, c) {
			return
		}
		if f := t.canaryFails(name, c); f != nil {
			t.fail(*f)
			return
		}
		done = t.tryOut(name, c) && done
	})
	if done && t.app.Rollout.Failure == nil {
		t.toStep(ledger.Switching)
	}
}

// canaryFails looks at the containers that have a share of the traffic.
func (t *turn) canaryFails(name string, c *ledger.Change) *ledger.Failure {
	for k := range c.To.Instances {
		if why := t.ill(name, c.To, &c.To.Instances[k]); why != "" {
			return t.broken(name, c.To, why)
		}
	}
	return nil
}

// tryOut brings one canary on, and says when it has had its last stage. A stage
// counts from when the ambassador serves it.
func (t *turn) tryOut(name string, c *ledger.Change) bool {
	plan := c.To.Service.Canary
	if c.Trial == nil {
		c.HadTraffic = true
		t.toStage(name, c, 0)
	}
	if c.Trial.Stage >= ledger.Stages(plan) {
		return true
	}
	if c.Trial.Since.IsZero() {
		if !t.applied() {
			return false
		}
		c.Trial.Since, t.app.Rollout.Progress = t.now(), t.now()
	}
	if end := c.Trial.Since.Add(plan.Interval); t.now().Before(end) {
		t.wakeAt(end)
		return false
	}
	t.toStage(name, c, c.Trial.Stage+1)
	return c.Trial.Stage >= ledger.Stages(plan)
}

// toStage begins a stage and tells it.
func (t *turn) toStage(name string, c *ledger.Change, stage int) {
	c.Trial = &ledger.Trial{Stage: stage}
	if stage >= ledger.Stages(c.To.Service.Canary) {
		return
	}
	t.event(event{
		service: name, release: &c.To.Release, reason: status.Progressing,
		text: name + " " + tag(&c.To.Release) + " " + stageText(c),
	})
}

// stageText says what a canary gets: "canary 25 %".
func stageText(c *ledger.Change) string {
	share, mirror := ledger.Stage(c.To.Service.Canary, c.Trial.Stage)
	switch {
	case mirror > 0:
		return "mirror " + manifests.Percent(mirror)
	case share > 0:
		return "canary " + manifests.Percent(share)
	}
	return "mirrored"
}

// canaryText says where the canaries of a wave stand.
func (t *turn) canaryText(w *ledger.Wave) string {
	var parts []string
	t.endpoints(w, func(name string, c *ledger.Change) {
		if c.Trial != nil {
			parts = append(parts, fmt.Sprintf("%s %s", name, stageText(c)))
		}
	})
	if len(parts) == 0 {
		return "canary"
	}
	return strings.Join(parts, ", ")
}

// CanaryShare is the percentage of new requests that the new release of a
// service has by its canary.
func CanaryShare(app *ledger.App, name string) int {
	if app.Rollout == nil || undoing(app.Rollout) {
		return 0
	}
	c := app.Rollout.Changes[name]
	if c == nil || c.Trial == nil || c.Switched || c.To == nil {
		return 0
	}
	share, _ := ledger.Stage(c.To.Service.Canary, c.Trial.Stage)
	return int(math.Round(float64(share) / 100))
}

// candidate adds the set that is to get the traffic: it warms, or has its share.
func (v view) candidate(out *traffic.Service, name string, c *ledger.Change, rise int) {
	state := traffic.Warming
	if c.Trial != nil {
		state = traffic.Canary
	}
	if !v.add(out, name, c.To, state, rise) || c.Trial == nil {
		return
	}
	plan := c.To.Service.Canary
	share, mirror := ledger.Stage(plan, c.Trial.Stage)
	if share > 0 {
		out.Split = &traffic.Split{Release: c.To.Table(), Share: share, Sticky: plan.Sticky}
	}
	if mirror > 0 {
		out.Mirror = &traffic.Mirror{Release: c.To.Table(), Share: mirror}
	}
}
