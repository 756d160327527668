package gitsource

import (
	"context"
	"math/rand/v2"
	"time"
)

// maxBackoff bounds the pause between polls of a server that fails, unless the
// interval itself is longer.
const maxBackoff = 5 * time.Minute

// Changes returns a channel that says when it is time to call Fetch: at every
// poll interval, varied by a fifth so that hosts do not ask in step, with
// growing pauses while Fetch fails. The channel is closed when ctx or the
// source ends. A reader that is late misses nothing: one hint is kept.
func (s *Source) Changes(ctx context.Context) <-chan struct{} {
	hints := make(chan struct{}, 1)
	s.watchers.Go(func() {
		defer close(hints)
		for {
			timer := time.NewTimer(vary(backoff(s.poll, int(s.failures.Load())), rand.Float64()))
			select {
			case <-timer.C:
				hint(hints)
			case <-ctx.Done():
				timer.Stop()
				return
			case <-s.done:
				timer.Stop()
				return
			}
		}
	})
	return hints
}

// hint leaves a hint unless one is there.
func hint(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// backoff doubles the interval with every failure after the first.
func backoff(interval time.Duration, failures int) time.Duration {
	limit := max(maxBackoff, interval)
	for range failures - 1 {
		if interval >= limit {
			return limit
		}
		interval *= 2
	}
	return min(interval, limit)
}

// vary returns d ± 20 %; at is in [0, 1).
func vary(d time.Duration, at float64) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*at))
}
