package plan

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// TestTableCarriesAccess: what the file says of a route comes into the table on
// that route, and assets on every way to the service.
func TestTableCarriesAccess(t *testing.T) {
	app, own := share(t, "web app:v1 port=80:3000 route=shop.example.com:/")
	office := netip.MustParsePrefix("192.0.2.0/24")
	own.Releases[0].Service.Assets = []string{"/assets/*"}
	own.Releases[0].Service.Routes[0].Access = manifests.Access{
		Allow: []netip.Prefix{office}, Rate: manifests.Rate{PerSecond: 2.5, Burst: 20}, MaxConns: 7,
		Replay: true, Retry5xx: true, ServerTiming: true,
	}
	h := ledger.Host{Addresses: map[string]map[netip.Addr]ledger.Address{"shop_default": {
		netip.MustParseAddr("10.210.0.200"): {Owner: ServiceOwner("production", "shop", "web")},
	}}}
	table := Table(TableInput{
		HTTP: []uint16{80}, Host: h, Apps: map[string]AppTraffic{app.ID(): own},
		Limits: Limits(manifests.HostLimits{Header: manifests.Duration(5 * time.Second), BodyRate: 9, Idle: manifests.Duration(time.Minute), PerClient: 3}),
	})
	want := []traffic.Route{
		{
			Host: "shop.example.com", Service: "production/shop/web", Port: 3000, Assets: []string{"/assets/*"},
			Allow: []netip.Prefix{office}, Rate: traffic.Rate{PerSecond: 2.5, Burst: 20}, MaxConns: 7,
			Replay: true, Retry5xx: true, ServerTiming: true,
		},
		{Service: "production/shop/web", Port: 3000, Assets: []string{"/assets/*"}},
		{Service: "production/shop/web", Port: 3000, Assets: []string{"/assets/*"}},
	}
	var got []traffic.Route
	for _, l := range table.Listeners {
		got = append(got, l.Routes...)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	limits := traffic.Limits{Header: 5 * time.Second, BodyRate: 9, Idle: time.Minute, PerClient: 3}
	if table.Limits != limits {
		t.Errorf("limits %+v, want %+v", table.Limits, limits)
	}
}

// TestAccessIsASetting: who may use a route, assets and the canary change
// without another release.
func TestAccessIsASetting(t *testing.T) {
	app := parseApp(t, "web app:v1 route=shop.example.com:/")
	in := input(app, ledger.App{})
	in.Ledger = succeed(in, Plan(in))
	s := in.App.Service("web")
	s.Routes[0].MaxConns, s.Assets = 7, []string{"/assets/*"}
	s.Canary = &manifests.Canary{Steps: []int{500}, Interval: time.Second}
	c := Plan(in).Changes["web"]
	if c == nil || c.Action != ledger.Settings {
		t.Fatalf("change %+v, want new settings", c)
	}
}

// TestCanaryIsInThePlan: a person sees the steps before they come, and why there
// are none.
func TestCanaryIsInThePlan(t *testing.T) {
	s := manifests.Service{OrderWhy: "it keeps the anonymous volume /data", Order: manifests.StopFirst, Canary: &manifests.Canary{
		Steps: []int{500, 2500}, Interval: 30 * time.Second, Sticky: "cookie", Mirror: 1000,
	}}
	from := &ledger.Deployed{Release: ledger.Release{ID: "v1:a"}}
	to := &ledger.Deployed{Release: ledger.Release{ID: "v1:b", Service: s}}
	for name, c := range map[string]struct {
		change ledger.Change
		want   string
	}{
		"beside":     {ledger.Change{From: from, To: to}, "canary: mirror 10 %, 5 %, 25 %, 30s each, sticky by cookie"},
		"first":      {ledger.Change{To: to}, ""},
		"standby":    {ledger.Change{From: from, To: to, FromStandby: true}, ""},
		"restart":    {ledger.Change{From: to, To: to}, ""},
		"stop-first": {ledger.Change{From: from, To: to, Order: manifests.StopFirst}, "! no canary: stop-first because it keeps the anonymous volume /data"},
	} {
		t.Run(name, func(t *testing.T) {
			c.change.Action = ledger.Replace
			if got := canaryNote(s, &c.change); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
