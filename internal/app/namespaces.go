package app

import (
	"context"
	"net/netip"
	"path/filepath"

	"github.com/vishvananda/netlink"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/netns"
)

// namespaces is the reconciler's Namespaces port: one file per network in dir.
type namespaces struct{ dir string }

// Supported says why service addresses are not possible here, or nil.
func (namespaces) Supported() error { return netns.Supported() }

// Ensure makes a network's namespace and returns its path.
func (n namespaces) Ensure(ctx context.Context, s engine.NamespaceSpec) (string, error) {
	spec := n.spec(s.Name)
	spec.Bridge, spec.Addresses, spec.Gateway = s.Bridge, s.Addresses, s.Gateway
	return spec.Path, netns.Ensure(ctx, spec)
}

// Remove removes a network's namespace.
func (n namespaces) Remove(ctx context.Context, network string) error {
	return netns.Remove(ctx, n.spec(network))
}

func (n namespaces) spec(network string) netns.Spec {
	return netns.Spec{Name: network, Path: filepath.Join(n.dir, network)}
}

// hostPrefixes are the prefixes that the host's routes and addresses use; new
// networks must not overlap them. What cannot be read limits nothing.
func hostPrefixes() []netip.Prefix {
	var out []netip.Prefix
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil
	}
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.Dst.IP)
		ones, _ := r.Dst.Mask.Size()
		if ok && ones > 0 {
			out = append(out, netip.PrefixFrom(addr.Unmap(), ones))
		}
	}
	return out
}
