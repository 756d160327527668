package plan

import (
	"cmp"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// TableInput is everything that the ambassador's table depends on.
type TableInput struct {
	BootID      string
	EngineStart string
	// HTTP are the host's entry points for routes by host name.
	HTTP []uint16
	// HTTPS are those with TLS.
	HTTPS []uint16
	// ACME is where challenges for automatic certificates are answered, and Ready
	// says whether the ambassador has a certificate; nil is none.
	ACME  ACME
	Ready func(certificate string) bool
	Host  ledger.Host
	// Trusted are the peers whose word about clients is believed.
	Trusted []netip.Prefix
	// Limits bound what clients may cost the host.
	Limits    traffic.Limits
	AccessLog traffic.AccessLog
	// ProxyFrom are the peers that tell by the PROXY protocol who the client is.
	ProxyFrom []netip.Prefix
	// KeepClient says that answers to clients find their way back here, so that
	// tunnels may come from the clients' own addresses.
	KeepClient bool
	// Apps by "env/app".
	Apps map[string]AppTraffic
}

// AppTraffic is one app's share of the table.
type AppTraffic struct {
	// Releases whose ports and routes are in force, one per service, as far as
	// the table depends on them.
	Releases []ledger.Release
	Networks []manifests.Network
	// Services are the backends, as package rollout says.
	Services []traffic.Service
	// Namespaces of service addresses by network name.
	Namespaces map[string]string
}

// TrafficOf returns an app's share: the ports and routes of what has the
// traffic, or, for a service that never had any, of what is to get it.
func TrafficOf(app ledger.App, backends []traffic.Service, namespaces map[string]string) AppTraffic {
	t := AppTraffic{Services: backends, Namespaces: namespaces, Networks: app.NetworkSpecs}
	if app.Rollout != nil {
		t.Networks = joinNetworks(app.Rollout.Networks, app.NetworkSpecs)
	}
	for _, name := range services(app) {
		if r := inForce(app, name); r != nil {
			t.Releases = append(t.Releases, routing(*r))
		}
	}
	return t
}

// routing is a release without what the table does not depend on, so that
// shares are small and compare quickly.
func routing(r ledger.Release) ledger.Release {
	s := &r.Service
	return ledger.Release{Exposed: r.Exposed, Service: manifests.Service{
		Name: s.Name, Kind: s.Kind, Unit: s.Unit, Ports: s.Ports, Expose: s.Expose, Routes: s.Routes, Assets: s.Assets, NamesDirect: s.NamesDirect,
		Container: manifests.Container{NetworkMode: s.Container.NetworkMode, Networks: s.Container.Networks},
	}}
}

// joinNetworks returns a and what only b has.
func joinNetworks(a, b []manifests.Network) []manifests.Network {
	out := slices.Clone(a)
	for _, n := range b {
		if !slices.ContainsFunc(out, func(o manifests.Network) bool { return o.Name == n.Name }) {
			out = append(out, n)
		}
	}
	return out
}

// inForce is the release whose ports and routes a service has at present.
func inForce(app ledger.App, name string) *ledger.Release {
	c := change(app, name)
	var active *ledger.Deployed
	if s := app.Services[name]; s != nil {
		active = s.Active
	}
	switch {
	case c == nil || c.Action == ledger.Run:
	case c.Action == ledger.Drop && c.Switched:
		return nil
	case c.To != nil && (c.Switched || active == nil):
		return &c.To.Release
	}
	if active == nil {
		return nil
	}
	return &active.Release
}

// Table builds the whole table, in an order that follows from its content
// alone. Its generation is left to the caller.
func Table(in TableInput) traffic.Table {
	b := &tableBuilder{TableInput: in, byKey: map[traffic.ListenerKey]*traffic.Listener{}, spaces: map[string]string{}, docker: map[servicePort]bool{}}
	b.challenges()
	for _, id := range slices.Sorted(maps.Keys(in.Apps)) {
		b.app(id, in.Apps[id])
	}
	b.handshakeChallenges()
	t := traffic.Table{Version: traffic.FormatVersion, BootID: in.BootID, EngineStart: in.EngineStart, Services: b.services, TrustedProxies: in.Trusted, Limits: in.Limits, AccessLog: in.AccessLog}
	for _, l := range b.byKey {
		slices.SortFunc(l.Routes, compareRoutes)
		slices.SortFunc(l.TLS, compareNames)
		t.Listeners = append(t.Listeners, *l)
	}
	slices.SortFunc(t.Listeners, compareListeners)
	slices.SortFunc(t.Services, func(x, y traffic.Service) int { return strings.Compare(x.Name, y.Name) })
	for _, name := range slices.Sorted(maps.Keys(b.spaces)) {
		t.Namespaces = append(t.Namespaces, traffic.Namespace{Name: name, Path: b.spaces[name]})
	}
	b.keepClients(&t)
	return t
}

// tableBuilder is one table being made.
type tableBuilder struct {
	TableInput
	byKey    map[traffic.ListenerKey]*traffic.Listener
	services []traffic.Service
	spaces   map[string]string    // namespaces in use
	docker   map[servicePort]bool // that the engine publishes itself
}

func (b *tableBuilder) app(id string, a AppTraffic) {
	backends := map[string]bool{}
	for _, s := range a.Services {
		backends[s.Name] = true
		b.services = append(b.services, canonical(s))
	}
	for i := range a.Releases {
		r := &a.Releases[i]
		name := id + "/" + r.Service.Name
		if !backends[name] {
			name = id + "/" + joined(&r.Service)
		}
		if !backends[name] {
			continue
		}
		b.ports(id, name, &r.Service)
		b.routes(id, name, &r.Service)
		b.serviceAddresses(id, name, r, a)
	}
}

// joined is the service whose network a service joins, and whose containers
// answer on its ports; else itself.
func joined(s *manifests.Service) string {
	if owner, ok := strings.CutPrefix(s.Container.NetworkMode, "service:"); ok {
		return owner
	}
	return s.Name
}

// canonical brings times into the one form that compares.
func canonical(s traffic.Service) traffic.Service {
	s.Releases = slices.Clone(s.Releases)
	for i := range s.Releases {
		r := &s.Releases[i]
		r.Endpoints = slices.Clone(r.Endpoints)
		for j := range r.Endpoints {
			r.Endpoints[j].Started = r.Endpoints[j].Started.UTC().Round(0)
		}
	}
	return s
}

// EqualTables says whether two tables serve the same, whatever their
// generation.
func EqualTables(a, b traffic.Table) bool {
	a.Generation, b.Generation = 0, 0
	return reflect.DeepEqual(a, b)
}

func compareRoutes(a, b traffic.Route) int {
	// The catch-all goes last: it is what no name matched.
	return cmp.Or(
		-cmp.Compare(len(a.Host), len(b.Host)), strings.Compare(a.Host, b.Host),
		-cmp.Compare(len(a.Path), len(b.Path)), strings.Compare(a.Path, b.Path),
		strings.Compare(a.Service, b.Service), cmp.Compare(a.Port, b.Port),
	)
}

func compareListeners(a, b traffic.Listener) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), a.Address.Compare(b.Address), cmp.Compare(a.Port, b.Port))
}

// listen adds a route to a listener. The first to claim a host and path of it
// keeps it.
func (b *tableBuilder) listen(owner string, key traffic.ListenerKey, p traffic.Protocol, r traffic.Route) {
	l := b.byKey[key]
	if l == nil {
		l = &traffic.Listener{ListenerKey: key, Protocol: p, Owner: owner}
		b.byKey[key] = l
	}
	if (l.Protocol == traffic.TLS) != (p == traffic.TLS) {
		return // a port takes plain clients or TLS; who comes second is held back
	}
	if slices.ContainsFunc(l.Routes, func(o traffic.Route) bool { return o.Host == r.Host && o.Path == r.Path }) {
		return
	}
	if r.Host == "" && r.Path == "" || l.Owner == acmeService {
		l.Owner = owner // the catch-all is the port's own
	}
	if l.Protocol != p {
		// What is not HTTP must still reach the catch-all.
		l.Protocol = traffic.Detect
	}
	l.Routes = append(l.Routes, r)
}

// owns says that no other app has claimed key.
func (b *tableBuilder) owns(app, key string) bool {
	owner, claimed := b.Host.Claims[key]
	return !claimed || owner == app
}

func parseAddr(ip string) netip.Addr {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.Addr{}
	}
	return a
}
