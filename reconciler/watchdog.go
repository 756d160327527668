package reconciler

import (
	"context"
	"fmt"
	"time"

	"github.com/remorahq/remora/internal/status"
)

// silence is how many intervals of a source may pass without a reconcile that
// finished before that is an event.
const silence = 3

// defaultPoll is the interval of a source where the host file names none.
const defaultPoll = 30 * time.Second

// interval is how often the source is looked at.
func (f *follower) interval() time.Duration {
	for _, d := range []time.Duration{time.Duration(f.src.Poll), time.Duration(f.r.cfg.Host.Poll)} {
		if d > 0 {
			return d
		}
	}
	return defaultPoll
}

// watchdog says when a source was due and no reconcile of it has finished for
// three intervals, until ctx ends. It only looks: who hangs may go on.
func (r *Reconciler) watchdog(ctx context.Context) {
	every := defaultPoll
	for _, f := range r.sources {
		every = min(every, f.interval())
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for _, f := range r.sources {
				f.bark()
			}
		}
	}
}

// due notes that a reconcile begins, done that one has finished.
func (f *follower) due() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dueSince.IsZero() {
		f.dueSince = f.r.now()
	}
}

func (f *follower) done() {
	f.mu.Lock()
	f.dueSince, f.barked = time.Time{}, false
	f.mu.Unlock()
	f.r.finished()
}

// bark records once that the source is overdue.
func (f *follower) bark() {
	f.mu.Lock()
	late := f.r.now().Sub(f.dueSince)
	overdue := !f.dueSince.IsZero() && late >= silence*f.interval()
	first := overdue && !f.barked
	f.barked = overdue
	ready, rev := f.condition(status.Ready), f.inForce
	f.mu.Unlock()
	if !first {
		return
	}
	message := fmt.Sprintf("no reconcile has finished for %s", late.Round(time.Second))
	reason := status.GitOperationFailed
	if !ready.True && ready.Reason != "" {
		reason = ready.Reason
		message += ": " + ready.Message
	}
	f.event(rev, reason, "error", message)
}
