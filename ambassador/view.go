package ambassador

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/remorahq/remora/internal/traffic"
)

// view is a table made ready to serve. It is immutable but for superseded,
// which is closed when another view is in force.
type view struct {
	table      *traffic.Table
	limits     limits
	listeners  map[traffic.ListenerKey]*listenerView
	services   map[string]*serviceView
	failures   []traffic.ListenFailure // of routes, found while building
	fenced     bool
	superseded chan struct{}
}

type listenerView struct {
	spec   traffic.Listener
	router traffic.Router
	routes []*routeView // by the router's index
	names  *serverNames // nil where the listener is not for TLS
}

type serviceView struct {
	spec     *traffic.Service
	svc      *service
	releases []*releaseView
	active   *releaseView
	standby  *releaseView
	// split and mirror are nil where the table says nothing of the kind.
	split  *splitView
	mirror *mirrorView
	// former says that a release which drains still runs: the agent may go back
	// to it when the active one crashes.
	former bool
}

type releaseView struct {
	spec      *traffic.Release
	rel       *release
	endpoints []*endpointView
	open      bool // may get claims
	// lends says that it may be asked for assets though it drains.
	lends bool
}

type endpointView struct {
	spec traffic.Endpoint
	ep   *endpoint
	// usable is not Down and not unverified.
	usable     bool
	unverified bool
}

// runtimes are what outlives tables, by identity.
type runtimes struct {
	services map[string]*service
	routes   map[routeKey]*routeRuntime
}

// build makes a view of a table. Runtimes that exist already are used again;
// nothing in them changes.
func (rt *runtimes) build(t *traffic.Table, bootID string) *view {
	v := &view{
		table:      t,
		limits:     newLimits(t.Limits),
		listeners:  make(map[traffic.ListenerKey]*listenerView, len(t.Listeners)),
		services:   make(map[string]*serviceView, len(t.Services)),
		fenced:     t.BootID != "" && t.BootID != bootID,
		superseded: make(chan struct{}),
	}
	for i := range t.Services {
		s := &t.Services[i]
		v.services[s.Name] = rt.buildService(s, v.fenced)
	}
	for _, l := range t.Listeners {
		v.addListener(l, rt.buildRoutes(withPassed(l), v))
	}
	return v
}

func (v *view) addListener(l traffic.Listener, routes []*routeView) {
	fail := func(format string, args ...any) {
		v.failures = append(v.failures, traffic.ListenFailure{ListenerKey: l.ListenerKey, Owner: l.Owner, Error: fmt.Sprintf(format, args...)})
	}
	if l.Port == 0 || v.listeners[l.ListenerKey] != nil {
		fail("listener %s port %d is there twice or has no port", l.Address, l.Port)
		return
	}
	for _, r := range routes {
		if r.sv == nil {
			fail("route %s%s leads to %q, which is not in the table", r.spec.Host, r.spec.Path, r.spec.Service)
		}
	}
	v.listeners[l.ListenerKey] = &listenerView{spec: l, router: traffic.NewRouter(l.Routes), routes: routes, names: newServerNames(l, routes[len(l.Routes):])}
}

func (rt *runtimes) buildService(s *traffic.Service, fenced bool) *serviceView {
	svc := rt.services[s.Name]
	if svc == nil {
		svc = newService(s.Name)
	}
	sv := &serviceView{spec: s, svc: svc}
	for i := range s.Releases {
		r := &s.Releases[i]
		rv := svc.buildRelease(r, fenced)
		sv.releases = append(sv.releases, rv)
		switch {
		case r.Name == s.Active:
			sv.active = rv
			rv.open = !s.Hold && !s.Maintenance
		case r.State == traffic.Canary:
			rv.open = given(s, r.Name) && !s.Hold && !s.Maintenance
		case r.State == traffic.Standby:
			sv.standby = rv
			rv.open = !r.Paused && !s.Hold && !s.Maintenance
		case r.State == traffic.Draining:
			sv.former = sv.former || rv.anyUsable()
			rv.lends = !s.Hold && !s.Maintenance
		}
	}
	sv.split, sv.mirror = newSplit(s, sv.releases), newMirror(s, sv.releases)
	return sv
}

