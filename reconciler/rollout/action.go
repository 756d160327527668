package rollout

import (
	"time"

	"github.com/remorahq/remora/manifests"
)

// Pauses between tries of an action that failed.
const (
	firstRetry  = time.Second
	longRetry   = 5 * time.Minute
	firstHealth = 250 * time.Millisecond
)

// Retry is how long to wait after an action failed for the attempts-th time: a
// health check is asked again after 250 ms, doubling up to its own interval;
// all else after 1 s, doubling up to 5 min.
func (a Action) Retry(attempts int) time.Duration {
	if a.Kind != Health {
		return doubling(firstRetry, longRetry, attempts)
	}
	interval := defaultInterval
	if a.Deployed != nil && a.Deployed.Healthcheck != nil {
		interval = intervalOf(a.Deployed.Healthcheck)
	}
	return doubling(firstHealth, max(interval, firstHealth), attempts)
}

// doubling is first for the first attempt, twice that for the second, up to
// most.
func doubling(first, most time.Duration, attempts int) time.Duration {
	d := first
	for range min(attempts-1, 20) {
		if d *= 2; d >= most {
			return most
		}
	}
	return d
}

// Docker's defaults of a health check.
const (
	defaultInterval = 30 * time.Second
	defaultTimeout  = 30 * time.Second
	defaultRetries  = 3
)

func intervalOf(h *manifests.Healthcheck) time.Duration {
	if h.Interval > 0 {
		return h.Interval
	}
	return defaultInterval
}

func timeoutOf(h *manifests.Healthcheck) time.Duration {
	if h.Timeout > 0 {
		return h.Timeout
	}
	return defaultTimeout
}

func retriesOf(h *manifests.Healthcheck) int {
	if h.Retries > 0 {
		return h.Retries
	}
	return defaultRetries
}
