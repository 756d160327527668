package plan

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// clientsTable is the table of a service with these ports on one network.
func clientsTable(may bool, n manifests.Network, ports ...manifests.Port) traffic.Table {
	n.Key, n.Name = "default", "shop_default"
	return Table(TableInput{
		KeepClient: may, ProxyFrom: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Host: ledger.Host{Subnets: map[string]netip.Prefix{"shop_default": netip.MustParsePrefix("10.210.3.0/24")}},
		Apps: map[string]AppTraffic{"prod/shop": {
			Releases: []ledger.Release{{Service: manifests.Service{Name: "db", Kind: manifests.KindEndpoint, Ports: ports}}},
			Networks: []manifests.Network{n},
			Services: []traffic.Service{{Name: "prod/shop/db", Releases: []traffic.Release{{Endpoints: []traffic.Endpoint{{Address: netip.MustParseAddr("10.210.3.130")}}}}}},
		}},
	})
}

func TestTunnelsKeepTheirClients(t *testing.T) {
	tcp := manifests.Port{Target: 5432, Published: 5432, App: "tcp"}
	six := manifests.Network{EnableIPv6: true, Subnets: []manifests.Subnet{{Subnet: "fd00:3::/64"}}}
	for name, c := range map[string]struct {
		may           bool
		network       manifests.Network
		ports         []manifests.Port
		keep          bool
		subnet, addr6 string
	}{
		"tunnel":           {true, manifests.Network{}, []manifests.Port{tcp}, true, "10.210.3.0/24", ""},
		"detected":         {true, manifests.Network{}, []manifests.Port{{Target: 80, Published: 80}}, true, "10.210.3.0/24", ""},
		"http":             {true, manifests.Network{}, []manifests.Port{{Target: 80, Published: 80, App: "http"}}, false, "10.210.3.0/24", ""},
		"no right":         {false, manifests.Network{}, []manifests.Port{tcp}, false, "", ""},
		"internal":         {true, manifests.Network{Internal: true}, []manifests.Port{tcp}, true, "", ""},
		"not ours":         {true, manifests.Network{External: true}, []manifests.Port{tcp}, true, "", ""},
		"macvlan":          {true, manifests.Network{Driver: "macvlan"}, []manifests.Port{tcp}, true, "", ""},
		"IPv6":             {true, six, []manifests.Port{tcp}, true, "10.210.3.0/24", "fd00:3::8000:0:ad2:382"},
		"Docker's as well": {true, manifests.Network{}, []manifests.Port{tcp, {Target: 5432, Published: 15432, Docker: true}}, false, "10.210.3.0/24", ""},
	} {
		t.Run(name, func(t *testing.T) {
			table := clientsTable(c.may, c.network, c.ports...)
			l, e := table.Listeners[0], table.Services[0].Releases[0].Endpoints[0]
			if l.KeepClient != c.keep {
				t.Errorf("keeps the client: %v", l.KeepClient)
			}
			if len(l.ProxyFrom) != 1 {
				t.Errorf("believes %v", l.ProxyFrom)
			}
			if got := text(e.Network.IsValid(), e.Network.String()); got != c.subnet {
				t.Errorf("network %q, want %q", got, c.subnet)
			}
			if got := text(e.Address6.IsValid(), e.Address6.String()); got != c.addr6 {
				t.Errorf("IPv6 address %q, want %q", got, c.addr6)
			}
		})
	}
}

func text(valid bool, s string) string {
	if valid {
		return s
	}
	return ""
}

func TestAddressLostIsSaid(t *testing.T) {
	tcp := manifests.Port{Target: 5432, Published: 5432, App: "tcp"}
	service := func(mode string, ports ...manifests.Port) manifests.Service {
		return manifests.Service{Name: "db", Ports: ports, Container: manifests.Container{NetworkMode: mode, Networks: []manifests.Attachment{{Network: "default"}}}}
	}
	routed := service("")
	routed.Routes = []manifests.Route{{Published: 25, Target: 25, ProxyProtocol: 2}}
	for name, c := range map[string]struct {
		may     bool
		network manifests.Network
		service manifests.Service
		want    string
	}{
		"kept":           {true, manifests.Network{}, service("", tcp), ""},
		"no right":       {false, manifests.Network{}, service("", tcp), "CAP_NET_ADMIN"},
		"internal":       {true, manifests.Network{Internal: true}, service("", tcp), "network default is internal"},
		"host's":         {true, manifests.Network{}, service("host", tcp), "host's network"},
		"http":           {false, manifests.Network{}, service("", manifests.Port{Target: 80, Published: 80, App: "http"}), ""},
		"proxy protocol": {false, manifests.Network{}, routed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.network.Key = "default"
			got := AddressLost(&manifests.App{Networks: []manifests.Network{c.network}, Services: []manifests.Service{c.service}}, c.may)
			switch {
			case c.want == "" && len(got) > 0:
				t.Errorf("warns: %v", got)
			case c.want != "" && (len(got) != 1 || !got[0].Warning || !strings.Contains(got[0].Message, c.want) || !strings.Contains(got[0].Message, "5432")):
				t.Errorf("says %v, want %q", got, c.want)
			}
		})
	}
}
