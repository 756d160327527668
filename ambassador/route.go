package ambassador

import (
	"cmp"
	"sync/atomic"

	"github.com/remorahq/remora/internal/traffic"
)

// routeView is one route of a listener in a view. It is immutable.
type routeView struct {
	spec traffic.Route
	sv   *serviceView // nil: the table does not have the route's service
	rt   *routeRuntime
	// limiter is the runtime's, nil where the route has no rate.
	limiter *limiter
}

// routeKey identifies a route over tables.
type routeKey struct {
	listener   traffic.ListenerKey
	host, path string
}

// routeRuntime is what outlives tables of one route. What counts or limits by
// route lives here; its fields are safe for concurrent use.
type routeRuntime struct {
	key   routeKey
	text  string // host and path, for people
	stats routeStats
	// limiter is made with the first view that needs it.
	limiter *limiter
	// seats are the requests and tunnels on it, while it has a limit of them.
	seats atomic.Int64
}

func newRouteRuntime(key routeKey) *routeRuntime {
	return &routeRuntime{key: key, text: cmp.Or(key.host, "*") + cmp.Or(key.path, "/")}
}

// buildRoutes makes the views of a listener's routes. Runtimes that exist
// already are used again.
func (rt *runtimes) buildRoutes(l traffic.Listener, v *view) []*routeView {
	routes := make([]*routeView, 0, len(l.Routes))
	for _, spec := range l.Routes {
		key := routeKey{l.ListenerKey, spec.Host, spec.Path}
		run := rt.routes[key]
		if run == nil {
			run = newRouteRuntime(key)
		}
		routes = append(routes, &routeView{spec: spec, sv: v.services[spec.Service], rt: run, limiter: run.limiterFor(spec.Rate)})
	}
	return routes
}

// limiterFor returns the limiter of a rate, nil for none.
func (rt *routeRuntime) limiterFor(rate traffic.Rate) *limiter {
	if rate.PerSecond <= 0 {
		return nil
	}
	if rt.limiter == nil {
		rt.limiter = newLimiter()
	}
	return rt.limiter
}

// adoptRoutes makes the runtimes of routes exactly those of the view.
func (rt *runtimes) adoptRoutes(v *view) {
	routes := make(map[routeKey]*routeRuntime, len(rt.routes))
	for _, lv := range v.listeners {
		for _, r := range lv.routes {
			routes[r.rt.key] = r.rt
		}
	}
	rt.routes = routes
}
