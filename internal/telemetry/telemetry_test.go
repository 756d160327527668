package telemetry_test

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/telemetry"
)

type backend struct {
	host status.Host
	rows []status.RouteRow
	err  error
}

func (b backend) Status(context.Context) (status.Host, error)       { return b.host, b.err }
func (b backend) Routes(context.Context) ([]status.RouteRow, error) { return b.rows, b.err }

func scrape(t *testing.T, m *telemetry.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	data, err := io.ReadAll(w.Body)
	if err != nil || w.Code != 200 {
		t.Fatalf("scrape: %d %v\n%s", w.Code, err, data)
	}
	return string(data)
}

func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if t.Failed() {
		for l := range strings.SplitSeq(text, "\n") {
			if strings.HasPrefix(l, "remora_") {
				t.Log(l)
			}
		}
	}
}

func TestScrapeReadsTheStatus(t *testing.T) {
	m := telemetry.New()
	m.Attach(backend{
		host: status.Host{
			NeedPerson: 2, Engine: status.EngineState{Connected: true}, LastReconcile: time.Unix(1000, 0),
			Sources: []status.Source{{
				Name: "main", Environment: "production", Revision: "main@sha1:67e2c98a",
				Conditions: []status.Condition{{Type: status.Ready, True: true}},
			}},
			Apps: []status.App{{
				Environment: "production", Name: "shop", Pinned: true, Reason: status.RolledBack, Rollout: &status.Rollout{},
				Services: []status.Service{{Name: "web", Traffic: 100, Health: status.Healthy, Instances: []status.Instance{{Role: "active"}, {Role: "active"}, {Role: "standby"}}}, {Name: "worker", Traffic: -1}},
			}},
		},
		rows: []status.RouteRow{{Listen: ":80", Service: "shop/web", Release: "a", Requests: 3}, {Listen: ":81", Service: "shop/web", Release: "a", Requests: 3}, {Listen: ":80", Service: "shop/web", Release: "b", Requests: 4, Errors: 1}},
	}, "1.3.0")
	text := scrape(t, m)
	wantLines(t, text,
		`remora_need_person 2`,
		`remora_engine_up 1`,
		`remora_ambassador_up 0`,
		`remora_rollouts_active 1`,
		`remora_reconcile_last_timestamp_seconds 1000`,
		`remora_source_ready{environment="production",source="main"} 1`,
		`remora_app_pinned{app="shop",environment="production"} 1`,
		`remora_app_needs_person{app="shop",environment="production"} 1`,
		`remora_service_traffic_ratio{app="shop",environment="production",service="web"} 1`,
		`remora_service_containers{app="shop",environment="production",role="active",service="web"} 2`,
		`remora_traffic_requests_total{service="shop/web"} 7`,
	)
	if strings.Contains(text, `traffic_ratio{app="shop",environment="production",service="worker"`) {
		t.Error("a worker has a share of traffic")
	}
}

// TestNoRevisionOnCounters also holds for what is added later: every counter
// and histogram that a scrape gives is looked at.
func TestNoRevisionOnCounters(t *testing.T) {
	m := telemetry.New()
	m.Attach(backend{host: status.Host{Apps: []status.App{{Name: "shop", Revision: "r"}}}, rows: []status.RouteRow{{Release: "r"}}}, "1")
	for _, r := range status.Reasons() {
		m.Observe(status.Event{App: "shop", Reason: status.Progressing, Revision: "r", Release: "r"})
		m.Observe(status.Event{App: "shop", Reason: r.Reason, Revision: "r", Release: "r"})
	}
	growing := regexp.MustCompile(`(?m)^# TYPE (remora_\S+) (?:counter|histogram)$`)
	text := scrape(t, m)
	found := growing.FindAllStringSubmatch(text, -1)
	if len(found) < 7 {
		t.Fatalf("found %d counters and histograms: %v", len(found), found)
	}
	for _, f := range found {
		for l := range strings.SplitSeq(text, "\n") {
			if strings.HasPrefix(l, f[1]) && regexp.MustCompile(`revision=|release=`).MatchString(l) {
				t.Errorf("%s", l)
			}
		}
	}
}

func TestEventsAreCounted(t *testing.T) {
	m := telemetry.New()
	at := time.Unix(1000, 0)
	observe := func(after time.Duration, e status.Event) {
		e.Time, e.Environment, e.App, e.Severity = at.Add(after), "production", "shop", "info"
		m.Observe(e)
	}
	observe(0, status.Event{Reason: status.Progressing})
	observe(time.Second, status.Event{Reason: status.Progressing})
	observe(3*time.Second, status.Event{Reason: status.Succeeded})
	observe(4*time.Second, status.Event{Reason: status.RolledBack, Actor: status.Actor{Kind: "user", Name: "alice"}})
	observe(5*time.Second, status.Event{Reason: status.Returning})
	observe(6*time.Second, status.Event{Reason: status.RolledBack})
	observe(7*time.Second, status.Event{Reason: status.GitOperationFailed})
	wantLines(t, scrape(t, m),
		`remora_events_total{reason="Progressing",severity="info"} 2`,
		`remora_rollouts_total{app="shop",environment="production",result="Succeeded"} 1`,
		`remora_rollouts_total{app="shop",environment="production",result="RolledBack"} 1`,
		`remora_rollbacks_total{app="shop",environment="production",trigger="person"} 1`,
		`remora_rollbacks_total{app="shop",environment="production",trigger="remora"} 1`,
		`remora_rollout_duration_seconds_sum{result="Succeeded"} 3`,
		`remora_source_failures_total{reason="GitOperationFailed"} 1`,
	)
}

func TestScrapeWithoutStatus(t *testing.T) {
	m := telemetry.New()
	m.Attach(backend{err: errors.New("starting")}, "1")
	wantLines(t, scrape(t, m), `remora_status_up 0`)
}
