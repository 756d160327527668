package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// ACME is where the agent answers the challenges of certificate authorities: on
// loopback ports of the host; 0 is a challenge that is not used.
type ACME struct {
	HTTP, ALPN uint16
}

const (
	// acmeService is the table's name of the agent's answers to challenges. No
	// service of an app has a name of two parts.
	acmeService = "remora/acme"
	acmePath    = "/.well-known/acme-challenge"
	acmeALPN    = "acme-tls/1"
)

// handshake says what becomes of a TLS client of the route, as part of a claim:
// two routes may have one server name when it is the same.
func handshake(full string, r manifests.Route) string {
	if r.TLS.Mode == manifests.TLSPassthrough {
		return "passthrough " + full
	}
	cert, clients := certificateNames(r)
	return strings.TrimSpace(cert + " " + clients)
}

// certificateNames are what the table calls a route's certificate and the
// authorities of its clients; empty where there is none.
func certificateNames(r manifests.Route) (cert, clients string) {
	switch r.TLS.Mode {
	case manifests.TLSAuto:
		cert = traffic.CertificateSource{Auto: strings.ToLower(r.Host)}.Name()
	case manifests.TLSFiles:
		cert = traffic.CertificateSource{Cert: r.TLS.Cert, Key: r.TLS.Key}.Name()
	}
	if r.TLS.ClientCA != "" {
		clients = traffic.CertificateSource{ClientCA: r.TLS.ClientCA}.Name()
	}
	return cert, clients
}

// CertificatesOf are the names of the certificates that a service's routes need.
func CertificatesOf(s *manifests.Service) []string {
	var names []string
	for _, r := range s.Routes {
		if r.TLS == nil {
			continue
		}
		cert, clients := certificateNames(r)
		for _, name := range []string{cert, clients} {
			if name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// redirect leads plain requests of a route with TLS to https. Until there is a
// certificate they are served as they come: nothing else could serve them. One
// that asks for clients' certificates is never served plain: false is a route
// that cannot be led to https and must not be there.
func (b *tableBuilder) redirect(app string, route *traffic.Route, r manifests.Route) bool {
	if r.TLS == nil {
		return true
	}
	cert, clients := certificateNames(r)
	_, secure := r.EntryPoints(b.HTTP, b.HTTPS)
	if !r.TLS.Redirect || len(secure) == 0 || !b.owns(app, tlsKey(secure[0], r)) {
		return clients == ""
	}
	if cert == "" || clients != "" || b.ready(cert) {
		route.RedirectTLS, route.TLSOnly = secure[0], clients != ""
	}
	return true
}

func (b *tableBuilder) ready(cert string) bool { return b.Ready != nil && b.Ready(cert) }

// secure adds a route to a listener for TLS, with its server name.
func (b *tableBuilder) secure(owner string, port uint16, route traffic.Route, r manifests.Route) {
	name := traffic.ServerName{Name: route.Host}
	name.Certificate, name.ClientCA = certificateNames(r)
	l := b.secureListener(owner, port)
	if l == nil {
		return
	}
	if name.Certificate == "" {
		name.Service, name.Port, name.ProxyProtocol = route.Service, route.Port, route.ProxyProtocol
		b.name(l, name)
		return
	}
	b.name(l, name)
	route.HSTS = r.TLS.HSTS
	b.listen(owner, l.ListenerKey, traffic.TLS, route)
}

// secureListener is the port's listener for TLS; nil where plain clients have it.
func (b *tableBuilder) secureListener(owner string, port uint16) *traffic.Listener {
	key := traffic.ListenerKey{Port: port}
	l := b.byKey[key]
	if l == nil {
		l = &traffic.Listener{ListenerKey: key, Protocol: traffic.TLS, Owner: owner}
		b.byKey[key] = l
	}
	if l.Protocol != traffic.TLS {
		return nil
	}
	if l.Owner == acmeService {
		l.Owner = owner
	}
	return l
}

// name adds a server name to a listener. The first to have it keeps it.
func (b *tableBuilder) name(l *traffic.Listener, n traffic.ServerName) {
	same := func(o traffic.ServerName) bool { return o.Name == n.Name && o.ALPN == n.ALPN }
	if !slices.ContainsFunc(l.TLS, same) {
		l.TLS = append(l.TLS, n)
	}
}

// challenges leads the challenges for names with automatic certificates to the
// agent, before the routes of apps are added: on plain entry points, by path.
func (b *tableBuilder) challenges() {
	hosts := b.autoHosts()
	if len(hosts) == 0 || b.ACME == (ACME{}) {
		return
	}
	b.services = append(b.services, traffic.Service{
		Name: acmeService, App: acmeService, Active: "agent",
		Releases: []traffic.Release{{Name: "agent", State: traffic.Active, Endpoints: []traffic.Endpoint{{
			Container: "remora", Instance: "agent", Address: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Fixed: true,
		}}}},
	})
	if b.ACME.HTTP == 0 {
		return
	}
	for _, host := range hosts {
		for _, port := range b.HTTP {
			b.listen(acmeService, traffic.ListenerKey{Port: port}, traffic.HTTP, traffic.Route{Host: host, Path: acmePath, Service: acmeService, Port: b.ACME.HTTP})
		}
	}
}

// handshakeChallenges leads the challenges that come in a handshake to the agent,
// after the apps: a port that one of them has for plain clients stays so.
func (b *tableBuilder) handshakeChallenges() {
	if b.ACME.ALPN == 0 {
		return
	}
	for _, host := range b.autoHosts() {
		for _, port := range b.HTTPS {
			if l := b.secureListener(acmeService, port); l != nil {
				b.name(l, traffic.ServerName{Name: host, ALPN: acmeALPN, Service: acmeService, Port: b.ACME.ALPN})
			}
		}
	}
}

// autoHosts are the names with automatic certificates, sorted.
func (b *tableBuilder) autoHosts() []string {
	var hosts []string
	for _, a := range b.Apps {
		for i := range a.Releases {
			for _, r := range a.Releases[i].Service.Routes {
				if r.TLS != nil && r.TLS.Mode == manifests.TLSAuto {
					hosts = append(hosts, strings.ToLower(r.Host))
				}
			}
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

func compareNames(a, b traffic.ServerName) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ALPN, b.ALPN))
}

// rebuildNames reads from a listener for TLS who has its server names.
func rebuildNames(h *ledger.Host, l traffic.Listener) {
	for _, n := range l.TLS {
		service, what := n.Service, "passthrough "+n.Service
		if n.Certificate != "" {
			what = strings.TrimSpace(n.Certificate + " " + n.ClientCA)
			i := slices.IndexFunc(l.Routes, func(r traffic.Route) bool { return r.Host == n.Name })
			if i < 0 {
				continue
			}
			service = l.Routes[i].Service
		}
		if n.Name == "" || service == acmeService {
			continue
		}
		h.Claims[fmt.Sprintf("name/:%d/%s/%s", l.Port, n.Name, what)] = path.Dir(service)
		if n.Certificate == "" {
			h.Claims[fmt.Sprintf("tls/:%d/%s/", l.Port, n.Name)] = path.Dir(service)
		}
	}
}
