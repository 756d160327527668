package plan

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

func network(subnet string) engine.Network {
	return engine.Network{Name: "shop_default", Subnets: []manifests.Subnet{{Subnet: subnet, Gateway: "10.210.0.1"}}, Addresses: map[string]netip.Addr{}}
}

func TestAllocateSubnet(t *testing.T) {
	pool := netip.MustParsePrefix("10.210.0.0/16")
	var h ledger.Host
	used := []netip.Prefix{netip.MustParsePrefix("10.210.0.0/23"), netip.MustParsePrefix("10.210.3.128/25"), netip.MustParsePrefix("fd00::/8")}
	for _, tt := range []struct{ network, want string }{
		{"a", "10.210.2.0/24"}, {"b", "10.210.4.0/24"}, {"a", "10.210.2.0/24"},
	} {
		got, err := AllocateSubnet(&h, pool, tt.network, used)
		if err != nil || got.String() != tt.want {
			t.Errorf("AllocateSubnet(%s) = %v, %v, want %s", tt.network, got, err, tt.want)
		}
	}
	if _, err := AllocateSubnet(&h, netip.MustParsePrefix("10.210.0.0/24"), "c", used); !errors.Is(err, ErrPoolExhausted) {
		t.Errorf("a full pool: %v", err)
	}
	if _, err := AllocateSubnet(&h, netip.MustParsePrefix("10.210.0.0/25"), "c", nil); err == nil {
		t.Error("a pool smaller than one network must be refused")
	}
	FreeSubnet(&h, "a")
	if got, _ := AllocateSubnet(&h, pool, "d", used); got.String() != "10.210.2.0/24" {
		t.Errorf("a freed subnet is not given again: %s", got)
	}
}

func TestHalves(t *testing.T) {
	for subnet, want := range map[string]string{"10.210.2.0/24": "10.210.2.0/25", "192.0.2.8/29": "192.0.2.8/30", "fd00::/64": "fd00::/65", "192.0.2.0/31": ""} {
		if got := Halves(netip.MustParsePrefix(subnet)).Range; got != want {
			t.Errorf("Halves(%s).Range = %q, want %q", subnet, got, want)
		}
	}
}

func TestNetworkSpec(t *testing.T) {
	app := ledger.App{Source: "main", Environment: "production", Name: "shop", Project: "shop"}
	n := manifests.Network{Key: "back", Name: "shop_back", Internal: true, Subnets: []manifests.Subnet{{Subnet: "172.28.0.0/16"}, {Subnet: "172.29.0.0/16", Range: "172.29.9.0/24"}}}
	want := engine.NetworkSpec{
		Name: "shop_back", Internal: true,
		Subnets: []manifests.Subnet{{Subnet: "172.28.0.0/16", Range: "172.28.0.0/17"}, {Subnet: "172.29.0.0/16", Range: "172.29.9.0/24"}},
		Labels: map[string]string{
			"remora.host": "web-7", "remora.source": "main", "remora.environment": "production", "remora.app": "shop",
			"com.docker.compose.project": "shop", "com.docker.compose.network": "back",
		},
	}
	if diff := cmp.Diff(want, NetworkSpec(n, "web-7", app)); diff != "" {
		t.Errorf("network (-want +got):\n%s", diff)
	}
	for _, tt := range []struct {
		n    manifests.Network
		want bool
	}{
		{manifests.Network{}, true},
		{manifests.Network{Driver: "macvlan"}, false},
		{manifests.Network{External: true}, false},
		{manifests.Network{IPAM: "dhcp"}, false},
		{n, false},
		{manifests.Network{Subnets: []manifests.Subnet{{Subnet: "fd00::/64"}}}, true},
	} {
		if got := OwnSubnet(tt.n); got != tt.want {
			t.Errorf("OwnSubnet(%+v) = %v", tt.n, got)
		}
	}
}

// TestAllocateAddress: whatever is given and freed, nobody has another's
// address, what is given lies in the upper half and is not in use, and what was
// freed rests for a day unless nothing else is left.
func TestAllocateAddress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		subnet := rapid.SampledFrom([]string{"10.210.0.0/24", "10.210.0.0/28"}).Draw(t, "subnet")
		a := &addresses{n: network(subnet), now: noon, all: netip.MustParsePrefix(subnet), held: map[netip.Addr]string{}, freed: map[netip.Addr]rest{}}
		a.n.Addresses["x"] = netip.MustParseAddr("10.210.0.130")
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			a.now = a.now.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "minutes")) * time.Minute)
			owner := fmt.Sprintf("c%d", rapid.IntRange(0, 20).Draw(t, "owner"))
			if rapid.IntRange(0, 2).Draw(t, "free") == 0 {
				a.free(owner)
			} else {
				a.give(t, owner)
			}
		}
	})
}

