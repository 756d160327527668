package ambassador

import (
	"fmt"
	"strings"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
)

// told is an explanation as people read it.
func told(e traffic.Explanation) string {
	var b strings.Builder
	for _, s := range e.Steps() {
		fmt.Fprintf(&b, "%v %s: %s\n", s.OK, s.Name, s.Text)
	}
	return b.String()
}

// TestExplainAgreesWithRequests: what explain says of a URL is what a request
// for it then gets.
func TestExplainAgreesWithRequests(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "other")
	base := func() *traffic.Table {
		tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a))
		tb.Listeners[0].Routes = []traffic.Route{
			{Host: "shop.test", Path: "/", Service: "env/app/web", Port: backendPort},
			{Host: "shop.test", Path: "/other", Service: "env/app/other", Port: backendPort, MaxConns: 7, Rate: traffic.Rate{PerSecond: 100, Burst: 50}},
			{Host: "*.test", Path: "/", Service: "env/app/web", Port: backendPort, RedirectTLS: 443},
		}
		tb.Services = append(tb.Services, traffic.Service{
			Name: "env/app/other", App: "env/app", Active: "o1", HoldFor: tb.Services[0].HoldFor, Releases: []traffic.Release{rel("o1", traffic.Active, b)},
		})
		return tb
	}
	for _, c := range []struct {
		name, host, path string
		change           func(*traffic.Table)
		status           int
		reason           string // Remora-Reason of the answer
		want             string
	}{
		{name: "served", host: "shop.test", path: "/", status: 200, want: "release: v1: active"},
		{
			name: "longest path", host: "shop.test", path: "/other/x", status: 200,
			want: "route: shop.test/other: its host name is exact, and its path the longest, of 3 that match",
		},
		{name: "limits", host: "shop.test", path: "/other", status: 200, want: "access: 100 requests a second of one client, 50 at once; 0 of 7 places taken"},
		{name: "redirected", host: "www.test", path: "/", status: 308, reason: "https-only", want: "false access: answered 308 https-only"},
		{name: "no route", host: "elsewhere", path: "/", status: 404, reason: "no-route", want: "false route: answered 404 no-route"},
		{
			name: "maintenance", host: "shop.test", path: "/", status: 503, reason: "maintenance",
			change: func(tb *traffic.Table) { tb.Services[0].Maintenance = true }, want: "false release: answered 503 maintenance",
		},
		{
			name: "no release", host: "shop.test", path: "/", status: 503, reason: "no-release",
			change: func(tb *traffic.Table) { tb.Services[0].Active = "" }, want: "false release: answered 503 no-release",
		},
		{
			name: "down", host: "shop.test", path: "/", status: 503, reason: "no-instance",
			change: func(tb *traffic.Table) { tb.Services[0].Releases[0].Endpoints[0].Down = true }, want: "false release: answered 503 no-instance",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			tb := base()
			if c.change != nil {
				c.change(tb)
			}
			r.put(tb)
			e, err := r.wk.Explain(t.Context(), fmt.Sprintf("http://%s:%d%s", c.host, port, c.path))
			if err != nil || !strings.Contains(told(e), c.want) {
				t.Errorf("no %q, %v in\n%s", c.want, err, told(e))
			}
			res, _ := ask(t, port, fmt.Sprintf("%s:%d", c.host, port), c.path, "*/*")
			if res.StatusCode != c.status || res.Header.Get("Remora-Reason") != c.reason {
				t.Errorf("request: %d %q", res.StatusCode, res.Header.Get("Remora-Reason"))
			}
			if (e.Refused == nil) != (c.status == 200) || e.Refused != nil && (e.Refused.Status != c.status || e.Refused.Reason != c.reason || e.Refused.Remedy == "") {
				t.Errorf("refused %+v", e.Refused)
			}
		})
	}
}

// TestExplainInstances: each instance's state is told, with its last error, and
// nothing is taken by asking.
func TestExplainInstances(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	good, gone := startBackend(t, "good"), dead("gone")
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, good, gone))
	tb.Listeners[0].Routes[0].Rate = traffic.Rate{PerSecond: 0.001, Burst: 20}
	r.put(tb)
	c := connect(t, port)
	for range 12 {
		c.want("GET", get("/"), 200, "good")
	}
	raw := fmt.Sprintf("http://127.0.0.1:%d/", port)
	var text string
	for range 50 { // would be over the rate
		e, err := r.wk.Explain(t.Context(), raw)
		if err != nil || e.Refused != nil {
			t.Fatalf("%v %+v", err, e.Refused)
		}
		text = told(e)
	}
	for _, want := range []string{"gone refusing, 0 in flight (connect to port 7070: connection refused)", "→ good ", "listener: 127.0.0.1:"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	alone := *tb
	alone.Services = []traffic.Service{tb.Services[0]}
	alone.Services[0].Releases = []traffic.Release{rel("v1", traffic.Active, gone)}
	r.put(&alone)
	connect(t, port).want("GET", get("/"), 502, "")
	if e, err := r.wk.Explain(t.Context(), raw); err != nil || !strings.Contains(told(e), "false instance: → gone refusing") {
		t.Errorf("%v %s", err, told(e))
	}
	hold := *tb
	hold.Services[0].Hold = true
	r.put(&hold)
	if e, err := r.wk.Explain(t.Context(), raw); err != nil || e.Waits == "" || !strings.Contains(told(e), "requests wait") {
		t.Errorf("%v %+v", err, e)
	}
	for _, bad := range []string{"", "shop", "ftp://x/", "http://", "::"} {
		if _, err := r.wk.Explain(t.Context(), bad); err == nil {
			t.Errorf("%q was explained", bad)
		}
	}
	e, err := r.wk.Explain(t.Context(), "http://127.0.0.1:1/")
	if err != nil || e.Refused == nil || e.Refused.Step != "listener" {
		t.Errorf("%v %+v", err, e)
	}
}
