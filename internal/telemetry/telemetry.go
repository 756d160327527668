// Package telemetry is the agent in Prometheus metrics, all called remora_…:
// gauges are read from the status at each scrape, counters and histograms from
// the events. Revisions and releases are labels of gauges only, never of a
// counter or histogram.
//
// It decides nothing and holds no global state: every Metrics has a registry
// of its own. All methods may be called from any goroutine.
package telemetry

import (
	"context"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/remorahq/remora/internal/status"
)

// Backend is where a scrape reads the status and the routes.
type Backend interface {
	Status(ctx context.Context) (status.Host, error)
	Routes(ctx context.Context) ([]status.RouteRow, error)
}

// Metrics is a registry with all of remora's metrics. Make one with [New].
type Metrics struct {
	registry *prometheus.Registry

	events    *prometheus.CounterVec
	rollouts  *prometheus.CounterVec
	rollbacks *prometheus.CounterVec
	durations *prometheus.HistogramVec
	sources   *prometheus.CounterVec
	loads     *prometheus.CounterVec

	mu    sync.Mutex
	began map[string]time.Time // rollouts under way, by env/app
}

// New returns metrics that know nothing yet: [Metrics.Attach] adds the status,
// [Metrics.Observe] the events.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), began: map[string]time.Time{}}
	m.events = m.counter("remora_events_total", "Events by reason and severity.", "reason", "severity")
	m.rollouts = m.counter("remora_rollouts_total", "Rollouts that ended, by result.", "environment", "app", "result")
	m.rollbacks = m.counter("remora_rollbacks_total", "Rollbacks, by who caused them: remora or a person.", "environment", "app", "trigger")
	m.sources = m.counter("remora_source_failures_total", "Failures to read a source, by reason.", "reason")
	m.loads = m.counter("remora_load_failures_total", "Apps that could not be loaded or were denied, by reason.", "reason")
	m.durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "remora_rollout_duration_seconds", Help: "From a rollout's begin to its end, by result.",
		Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800},
	}, []string{"result"})
	m.registry.MustRegister(m.durations, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

// Attach has every scrape read from backend. It is called once; version is the
// agent's.
func (m *Metrics) Attach(backend Backend, version string) {
	info := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "remora_build_info", Help: "1, with the agent's version.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	}, func() float64 { return 1 })
	m.registry.MustRegister(info, &snapshot{backend: backend})
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// Run observes events until their channel is closed.
func (m *Metrics) Run(events <-chan status.Event) {
	for e := range events {
		m.Observe(e)
	}
}

// Observe counts an event.
func (m *Metrics) Observe(e status.Event) {
	m.events.WithLabelValues(string(e.Reason), e.Severity).Inc()
	switch e.Reason {
	case status.GitOperationFailed, status.AuthenticationFailed, status.VerificationFailed:
		m.sources.WithLabelValues(string(e.Reason)).Inc()
	case status.LoadFailed, status.PolicyDenied, status.NotInThisVersion, status.DecryptFailed:
		m.loads.WithLabelValues(string(e.Reason)).Inc()
	case status.Progressing, status.Returning:
		m.begin(e)
	case status.Succeeded, status.RolledBack, status.Superseded, status.Interrupted:
		m.end(e)
	}
}

// begin notes when a rollout began: its first event.
func (m *Metrics) begin(e status.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := e.Environment + "/" + e.App
	if _, ok := m.began[key]; !ok && e.App != "" {
		m.began[key] = e.Time
	}
}

func (m *Metrics) end(e status.Event) {
	if e.Reason == status.RolledBack {
		trigger := "remora"
		if e.Actor.Kind == "user" || e.Actor.Kind == "token" {
			trigger = "person"
		}
		m.rollbacks.WithLabelValues(e.Environment, e.App, trigger).Inc()
	}
	key := e.Environment + "/" + e.App
	m.mu.Lock()
	began, ok := m.began[key]
	delete(m.began, key)
	m.mu.Unlock()
	if !ok {
		return
	}
	m.rollouts.WithLabelValues(e.Environment, e.App, string(e.Reason)).Inc()
	m.durations.WithLabelValues(string(e.Reason)).Observe(max(0, e.Time.Sub(began)).Seconds())
}
