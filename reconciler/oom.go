package reconciler

import (
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/reconciler/rollout"
)

// settleOOM gives the active release's containers the oom_score_adj that the
// manifest says: candidates are created with a higher one, so that the kernel
// takes them first, and the engine cannot change it later. It is done once for
// each start; where the kernel refuses, the container only stays the likelier
// victim.
func (w *worker) settleOOM(containers containerSet) {
	for name, s := range w.app.Services {
		if s.Active == nil || w.app.Rollout != nil && w.app.Rollout.Changes[name] != nil {
			continue
		}
		for _, i := range s.Active.Instances {
			c, ok := containers[i.Container]
			if !ok || c.State != engine.Running || c.Pid == 0 || w.oom[c.ID].Equal(c.Started) {
				continue
			}
			w.oom[c.ID] = c.Started
			value := fmt.Sprint(s.Active.Service.Container.Resources.OOMScoreAdj)
			if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", c.Pid), []byte(value), 0); err != nil {
				w.log.Debug("oom_score_adj not set", "service", name, "err", err)
			}
		}
	}
}

// forgetGone drops what is remembered of containers that are gone, and of
// actions that nobody asks for any more.
func (w *worker) forgetGone(containers containerSet) {
	gone := func(id string) bool { _, ok := containers[id]; return !ok }
	for _, m := range []map[string]time.Time{w.oom, w.healthy, w.ownEnded} {
		maps.DeleteFunc(m, func(id string, _ time.Time) bool { return gone(id) })
	}
	if w.app.Rollout == nil { // until then an event may still end with it
		maps.DeleteFunc(w.output, func(id, _ string) bool { return gone(id) })
	}
	old := w.r.now().Add(-keepFailures)
	maps.DeleteFunc(w.failures, func(_ string, f rollout.Failed) bool { return f.Next.Before(old) })
}

// keepFailures is how long after its next try was due a failed action is
// remembered: longer than the longest pause, so that its attempts count on.
const keepFailures = 15 * time.Minute
