package plan

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// Rest is how long an address that became free is not given to another
// container: what still believes in it must not meet somebody else.
const Rest = 24 * time.Hour

// ErrNoAddress says that a network has no address left.
var ErrNoAddress = errors.New("no address left")

// ServiceOwner is the owner of a service address on a network, in
// [ledger.Host.Addresses].
func ServiceOwner(environment, app, service string) string {
	return serviceOwner(environment+"/"+app, service)
}

func serviceOwner(app, service string) string { return "service/" + app + "/" + service }

// AllocateAddress gives owner an address of the upper half of a network's first
// IPv4 subnet and records it in h. The same owner keeps its address; the choice
// follows from the owner's name, so that it is the same after a lost ledger
// where nothing else has it. Addresses that the engine reports in use are
// skipped, whoever has them. When every free address still rests, the one that
// rests longest is given.
func AllocateAddress(h *ledger.Host, n engine.Network, owner string, now time.Time) (netip.Addr, error) {
	network, subnet := n.Name, subnetOf(n)
	known := h.Addresses[network]
	if a, ok := Address(h, network, owner); ok && subnet.Contains(a) {
		record(h, network, a, owner)
		return a, nil
	}
	used := slices.Collect(maps.Values(n.Addresses))
	first, count := upperHalf(subnet)
	var resting []netip.Addr
	for i := range count {
		a := offset(first, (spread(owner)%count+i)%count)
		k, taken := known[a]
		switch {
		case slices.Contains(used, a):
		case !taken || !k.Freed.IsZero() && now.Sub(k.Freed) >= Rest:
			record(h, network, a, owner)
			return a, nil
		case !k.Freed.IsZero():
			resting = append(resting, a)
		}
	}
	if len(resting) == 0 {
		return netip.Addr{}, fmt.Errorf("network %s (%s): %w for %s", network, subnet, ErrNoAddress, owner)
	}
	a := slices.MinFunc(resting, func(x, y netip.Addr) int {
		return cmp.Or(known[x].Freed.Compare(known[y].Freed), x.Compare(y))
	})
	record(h, network, a, owner)
	return a, nil
}

// Address returns the address that owner has on a network.
func Address(h *ledger.Host, network, owner string) (netip.Addr, bool) {
	for a, k := range h.Addresses[network] {
		if k.Owner == owner {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// ServiceAddresses are the service addresses that h has on a network, with its
// prefix length, and the network's gateway.
func ServiceAddresses(h *ledger.Host, n engine.Network) (addrs []netip.Prefix, gateway netip.Addr) {
	subnet := subnetOf(n)
	for a, k := range h.Addresses[n.Name] {
		if strings.HasPrefix(k.Owner, "service/") && k.Freed.IsZero() && subnet.Contains(a) {
			addrs = append(addrs, netip.PrefixFrom(a, subnet.Bits()))
		}
	}
	slices.SortFunc(addrs, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	for _, s := range n.Subnets {
		if g, err := netip.ParseAddr(s.Gateway); err == nil && g.Is4() {
			return addrs, g
		}
	}
	return addrs, gateway
}

// HasServiceAddress says whether a service may be reached by a service address
// on one of the app's networks. Whether its name leads there is for [Proxied]
// to say, when its image is known.
func HasServiceAddress(s manifests.Service, network string) bool {
	return s.Kind == manifests.KindEndpoint && !s.NamesDirect && s.Container.NetworkMode == "" &&
		slices.ContainsFunc(s.Container.Networks, func(a manifests.Attachment) bool { return a.Network == network })
}

// subnetOf is a network's first IPv4 subnet.
func subnetOf(n engine.Network) netip.Prefix {
	for _, s := range n.Subnets {
		if p, err := netip.ParsePrefix(s.Subnet); err == nil && p.Addr().Is4() {
			return p.Masked()
		}
	}
	return netip.Prefix{}
}

// Holds says whether owner has an address.
func Holds(h *ledger.Host, owner string) bool {
	for _, known := range h.Addresses {
		for _, k := range known {
			if k.Owner == owner && k.Freed.IsZero() {
				return true
			}
		}
	}
	return false
}

// FreeAddresses lets all addresses of owner rest.
func FreeAddresses(h *ledger.Host, owner string, now time.Time) {
	for _, known := range h.Addresses {
		for a, k := range known {
			if k.Owner == owner && k.Freed.IsZero() {
				known[a] = ledger.Address{Owner: owner, Freed: now}
			}
		}
	}
}

// ForgetAddresses drops what has rested, and the networks that are gone, so
// that the ledger does not grow.
func ForgetAddresses(h *ledger.Host, now time.Time) {
	for network, known := range h.Addresses {
		for a, k := range known {
			if !k.Freed.IsZero() && now.Sub(k.Freed) >= Rest {
				delete(known, a)
			}
		}
		if len(known) == 0 {
			delete(h.Addresses, network)
		}
	}
}

func record(h *ledger.Host, network string, a netip.Addr, owner string) {
	if h.Addresses == nil {
		h.Addresses = map[string]map[netip.Addr]ledger.Address{}
	}
	if h.Addresses[network] == nil {
		h.Addresses[network] = map[netip.Addr]ledger.Address{}
	}
	h.Addresses[network][a] = ledger.Address{Owner: owner}
}

// upperHalf returns the first address of the upper half of a subnet and how
// many there are without the broadcast address, at most 65,536.
func upperHalf(subnet netip.Prefix) (first netip.Addr, count uint32) {
	bits := subnet.Addr().BitLen() - subnet.Bits()
	if !subnet.IsValid() || bits < 2 {
		return netip.Addr{}, 0
	}
	half := uint32(1) << min(bits-1, 16)
	base := subnet.Masked().Addr().AsSlice()
	setBit(base, bits-1)
	a, _ := netip.AddrFromSlice(base)
	return a, half - 1
}

// setBit sets a bit of a big-endian number, counted from the lowest.
func setBit(b []byte, bit int) { b[len(b)-1-bit/8] |= 1 << (bit % 8) }

// offset adds n to an address.
func offset(a netip.Addr, n uint32) netip.Addr {
	b := a.AsSlice()
	for i := len(b) - 1; n > 0 && i >= 0; i-- {
		n += uint32(b[i])
		b[i] = byte(n)
		n >>= 8
	}
	sum, _ := netip.AddrFromSlice(b)
	return sum
}

// spread is a number that follows from a name.
func spread(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name)) // a hash takes everything
	return h.Sum32()
}