func (s *service) buildRelease(r *traffic.Release, fenced bool) *releaseView {
	rel := s.releases[r.Name]
	if rel == nil {
		rel = newRelease(s, r.Name)
	}
	rv := &releaseView{spec: r, rel: rel}
	for _, e := range r.Endpoints {
		ep := rel.endpoints[keyOf(e)]
		if ep == nil {
			ep = newEndpoint(s, e)
		}
		ev := &endpointView{spec: e, ep: ep, unverified: fenced && !e.Fixed}
		ev.usable = !e.Down && !ev.unverified && !r.Paused && e.Address.IsValid()
		rv.endpoints = append(rv.endpoints, ev)
	}
	return rv
}

// adopt makes the runtimes exactly those of the view, and returns the
// endpoints that are no more.
func (rt *runtimes) adopt(v *view) (gone []*endpoint) {
	services := make(map[string]*service, len(v.services))
	kept := make(map[*endpoint]bool)
	for name, sv := range v.services {
		services[name] = sv.svc
		releases := make(map[string]*release, len(sv.releases))
		for _, rv := range sv.releases {
			releases[rv.spec.Name] = rv.rel
			for _, ev := range rv.endpoints {
				kept[ev.ep] = true
			}
		}
		for name, rel := range sv.svc.releases {
			if releases[name] == nil {
				rel.leave()
			}
		}
		gone = append(gone, sv.svc.dropped(kept)...)
		for _, rv := range sv.releases {
			rv.rel.setEndpoints(rv.endpoints)
		}
		sv.svc.releases = releases
	}
	for name, svc := range rt.services {
		if services[name] == nil {
			svc.closeAll()
			gone = append(gone, svc.dropped(nil)...)
		}
	}
	rt.services = services
	rt.adoptRoutes(v)
	return gone
}

// dropped lists the endpoints that are not kept.
func (s *service) dropped(kept map[*endpoint]bool) (gone []*endpoint) {
	for _, rel := range s.releases {
		for _, ep := range rel.endpoints {
			if !kept[ep] {
				gone = append(gone, ep)
			}
		}
	}
	return gone
}

func (s *service) closeAll() {
	for _, rel := range s.releases {
		rel.leave()
	}
}

// leave closes a release that is in no table any more. The deadlines of its
// drain stay while something runs on it.
func (r *release) leave() {
	r.shut.Store(true)
	r.closed.Store(true)
	if all, _ := r.drained(); all {
		r.endDrain()
	}
}

// trusts says whether what the peer says about clients is believed.
func (v *view) trusts(peer netip.Addr) bool {
	for _, p := range v.table.TrustedProxies {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// pick chooses the endpoint with the least in flight that was not tried: a
// good one, else one that at least is not refusing, else any (fail open, so
// that the last one is never ejected).
func (rv *releaseView) pick(tried []*endpoint, turn uint32) *endpointView {
	var best *endpointView
	bestRank, bestLoad := -1, int64(0)
	n := len(rv.endpoints)
	for i := range n {
		ev := rv.endpoints[(int(turn)+i)%n]
		if !ev.usable || wasTried(tried, ev.ep) {
			continue
		}
		rank, load := ev.ep.rank(), ev.ep.inflight.Load()
		if rank > bestRank || rank == bestRank && load < bestLoad {
			best, bestRank, bestLoad = ev, rank, load
		}
	}
	return best
}

// endpointView finds a usable endpoint of the release, or nil.
func (rv *releaseView) endpointView(ep *endpoint) *endpointView {
	if ep == nil {
		return nil
	}
	for _, ev := range rv.endpoints {
		if ev.ep == ep && ev.usable {
			return ev
		}
	}
	return nil
}

func wasTried(tried []*endpoint, ep *endpoint) bool {
	return slices.Contains(tried, ep)
}

// refusing says that every endpoint is down or refuses connections.
func (rv *releaseView) refusing() bool {
	for _, ev := range rv.endpoints {
		if ev.unverified || ev.usable && !ev.ep.refused.Load() {
			return false
		}
	}
	return true
}

// fit says that an endpoint which was not tried neither refuses nor fails its
// checks: there is a release that would do as well, so it must.
func (rv *releaseView) fit(tried []*endpoint) bool {
	for _, ev := range rv.endpoints {
		if ev.usable && !ev.ep.refused.Load() && !ev.ep.ill.Load() && !wasTried(tried, ev.ep) {
			return true
		}
	}
	return false
}

func (rv *releaseView) anyUsable() bool {
	return slices.ContainsFunc(rv.endpoints, func(ev *endpointView) bool { return ev.usable })
}

func (rv *releaseView) anyUnverified() bool {
	for _, ev := range rv.endpoints {
		if ev.unverified {
			return true
		}
	}
	return false
}
