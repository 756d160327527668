package plan

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// share is an app's part of the table with all of its services active.
func share(t *testing.T, text string) (manifests.App, AppTraffic) {
	t.Helper()
	app := parseApp(t, text)
	in := input(app, ledger.App{})
	l := succeed(in, Plan(in))
	var backends []traffic.Service
	for _, s := range app.Services {
		if s.Container.NetworkMode == "" {
			backends = append(backends, traffic.Service{Name: app.ID() + "/" + s.Name, App: app.ID(), Releases: []traffic.Release{{
				Name: l.Services[s.Name].Active.ID, State: traffic.Active,
				Endpoints: []traffic.Endpoint{{Container: "c", Started: noon.In(time.FixedZone("x", 3600))}},
			}}})
		}
	}
	return app, TrafficOf(l, backends, map[string]string{"shop_default": "/run/remora/netns/shop_default"})
}

// rows prints listeners as a person reads them.
func rows(table traffic.Table) []string {
	var out []string
	for _, l := range table.Listeners {
		key := fmt.Sprintf(":%d", l.Port)
		if l.Address.IsValid() {
			key = netip.AddrPortFrom(l.Address, l.Port).String()
		}
		if l.Namespace != "" {
			key = l.Namespace + "/" + key
		}
		for _, r := range l.Routes {
			out = append(out, fmt.Sprintf("%s %s %s%s → %s:%d of %s", key, l.Protocol, r.Host, r.Path, r.Service, r.Port, l.Owner))
		}
	}
	return out
}

func TestTable(t *testing.T) {
	shop, shopShare := share(t, `
web app:v1 port=80:3000
api app:v1 route=api.example.com:/v1 replicas=2
any app:v1 port=:9000
sidecar envoy:1 unit=web port=8443:443
local app:v1 port=8081:81
quiet app:v1`)
	blog, blogShare := share(t, "app blog\nweb app:v1 route=API.example.com:/ port=80:3000\nadmin app:v1 port=8081:81")
	h := ledger.Host{
		Ports: map[string]uint16{"production/shop/any/9000": 30100},
		Claims: map[string]string{
			"port/:80": shop.ID(), "port/:8081": shop.ID(), "route/:80/api.example.com/": blog.ID(), "route/:80/api.example.com/v1": shop.ID(),
		},
		Addresses: map[string]map[netip.Addr]ledger.Address{"shop_default": {
			netip.MustParseAddr("10.210.0.200"): {Owner: ServiceOwner("production", "shop", "api")},
			netip.MustParseAddr("10.210.0.201"): {Owner: ServiceOwner("production", "shop", "quiet")},
		}},
	}
	in := TableInput{BootID: "b", EngineStart: "e", HTTP: []uint16{80}, Host: h, Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Apps: map[string]AppTraffic{shop.ID(): shopShare, blog.ID(): blogShare}}
	table := Table(in)
	want := []string{
		":80 detect api.example.com/v1 → production/shop/api:3000 of production/shop",
		":80 detect api.example.com → production/blog/web:3000 of production/shop",
		":80 detect  → production/shop/web:3000 of production/shop",
		":8081 detect  → production/shop/local:81 of production/shop",
		":8443 detect  → production/shop/web:443 of production/shop",
		":30100 detect  → production/shop/any:9000 of production/shop",
		"shop_default/10.210.0.200:3000 detect  → production/shop/api:3000 of production/shop",
	}
	if diff := cmp.Diff(want, rows(table)); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(in.Trusted, table.TrustedProxies, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("trusted proxies (-want +got):\n%s", diff)
	}
	if len(table.Namespaces) != 1 || table.Namespaces[0].Path != "/run/remora/netns/shop_default" {
		t.Errorf("namespaces %v", table.Namespaces)
	}
	if !slices.IsSortedFunc(table.Services, func(a, b traffic.Service) int { return cmpStrings(a.Name, b.Name) }) {
		t.Error("services are not in order")
	}
}

func cmpStrings(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// TestEqualTables: a table equals itself built again, and as the ambassador
// gives it back, whatever the generation; another does not.
func TestEqualTables(t *testing.T) {
	app, part := share(t, "web app:v1 port=80:3000")
	in := TableInput{HTTP: []uint16{80}, Apps: map[string]AppTraffic{app.ID(): part}}
	a := Table(in)
	data, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var b traffic.Table
	if err := json.Unmarshal(data, &b); err != nil {
		t.Fatal(err)
	}
	b.Generation = 7
	if !EqualTables(a, b) || !EqualTables(a, Table(in)) {
		t.Errorf("tables differ:\n%s", cmp.Diff(a, b, equalAddresses))
	}
	in.BootID = "other"
	if EqualTables(a, Table(in)) {
		t.Error("a table of another boot is equal")
	}
}

// TestTrafficInForce: ports and routes follow the traffic, not the wish.
func TestTrafficInForce(t *testing.T) {
	v1 := &ledger.Deployed{Release: ledger.Release{ID: "v1", Service: manifests.Service{Name: "web", Expose: []uint16{1}}}}
	v2 := &ledger.Deployed{Release: ledger.Release{ID: "v2", Service: manifests.Service{Name: "web", Expose: []uint16{2}}}}
	for _, tt := range []struct {
		name   string
		active *ledger.Deployed
		change *ledger.Change
		want   uint16 // 0: none
	}{
		{name: "active", active: v1, want: 1},
		{name: "before_the_switch", active: v1, change: &ledger.Change{Action: ledger.Replace, From: v1, To: v2}, want: 1},
		{name: "switched", active: v1, change: &ledger.Change{Action: ledger.Replace, From: v1, To: v2, Switched: true}, want: 2},
		{name: "first", change: &ledger.Change{Action: ledger.Replace, To: v2}, want: 2},
		{name: "dropping", active: v1, change: &ledger.Change{Action: ledger.Drop, From: v1}, want: 1},
		{name: "dropped", active: v1, change: &ledger.Change{Action: ledger.Drop, From: v1, Switched: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := ledger.App{Services: map[string]*ledger.Service{"web": {Active: tt.active}}}
			if tt.change != nil {
				l.Rollout = &ledger.Rollout{Changes: map[string]*ledger.Change{"web": tt.change}}
			}
			var got uint16
			for _, r := range TrafficOf(l, nil, nil).Releases {
				got = r.Service.Expose[0]
			}
			if got != tt.want {
				t.Errorf("in force: %d, want %d", got, tt.want)
			}
		})
	}
}
