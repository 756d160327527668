package rollout

import (
	"time"

	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// style is how a service's containers replace each other.
type style int

const (
	// beside: an endpoint service whose new containers start and warm while
	// the old ones serve (start-first).
	beside style = iota
	// exchange: an endpoint service that holds its requests while the old
	// containers stop and the new ones start (stop-first).
	exchange
	// background: a worker, whose old containers stop before the new ones
	// start, at the switch.
	background
	// overlap: a worker whose file says start-first: the old containers stop
	// once the new ones are ready, at the switch too.
	overlap
)

// style returns how a service is replaced. A unit is replaced as one: it plays
// the part of its endpoint service, in its strictest order.
func (t *turn) style(name string) style {
	endpoint, stopFirst := false, false
	unit := t.unitOf(name)
	for other, c := range t.app.Rollout.Changes {
		if c.Action != ledger.Replace || c.To == nil || other != name && t.unitOf(other) != unit {
			continue
		}
		endpoint = endpoint || c.To.Service.Kind == manifests.KindEndpoint
		stopFirst = stopFirst || t.stopFirst(other, c)
	}
	switch {
	case endpoint && stopFirst:
		return exchange
	case endpoint:
		return beside
	case stopFirst:
		return background
	}
	return overlap
}

// stopFirst says that From and To may not run at once: either of them demands
// it.
func (t *turn) stopFirst(name string, c *ledger.Change) bool {
	if c.Order == manifests.StopFirst || c.To.Service.Order == manifests.StopFirst {
		return true
	}
	s := t.app.Services[name]
	return s != nil && s.Active != nil && s.Active.Service.Order == manifests.StopFirst
}

// unitOf is the service that owns the namespaces of name's containers.
func (t *turn) unitOf(name string) string {
	if c := t.change(name); c != nil && c.To != nil && c.To.Service.Unit != "" {
		return c.To.Service.Unit
	}
	if s := t.app.Services[name]; s != nil && s.Active != nil && s.Active.Service.Unit != "" {
		return s.Active.Service.Unit
	}
	return name
}

// keepsData says that a service stays on its new release once that was
// healthy, whatever else fails.
func keepsData(c *ledger.Change) bool {
	return c.To != nil && c.To.Service.WritesData && !c.To.Service.Update.RollbackWritten
}

// defaultGrace is how long a container may take to end after its stop signal.
const defaultGrace = 10 * time.Second

func grace(s *manifests.Service) time.Duration {
	if s.Container.StopGrace != nil {
		return *s.Container.StopGrace
	}
	return defaultGrace
}

// Defaults of settings that a loaded manifest always has.
const (
	defaultProgress = 10 * time.Minute
	defaultDrain    = 30 * time.Second
	defaultTunnels  = 10 * time.Minute
	defaultMonitor  = 30 * time.Second
	defaultHealthy  = 10 * time.Second
	baseWarming     = 30 * time.Second
)

func or(d, def time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return def
}

// WarmingDeadline is how long a container of r may take from its start to its
// first readiness. It follows from the settings: HEALTHCHECK gives start_period
// + retries × (interval + timeout) and a little more, a probe gives rise + fall
// rounds beyond 30 s.
func WarmingDeadline(r *ledger.Release) time.Duration {
	var d time.Duration
	if h := r.Healthcheck; h != nil && !h.Disabled() {
		d = h.StartPeriod + time.Duration(retriesOf(h))*(intervalOf(h)+timeoutOf(h)) + 5*time.Second
		if h.StartPeriod > 0 && !r.FromImage {
			return d
		}
	}
	for _, p := range probes(r) {
		d = max(d, baseWarming+time.Duration(p.Rise+p.Fall)*(p.Interval+p.Timeout))
	}
	return max(d, r.Service.Update.MinHealthy+baseWarming)
}

// HoldFor is how long a request waits while a stop-first service is replaced.
func HoldFor(r *ledger.Release) time.Duration {
	if r.Service.Update.HoldRequests > 0 {
		return r.Service.Update.HoldRequests
	}
	return or(r.Service.Update.Drain, defaultDrain) + grace(&r.Service) + WarmingDeadline(r)
}
