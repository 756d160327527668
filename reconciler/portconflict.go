package reconciler

import (
	"fmt"
	"slices"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/reconciler/plan"
)

// portRetry is how often a port that another program holds is looked at again.
const portRetry = 10 * time.Second

// portHeld holds a plan whose ports another program has: the switch would
// move the traffic to where nobody can listen. Ports that the ambassador has
// already are its own.
func (w *worker) portHeld(in plan.Input) *plan.Held {
	own := w.r.table.listening()
	for _, port := range plan.Ports(in) {
		if own[port] || w.r.cfg.PortBusy == nil || !w.r.cfg.PortBusy(port) {
			continue
		}
		return &plan.Held{
			Reason:  status.PortConflict,
			Message: fmt.Sprintf("port %d of the host is held by another program", port),
			Remedy:  fmt.Sprintf("end it (`ss -ltnp sport = :%d` names it), or choose another port; what runs goes on", port),
		}
	}
	return nil
}

// failure is a listener of the app that the ambassador could not open.
func (k *tableKeeper) failure(app string) (traffic.ListenFailure, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	failures := k.report.Failures // newer than the acknowledgement's
	if k.report.Generation < k.acked.Generation {
		failures = k.ack.Failures
	}
	i := slices.IndexFunc(failures, func(f traffic.ListenFailure) bool { return f.Owner == app })
	if i < 0 {
		return traffic.ListenFailure{}, false
	}
	return failures[i], true
}
