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
		recordSubnet(h, network, s)
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

func recordSubnet(h *ledger.Host, network string, s netip.Prefix) {
	if h.Subnets == nil {
		h.Subnets = map[string]netip.Prefix{}
	}
	h.Subnets[network] = s
}

// NetworkSpec returns what a network of an app is made from. Networks with the
// engine's own IPAM and a local bridge get an explicit subnet: the file's,
// else one of the pool; its lower half is left to the engine.
func NetworkSpec(h *ledger.Host, pool netip.Prefix, app ledger.App, n manifests.Network, used []netip.Prefix) (engine.NetworkSpec, error) {
	spec := engine.NetworkSpec{
		Name: n.Name, Driver: n.Driver, DriverOpts: n.DriverOpts, Internal: n.Internal,
		Attachable: n.Attachable, IPv6: n.EnableIPv6, Subnets: slices.Clone(n.Subnets), IPAM: n.IPAM, IPAMOpts: n.IPAMOpts,
		Labels: objectLabels(app, n.Labels, engine.LabelComposeNetwork, n.Key),
	}
	if n.Driver != "" && n.Driver != "bridge" || n.IPAM != "" && n.IPAM != "default" {
		return spec, nil
	}
	if !slices.ContainsFunc(spec.Subnets, isIPv4) {
		s, err := AllocateSubnet(h, pool, n.Name, used)
		if err != nil {
			return spec, err
		}
		spec.Subnets = append(spec.Subnets, manifests.Subnet{Subnet: s.String()})
	}
	for i := range spec.Subnets {
		if err := leaveUpperHalf(&spec.Subnets[i]); err != nil {
			return spec, fmt.Errorf("network %s: %w", n.Key, err)
		}
		if p, err := netip.ParsePrefix(spec.Subnets[i].Subnet); err == nil && p.Addr().Is4() {
			recordSubnet(h, n.Name, p.Masked())
		}
	}
	return spec, nil
}

func isIPv4(s manifests.Subnet) bool {
	p, err := netip.ParsePrefix(s.Subnet)
	return err == nil && p.Addr().Is4()
}

// leaveUpperHalf limits the engine's own choice to the lower half, unless the
// file says which range it has.
func leaveUpperHalf(s *manifests.Subnet) error {
	p, err := netip.ParsePrefix(s.Subnet)
	if err != nil {
		return fmt.Errorf("subnet %s: %w", s.Subnet, err)
	}
	if s.Range == "" && p.Addr().BitLen()-p.Bits() >= 2 {
		s.Range = netip.PrefixFrom(p.Masked().Addr(), p.Bits()+1).String()
	}
	return nil
}

// VolumeSpec returns what a volume of an app is made from.
func VolumeSpec(app ledger.App, v manifests.Volume) engine.VolumeSpec {
	return engine.VolumeSpec{
		Name: v.Name, Driver: v.Driver, DriverOpts: v.DriverOpts,
		Labels: objectLabels(app, v.Labels, engine.LabelComposeVolume, v.Key),
	}
}

// objectLabels are the labels of a network or a volume.
func objectLabels(app ledger.App, own map[string]string, keyLabel, key string) map[string]string {
	return merged(own, map[string]string{
		engine.LabelSource: app.Source, engine.LabelEnvironment: app.Environment, engine.LabelApp: app.Name,
		engine.LabelComposeProject: app.Project, keyLabel: key,
	})
}
