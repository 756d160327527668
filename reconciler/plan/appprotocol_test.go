package plan

import (
	"net/netip"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/reconciler/ledger"
)

// TestTableCarriesAppProtocol: how a container is spoken to holds on every way
// to it: the published port, the route by name, and the service's address.
func TestTableCarriesAppProtocol(t *testing.T) {
	for name, want := range map[string]struct {
		port traffic.Protocol
		up   traffic.Upstream
	}{
		"":      {traffic.Detect, traffic.UpstreamHTTP1},
		"http":  {traffic.HTTP, traffic.UpstreamHTTP1},
		"http2": {traffic.HTTP, traffic.UpstreamH2C},
		"https": {traffic.Detect, traffic.UpstreamTLS},
		"tcp":   {traffic.TCP, traffic.UpstreamHTTP1},
	} {
		app, own := share(t, "web app:v1 port=80:3000 route=shop.example.com:/")
		s := &own.Releases[0].Service
		s.Ports[0].App = name
		if name != "tcp" {
			s.Routes[0].App = name
		}
		h := ledger.Host{Addresses: map[string]map[netip.Addr]ledger.Address{"shop_default": {
			netip.MustParseAddr("10.210.0.200"): {Owner: ServiceOwner("production", "shop", "web")},
		}}}
		table := Table(TableInput{HTTP: []uint16{8080}, Host: h, Apps: map[string]AppTraffic{app.ID(): own}})
		if len(table.Listeners) != 3 {
			t.Fatalf("%q: %d listeners", name, len(table.Listeners))
		}
		for _, l := range table.Listeners {
			protocol := want.port
			if l.Port == 8080 {
				protocol = traffic.HTTP // of the host's entry point
			}
			if l.Protocol != protocol || l.Routes[0].Upstream != want.up {
				t.Errorf("%q: port %d is %q and speaks %q to the container, want %q and %q", name, l.Port, l.Protocol, l.Routes[0].Upstream, protocol, want.up)
			}
		}
	}
}
