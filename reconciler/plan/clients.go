package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
)

// keepClients lets tunnels from the host's own listeners come from their
// clients' addresses, to endpoints on networks that have a way back.
func (b *tableBuilder) keepClients(t *traffic.Table) {
	for i := range t.Listeners {
		l := &t.Listeners[i]
		if l.Namespace == "" {
			l.ProxyFrom = b.ProxyFrom
			l.KeepClient = b.KeepClient && l.Protocol != traffic.HTTP && !b.shared(l)
		}
	}
	if !b.KeepClient {
		return
	}
	ways := b.ways()
	for i := range t.Services {
		for j := range t.Services[i].Releases {
			endpoints := t.Services[i].Releases[j].Endpoints
			for k := range endpoints {
				setWay(&endpoints[k], ways)
			}
		}
	}
}

// shared says that the engine itself publishes one of the ports that the
// listener leads to: answers to its clients must not come to the ambassador.
func (b *tableBuilder) shared(l *traffic.Listener) bool {
	return slices.ContainsFunc(l.Routes, func(r traffic.Route) bool { return b.docker[servicePort{r.Service, r.Port}] }) ||
		slices.ContainsFunc(l.TLS, func(n traffic.ServerName) bool { return b.docker[servicePort{n.Service, n.Port}] })
}

// servicePort is a port of a service.
type servicePort struct {
	service string
	port    uint16
}

// wayBack is a network whose containers answer through this host.
type wayBack struct {
	network, network6 netip.Prefix
}

// ways are the networks of all apps that have a way back.
func (b *tableBuilder) ways() []wayBack {
	var out []wayBack
	for _, a := range b.Apps {
		for _, n := range a.Networks {
			if noWay(n) != "" {
				continue
			}
			w := wayBack{network6: subnet6(n)}
			w.network = b.Host.Subnets[n.Name]
			for _, s := range n.Subnets {
				if p, err := netip.ParsePrefix(s.Subnet); err == nil && p.Addr().Is4() {
					w.network = p.Masked()
				}
			}
			if w.network.IsValid() {
				out = append(out, w)
			}
		}
	}
	return out
}

// noWay says why containers of a network do not answer clients through this
// host, or "".
func noWay(n manifests.Network) string {
	switch {
	case n.External:
		return "is not remora's own"
	case n.Internal:
		return "is internal"
	case n.Driver != "" && n.Driver != "bridge":
		return "is no bridge"
	}
	return ""
}

func setWay(e *traffic.Endpoint, ways []wayBack) {
	for _, w := range ways {
		if !w.network.Contains(e.Address) {
			continue
		}
		e.Network = w.network
		if a := address6(w.network6, e.Address); a.IsValid() {
			e.Address6, e.Network6 = a, w.network6
		}
		return
	}
}

// subnet6 is the network's prefix of IPv6 out of whose upper half remora gives
// addresses: the one that the file writes, without a range of its own.
func subnet6(n manifests.Network) netip.Prefix {
	if !n.EnableIPv6 || noWay(n) != "" || n.IPAM != "" && n.IPAM != "default" {
		return netip.Prefix{}
	}
	for _, s := range n.Subnets {
		p, err := netip.ParsePrefix(s.Subnet)
		if err == nil && p.Addr().Is6() && s.Range == "" && p.Bits() <= 95 {
			return p.Masked()
		}
	}
	return netip.Prefix{}
}

// address6 is the fixed address of IPv6 beside a fixed one of IPv4: the subnet's
// upper half, and the other address in the last 32 bits.
func address6(subnet netip.Prefix, a netip.Addr) netip.Addr {
	if !subnet.IsValid() || !a.Is4() {
		return netip.Addr{}
	}
	b, v4 := subnet.Addr().As16(), a.As4()
	b[subnet.Bits()/8] |= 0x80 >> (subnet.Bits() % 8)
	copy(b[12:], v4[:])
	return netip.AddrFrom16(b)
}

// AddressLost warns of published ports whose containers do not see their
// clients' addresses on tunnels. may says whether this host could keep them.
func AddressLost(app *manifests.App, may bool) []manifests.Diagnostic {
	var out []manifests.Diagnostic
	for i := range app.Services {
		s := &app.Services[i]
		why := whyLost(app, s, may)
		for _, port := range tunnelPorts(s) {
			if reason := why; reason != "" || dockerPublishes(s, port.target) {
				if reason == "" {
					reason = "Docker publishes the same port of the container"
				}
				out = append(out, manifests.Diagnostic{
					Warning: true, Field: "services." + s.Name + "." + port.field,
					Message: fmt.Sprintf("connections to port %d that are no HTTP come from the host's address, not from their clients': %s", port.published, reason),
					Remedy:  "publish it by `x-remora.routes` with `proxy_protocol: v2` if the program must know them",
				})
			}
		}
	}
	return out
}

func whyLost(app *manifests.App, s *manifests.Service, may bool) string {
	switch {
	case !may:
		return "the agent has no CAP_NET_ADMIN"
	case s.Container.NetworkMode == "host":
		return "the service uses the host's network"
	}
	// The one called default is dialled, else the first by name.
	var first *manifests.Network
	for i := range app.Networks {
		n := &app.Networks[i]
		on := slices.ContainsFunc(s.Container.Networks, func(at manifests.Attachment) bool { return at.Network == n.Key })
		if on && (first == nil || n.Key == "default" || first.Key != "default" && n.Key < first.Key) {
			first = n
		}
	}
	if first == nil || noWay(*first) == "" {
		return ""
	}
	return fmt.Sprintf("network %s %s", first.Key, noWay(*first))
}

// tunnelPort is a port of the host that may carry tunnels.
type tunnelPort struct {
	field             string
	published, target uint16
}

func tunnelPorts(s *manifests.Service) (out []tunnelPort) {
	for i, p := range s.Ports {
		if !p.Docker && p.Protocol != "udp" && !requests(p.App) {
			out = append(out, tunnelPort{fmt.Sprintf("ports[%d]", i), p.Published, p.Target})
		}
	}
	for i, r := range s.Routes {
		if r.Published != 0 && !requests(r.App) && r.ProxyProtocol == 0 {
			out = append(out, tunnelPort{fmt.Sprintf("x-remora.routes[%d]", i), r.Published, r.Target})
		}
	}
	return out
}

// requests says that a port carries no tunnels.
func requests(app string) bool { return app == "http" || app == "http2" }

// dockerPublishes says whether the engine publishes a port of the service.
func dockerPublishes(s *manifests.Service, target uint16) bool {
	return slices.ContainsFunc(s.Ports, func(p manifests.Port) bool {
		return p.Docker && p.Protocol != "udp" && p.Target == target
	})
}