// addresses is what the test knows of a network.
type addresses struct {
	h     ledger.Host
	n     engine.Network
	all   netip.Prefix
	now   time.Time
	held  map[netip.Addr]string
	freed map[netip.Addr]rest
}

type rest struct {
	owner string
	at    time.Time
}

func (a *addresses) free(owner string) {
	for addr, o := range a.held {
		if o == owner {
			delete(a.held, addr)
			a.freed[addr] = rest{owner, a.now}
		}
	}
	FreeAddresses(&a.h, owner, a.now)
}

// rested are the addresses of the upper half that nobody has or had for a day.
func (a *addresses) rested() []netip.Addr {
	var out []netip.Addr
	for addr := a.all.Addr(); a.all.Contains(addr); addr = addr.Next() {
		r, resting := a.freed[addr]
		switch {
		case netip.MustParsePrefix(Halves(a.all).Range).Contains(addr), !a.all.Contains(addr.Next()): // engine's, broadcast
		case a.held[addr] != "", addr == a.n.Addresses["x"], resting && a.now.Sub(r.at) < Rest:
		default:
			out = append(out, addr)
		}
	}
	return out
}

func (a *addresses) give(t *rapid.T, owner string) {
	rested := a.rested()
	got, err := AllocateAddress(&a.h, a.n, owner, a.now)
	r, resting := a.freed[got]
	switch {
	case err != nil && (len(rested) > 0 || !errors.Is(err, ErrNoAddress)):
		t.Fatalf("%v, though %v are free", err, rested)
	case err != nil || a.held[got] == owner:
		return
	case slices.Contains(rested, got), resting && r.owner == owner:
	case len(rested) > 0 || !resting:
		t.Fatalf("%s given to %s, which has %q; %+v", got, owner, a.held[got], r)
	}
	a.held[got] = owner
	delete(a.freed, got)
}

// TestAddressFollowsOwner: after a lost ledger the same owner gets the same
// address.
func TestAddressFollowsOwner(t *testing.T) {
	n := network("10.210.0.0/24")
	var first, second ledger.Host
	a, _ := AllocateAddress(&first, n, "shop-web-1", noon)
	b, _ := AllocateAddress(&second, n, "shop-web-1", noon)
	if a != b || !a.IsValid() {
		t.Errorf("%s and %s", a, b)
	}
	ForgetAddresses(&first, noon)
	if !Holds(&first, "shop-web-1") {
		t.Error("an address in use is forgotten")
	}
	FreeAddresses(&first, "shop-web-1", noon)
	if ForgetAddresses(&first, noon.Add(Rest)); len(first.Addresses) > 0 {
		t.Errorf("still there after a day: %v", first.Addresses)
	}
}

func TestServiceAddresses(t *testing.T) {
	n := network("10.210.0.0/24")
	var h ledger.Host
	web, _ := AllocateAddress(&h, n, ServiceOwner("production", "shop", "web"), noon)
	if _, err := AllocateAddress(&h, n, "shop-web-1", noon); err != nil {
		t.Fatal(err)
	}
	addrs, gateway := ServiceAddresses(&h, n)
	want := []netip.Prefix{netip.PrefixFrom(web, 24)}
	if diff := cmp.Diff(want, addrs, equalAddresses); diff != "" || gateway.String() != "10.210.0.1" {
		t.Errorf("gateway %s, addresses (-want +got):\n%s", gateway, diff)
	}
}

func TestAllocatePorts(t *testing.T) {
	app := parseApp(t, "web app:v1 port=:3000\nfixed app:v1 port=80:3000")
	h := ledger.Host{Ports: map[string]uint16{"production/shop/old/1": 30001, "production/shop2/web/1": 30002}}
	busy := map[uint16]bool{}
	if err := AllocatePorts(&h, app, func(p uint16) bool { return busy[p] }); err != nil {
		t.Fatal(err)
	}
	port := h.Ports["production/shop/web/3000"]
	if port < firstPort || port >= firstPort+portCount || len(h.Ports) != 2 {
		t.Errorf("ports %v", h.Ports)
	}
	busy[port] = true // by our own ambassador
	if err := AllocatePorts(&h, app, func(p uint16) bool { return busy[p] }); err != nil || h.Ports["production/shop/web/3000"] != port {
		t.Errorf("the port is not stable: %v, %v", h.Ports, err)
	}
	if _, err := AllocatePort(&h, "k", func(uint16) bool { return true }); !errors.Is(err, ErrNoPort) {
		t.Errorf("no port is free: %v", err)
	}
	FreePorts(&h, "production/shop")
	if diff := cmp.Diff(map[string]uint16{"production/shop2/web/1": 30002}, h.Ports); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
}
