package ambassador

import (
	"context"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

const (
	// kickEvery is how often requests are ended after the drain's deadline,
	// until none is left.
	kickEvery = 50 * time.Millisecond
	// spread is over how long tunnels are ended, so that their clients do not
	// all come back at once.
	spread = 30 * time.Second
)

// setDrain starts the deadlines of a release that began to drain, and ends
// them for one that does not drain any more.
func (wk *Worker) setDrain(rv *releaseView) {
	rel := rv.rel
	rel.mu.Lock()
	defer rel.mu.Unlock()
	if rv.spec.State != traffic.Draining {
		if rel.drain != nil {
			rel.drain()
			rel.drain = nil
		}
		return
	}
	if rel.drain != nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	rel.drain = stop
	if d := rv.spec.DrainDeadline; d > 0 {
		wk.background.Go(func() { rel.endRequests(ctx, d, wk.stopping) })
	}
	if d := rv.spec.TunnelDeadline; d > 0 {
		wk.background.Go(func() { rel.endTunnels(ctx, d, wk.stopping) })
	}
}

func (r *release) endDrain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.drain != nil {
		r.drain()
		r.drain = nil
	}
}

// endRequests ends what is in flight after the deadline: what has no answer
// yet is replayed or gets 504, what has begun is broken off.
func (r *release) endRequests(ctx context.Context, deadline time.Duration, stopping <-chan struct{}) {
	for wait := deadline; pause(ctx, stopping, wait); wait = kickEvery {
		r.kick(false, 0)
		if r.requests.Load() == 0 {
			return
		}
	}
}

// endTunnels ends the tunnels after the deadline, spread over a while that is
// never longer than the deadline itself.
func (r *release) endTunnels(ctx context.Context, deadline time.Duration, stopping <-chan struct{}) {
	if !pause(ctx, stopping, deadline) {
		return
	}
	r.shut.Store(true)
	steps := int(min(spread, deadline) / kickEvery)
	for left := max(steps, 1); ; left = max(left-1, 1) {
		n := int(r.tunnels.Load())
		r.kick(true, (n+left-1)/left)
		if n == 0 || !pause(ctx, stopping, kickEvery) {
			return
		}
	}
}

// pause waits; false says that the drain or the worker ends.
func pause(ctx context.Context, stopping <-chan struct{}, d time.Duration) bool {
	going := true
	return sleep(ctx, func() { going = false }, d, stopping) && going
}
