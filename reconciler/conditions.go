package reconciler

import (
	"fmt"
	"slices"

	"github.com/remorahq/remora/internal/status"
)

// conditions judge an app: whether it is ready, whether remora is at work on
// it, whether it waits for a person, and whether what runs is not what was
// rolled out. Since is when a condition became so, by its truth and reason.
func (w *worker) conditions(v status.App) []status.Condition {
	ready := v.Health == status.Healthy && v.Sync == status.Synced
	entry, _ := status.Explain(v.Reason)
	stalled := !ready && v.Rollout == nil && (entry.NeedsPerson || w.app.Last != nil && w.app.Last.Stalled)
	working := !stalled && v.Health != status.HealthUnknown && (v.Rollout != nil || (w.preparing || w.planDue) && !w.looking)
	drift := w.drift(v)
	return []status.Condition{
		w.condition(status.Condition{Type: status.Ready, True: ready, Reason: v.Reason, Message: v.Message}),
		w.condition(status.Condition{Type: status.Reconciling, True: working, Reason: reasonIf(working, status.Progressing, v.Reason), Message: rolloutText(v.Rollout)}),
		w.condition(status.Condition{Type: status.Stalled, True: stalled, Reason: v.Reason, Message: entry.Remedy}),
		w.condition(status.Condition{Type: status.Drifted, True: drift != "", Reason: reasonIf(drift != "", status.Progressing, v.Reason), Message: drift}),
	}
}

func reasonIf(is bool, yes, no status.Reason) status.Reason {
	if is {
		return yes
	}
	return no
}

func rolloutText(r *status.Rollout) string {
	if r == nil {
		return ""
	}
	return fmt.Sprintf("%s of %s", r.Phase, r.Revision)
}

// drift names what an app should run and does not, although nothing is being
// rolled out; empty where there is nothing.
func (w *worker) drift(v status.App) string {
	if v.Rollout != nil || v.Health == status.HealthUnknown {
		return ""
	}
	for _, s := range v.Services {
		had := w.app.Services[s.Name]
		if had == nil || had.Stopped != nil {
			continue
		}
		i := slices.IndexFunc(s.Instances, func(i status.Instance) bool { return i.Role == "active" && i.State != "running" })
		if i >= 0 {
			return fmt.Sprintf("container %s is %s", s.Instances[i].Name, s.Instances[i].State)
		}
	}
	return ""
}

// condition gives a condition the time since which it is so. The text of one
// that does not hold says nothing.
func (w *worker) condition(c status.Condition) status.Condition {
	if !c.True && c.Type != status.Ready {
		c.Message = ""
	}
	c.Since = w.r.now()
	for _, was := range w.outcome.Conditions {
		if was.Type == c.Type && was.True == c.True && was.Reason == c.Reason {
			c.Since = was.Since
		}
	}
	return c
}
