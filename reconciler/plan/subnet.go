package plan

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// networkBits is the size of the subnets that remora cuts: a /24.
const networkBits = 24

// ErrPoolExhausted says that the host's network pool has no free subnet.
var ErrPoolExhausted = errors.New("the host's network_pool has no free subnet left")

// AllocateSubnet gives a network a /24 of the pool and records it in h; a
// network that has one keeps it. used are the prefixes of the host's routes
// and of the engine's other networks, which are skipped.
func AllocateSubnet(h *ledger.Host, pool netip.Prefix, network string, used []netip.Prefix) (netip.Prefix, error) {
	if s, ok := h.Subnets[network]; ok {
		return s, nil
	}
	if !pool.Addr().Is4() || pool.Bits() > networkBits {
		return netip.Prefix{}, fmt.Errorf("network_pool %s: must be an IPv4 prefix of at most /%d", pool, networkBits)
	}
	for i := range uint32(1) << (networkBits - pool.Bits()) {
		s := netip.PrefixFrom(offset(pool.Masked().Addr(), i<<(32-networkBits)), networkBits)
		if slices.ContainsFunc(used, s.Overlaps) || given(h, s) {
			continue
		}
		if h.Subnets == nil {
			h.Subnets = map[string]netip.Prefix{}
		}
		h.Subnets[network] = s
		return s, nil
	}
	return netip.Prefix{}, fmt.Errorf("network %s: %w (%s)", network, ErrPoolExhausted, pool)
}

// FreeSubnet forgets a network's subnet; it is called when the network is
// gone.
func FreeSubnet(h *ledger.Host, network string) { delete(h.Subnets, network) }

func given(h *ledger.Host, s netip.Prefix) bool {
	for _, other := range h.Subnets {
		if s.Overlaps(other) {
			return true
		}
	}
	return false
}

// OwnSubnet says whether remora chooses a network's subnet: a local bridge with
// the engine's own IPAM, for which the file writes none.
func OwnSubnet(n manifests.Network) bool {
	return !n.External && (n.Driver == "" || n.Driver == "bridge") && (n.IPAM == "" || n.IPAM == "default") &&
		!slices.ContainsFunc(n.Subnets, func(s manifests.Subnet) bool {
			p, err := netip.ParsePrefix(s.Subnet)
			return err == nil && p.Addr().Is4()
		})
}

// Halves is a subnet whose lower half is left to the engine; the upper is
// remora's.
func Halves(p netip.Prefix) manifests.Subnet {
	s := manifests.Subnet{Subnet: p.Masked().String()}
	if p.Addr().BitLen()-p.Bits() >= 2 {
		s.Range = netip.PrefixFrom(p.Masked().Addr(), p.Bits()+1).String()
	}
	return s
}

// NetworkSpec returns what a network of an app is made from. The file's own
// subnets are kept, with their lower half left to the engine where the file
// names no range; see [OwnSubnet] for where it has none.
func NetworkSpec(n manifests.Network, host string, app ledger.App) engine.NetworkSpec {
	spec := engine.NetworkSpec{
		Name: n.Name, Driver: n.Driver, DriverOpts: n.DriverOpts, Internal: n.Internal,
		Attachable: n.Attachable, IPv6: n.EnableIPv6, IPAM: n.IPAM, IPAMOpts: n.IPAMOpts,
		Labels: objectLabels(host, app, n.Labels, engine.LabelComposeNetwork, n.Key),
	}
	bridge := (n.Driver == "" || n.Driver == "bridge") && (n.IPAM == "" || n.IPAM == "default")
	for _, s := range n.Subnets {
		if p, err := netip.ParsePrefix(s.Subnet); err == nil && s.Range == "" && bridge {
			s.Range = Halves(p).Range
		}
		spec.Subnets = append(spec.Subnets, s)
	}
	return spec
}

// VolumeSpec returns what a volume of an app is made from.
func VolumeSpec(v manifests.Volume, host string, app ledger.App) engine.VolumeSpec {
	return engine.VolumeSpec{
		Name: v.Name, Driver: v.Driver, DriverOpts: v.DriverOpts,
		Labels: objectLabels(host, app, v.Labels, engine.LabelComposeVolume, v.Key),
	}
}

// objectLabels are the labels of a network or a volume.
func objectLabels(host string, app ledger.App, own map[string]string, keyLabel, key string) map[string]string {
	return merged(own, map[string]string{
		engine.LabelHost: host, engine.LabelSource: app.Source, engine.LabelEnvironment: app.Environment, engine.LabelApp: app.Name,
		engine.LabelComposeProject: app.Project, keyLabel: key,
	})
}
