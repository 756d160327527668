package reconciler

import (
	"fmt"
	"os"
	"time"

	"github.com/remorahq/remora/internal/engine"
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

// forgetGone drops what is remembered of containers that are gone.
func (w *worker) forgetGone(containers containerSet) {
	for _, m := range []map[string]time.Time{w.oom, w.healthy, w.ownEnded} {
		for id := range m {
			if _, ok := containers[id]; !ok {
				delete(m, id)
			}
		}
	}
}
