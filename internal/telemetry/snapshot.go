package telemetry

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remorahq/remora/internal/status"
)

// scrapeTimeout bounds the questions of one scrape.
const scrapeTimeout = 5 * time.Second

// snapshot reads the status at each scrape. It describes no metric beforehand:
// which there are depends on what runs.
type snapshot struct{ backend Backend }

// Describe sends nothing, which makes the collector an unchecked one.
func (s *snapshot) Describe(chan<- *prometheus.Desc) {}

// Collect reads the status and the routes.
func (s *snapshot) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	c := &scrape{out: out}
	host, err := s.backend.Status(ctx)
	c.gauge("remora_status_up", "1 when the agent could tell its status.", flag(err == nil), nil)
	if err != nil {
		return
	}
	c.host(host)
	if rows, err := s.backend.Routes(ctx); err == nil {
		c.routes(rows)
	}
}

// labels are names and values in turn.
type labels []string

type scrape struct{ out chan<- prometheus.Metric }

func (c *scrape) gauge(name, help string, value float64, l labels) {
	c.metric(prometheus.GaugeValue, name, help, value, l)
}

func (c *scrape) metric(kind prometheus.ValueType, name, help string, value float64, l labels) {
	var names, values []string
	for i := 0; i+1 < len(l); i += 2 {
		names, values = append(names, l[i]), append(values, l[i+1])
	}
	c.out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, value, values...)
}

// moment is a time as Prometheus writes it; a zero one is left out.
func (c *scrape) moment(name, help string, at time.Time, l labels) {
	if !at.IsZero() {
		c.gauge(name, help, float64(at.UnixMilli())/1000, l)
	}
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

func (c *scrape) host(h status.Host) {
	c.gauge("remora_need_person", "Things on this host that wait for a person.", float64(h.NeedPerson), nil)
	c.gauge("remora_engine_up", "1 while the container engine answers.", flag(h.Engine.Connected), nil)
	c.gauge("remora_ambassador_up", "1 while the ambassador answers.", flag(h.Ambassador.Connected), nil)
	c.gauge("remora_ambassador_generation", "The generation of the table in force.", float64(h.Ambassador.Generation), nil)
	c.moment("remora_reconcile_last_timestamp_seconds", "When a reconcile last finished.", h.LastReconcile, nil)
	for _, s := range h.Sources {
		c.source(s)
	}
	active := 0
	for _, a := range h.Apps {
		c.app(a)
		if a.Rollout != nil {
			active++
		}
	}
	c.gauge("remora_rollouts_active", "Rollouts under way.", float64(active), nil)
}

func (c *scrape) source(s status.Source) {
	l := labels{"source", s.Name, "environment", s.Environment}
	c.gauge("remora_source_info", "1, with the revision in force.", 1, append(slices.Clip(l), "revision", s.Revision))
	c.moment("remora_source_fetched_timestamp_seconds", "When the server last confirmed the revision.", s.FetchedAt, l)
	for _, cond := range s.Conditions {
		switch cond.Type {
		case status.Ready:
			c.gauge("remora_source_ready", "1 while the source can be read.", flag(cond.True), l)
		case status.SourceVerified:
			c.gauge("remora_source_verified", "1 while the revision is signed as the host demands.", flag(cond.True), l)
		}
	}
}

func (c *scrape) app(a status.App) {
	l := labels{"environment", a.Environment, "app", a.Name}
	c.gauge("remora_app_info", "1, with how the app is.", 1, append(slices.Clip(l),
		"revision", a.Revision, "sync", string(a.Sync), "health", string(a.Health), "reason", string(a.Reason)))
	c.moment("remora_app_since_timestamp_seconds", "Since when the app is as it is.", a.Since, l)
	c.gauge("remora_app_pinned", "1 while a person's rollback pins the app.", flag(a.Pinned), l)
	c.gauge("remora_app_suspended", "1 while a person suspended the app.", flag(a.Suspended), l)
	entry, _ := status.Explain(a.Reason)
	c.gauge("remora_app_needs_person", "1 while the app waits for a person.", flag(entry.NeedsPerson), l)
	for _, s := range a.Services {
		c.service(l, s)
	}
}

func (c *scrape) service(app labels, s status.Service) {
	l := append(slices.Clip(app), "service", s.Name)
	c.gauge("remora_service_info", "1, with what runs and what is wanted.", 1, append(slices.Clip(l),
		"kind", s.Kind, "running", s.Running, "wanted", s.Wanted, "sync", string(s.Sync), "health", string(s.Health)))
	c.gauge("remora_service_healthy", "1 while the service is healthy.", flag(s.Health == status.Healthy), l)
	c.gauge("remora_service_stopped_by_hand", "1 while a person stopped the service.", flag(s.Reason == status.StoppedByHand), l)
	if s.Traffic >= 0 {
		c.gauge("remora_service_traffic_ratio", "The share of new requests that the running release gets.", float64(s.Traffic)/100, l)
	}
	roles := map[string]int{}
	for _, i := range s.Instances {
		roles[i.Role]++
	}
	for role, n := range roles {
		c.gauge("remora_service_containers", "Containers by their part in a rollout.", float64(n), append(slices.Clip(l), "role", role))
	}
}

// routes sums the counters of each service over its releases. They are the
// service's: every route that leads to it shows the same ones.
func (c *scrape) routes(rows []status.RouteRow) {
	type key struct{ service, release string }
	seen := map[key]bool{}
	sums := map[string]status.RouteRow{}
	for _, r := range rows {
		if seen[key{r.Service, r.Release}] {
			continue
		}
		seen[key{r.Service, r.Release}] = true
		sum := sums[r.Service]
		sum.Inflight += r.Inflight
		sum.Tunnels += r.Tunnels
		sum.Requests += r.Requests
		sum.Errors += r.Errors
		sums[r.Service] = sum
	}
	for service, sum := range sums {
		l := labels{"service", service}
		c.gauge("remora_traffic_inflight", "Requests in flight.", float64(sum.Inflight), l)
		c.gauge("remora_traffic_tunnels", "Tunnels that go on: TCP, WebSocket, event streams.", float64(sum.Tunnels), l)
		c.metric(prometheus.CounterValue, "remora_traffic_requests_total", "Requests answered by the releases in the table.", float64(sum.Requests), l)
		c.metric(prometheus.CounterValue, "remora_traffic_errors_total", "Requests answered with 5xx, or not at all.", float64(sum.Errors), l)
	}
}
