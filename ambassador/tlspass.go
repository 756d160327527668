package ambassador

import (
	"slices"

	"github.com/remorahq/remora/ambassador/sni"
	"github.com/remorahq/remora/internal/traffic"
)

// withPassed returns a TLS listener's routes and, behind them, one for each
// server name that is passed through, in their order. No Host reaches those.
func withPassed(l traffic.Listener) traffic.Listener {
	routes := slices.Clip(l.Routes)
	for _, n := range l.TLS {
		if n.Certificate == "" {
			host := "sni " + n.Name + " " + n.ALPN
			routes = append(routes, traffic.Route{Host: host, Service: n.Service, Port: n.Port, ProxyProtocol: n.ProxyProtocol})
		}
	}
	l.Routes = routes
	return l
}

// passed finds the route of a connection that is passed through.
func (lv *listenerView) passed(h *sni.Hello) (*routeView, error) {
	if lv.names == nil {
		return nil, errNoRoute
	}
	n := lv.names.find([]byte(h.ServerName), h.ALPN)
	switch {
	case n == nil || n.route == nil:
		return nil, errNoRoute
	case n.route.sv == nil:
		return nil, errNoService
	}
	return n.route, nil
}

// passTLS passes the connection through as it is, to where its server name
// leads.
func (k *conn) passTLS(h *sni.Hello) {
	k.passes = h
	k.tunnel()
}
