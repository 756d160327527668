package plan

import (
	"strings"

	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// ports adds the listeners of a service's published ports.
func (b *tableBuilder) ports(app, name string, s *manifests.Service) {
	for _, p := range s.Ports {
		if p.Docker && p.Protocol != "udp" {
			b.docker[servicePort{name, p.Target}] = true
		}
		if p.Docker || p.Protocol == "udp" {
			continue
		}
		port := p.Published
		if port == 0 {
			port = b.Host.Ports[PortKey(app, s.Name, p)]
		}
		if port == 0 || !b.owns(app, portClaim(s.Name, p.HostIP, port, p.Protocol).key) {
			continue
		}
		key := traffic.ListenerKey{Address: parseAddr(p.HostIP), Port: port}
		b.listen(app, key, protocol(p.App), traffic.Route{Service: name, Port: p.Target, Assets: s.Assets, Upstream: upstream(p.App)})
	}
}

// routes adds x-remora.routes: by host name on the entry points, or a port of
// their own.
func (b *tableBuilder) routes(app, name string, s *manifests.Service) {
	for _, r := range s.Routes {
		route := traffic.Route{Host: strings.ToLower(r.Host), Path: routePath(r), Service: name, Port: r.Target, Assets: s.Assets, ProxyProtocol: r.ProxyProtocol, Upstream: upstream(r.App)}
		grant(&route, r.Access)
		for _, c := range routeClaims(app+"/"+s.Name, s.Name, r, entries{b.HTTP, b.HTTPS}) {
			if b.owns(app, c.key) {
				b.route(app, c, route, r)
			}
		}
	}
}

// route adds a route to what it claimed.
func (b *tableBuilder) route(app string, c claim, route traffic.Route, r manifests.Route) {
	key := traffic.ListenerKey{Port: c.port}
	switch {
	case c.name != "": // comes with its route
	case c.tls, !c.route && r.TLS != nil:
		b.secure(app, c.port, route, r)
	case c.route:
		if b.redirect(app, &route, r) {
			b.listen(app, key, traffic.HTTP, route)
		}
	default:
		b.listen(app, key, protocol(r.App), route)
	}
}

// protocol is the listener's treatment of an app_protocol.
func protocol(app string) traffic.Protocol {
	switch app {
	case "http", "http2":
		return traffic.HTTP
	case "tcp":
		return traffic.TCP
	}
	return traffic.Detect // https too: who brings TLS to the port is passed on
}

// upstream is how the container of an app_protocol is spoken to.
func upstream(app string) traffic.Upstream {
	switch app {
	case "http2":
		return traffic.UpstreamH2C
	case "https":
		return traffic.UpstreamTLS
	}
	return traffic.UpstreamHTTP1
}

// serviceAddresses adds the listeners by which other containers reach the
// service, in the namespace of each network.
func (b *tableBuilder) serviceAddresses(app, name string, r *ledger.Release, a AppTraffic) {
	if !Proxied(*r, false) {
		return
	}
	for _, at := range r.Service.Container.Networks {
		for _, n := range a.Networks {
			path := a.Namespaces[n.Name]
			if n.Key != at.Network || path == "" {
				continue
			}
			addr, ok := Address(&b.Host, n.Name, serviceOwner(app, r.Service.Name))
			if !ok {
				continue
			}
			b.spaces[n.Name] = path
			for _, port := range r.Ports() {
				key := traffic.ListenerKey{Namespace: n.Name, Address: addr, Port: port}
				says := r.Service.AppProtocol(port)
				b.listen(app, key, protocol(says), traffic.Route{Service: name, Port: port, Assets: r.Service.Assets, Upstream: upstream(says)})
			}
		}
	}
}
