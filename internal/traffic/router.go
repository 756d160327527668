package traffic

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

// Router finds the route of a request on one listener. Among the routes that
// match, the most specific host wins (exact, then the wildcard with the longest
// suffix, then any), then the longest path that ends at a segment's boundary. It
// is immutable.
type Router struct {
	exact map[string][]Route
	wild  []wildcard
	any   []Route
}

// wildcard holds the routes of "*.example.com" under ".example.com".
type wildcard struct {
	suffix string
	routes []Route
}

// NewRouter makes the router of a listener's routes.
func NewRouter(routes []Route) Router {
	r := Router{exact: make(map[string][]Route)}
	wild := make(map[string][]Route)
	for _, rt := range routes {
		host := strings.ToLower(strings.TrimSuffix(rt.Host, "."))
		suffix, isWild := strings.CutPrefix(host, "*")
		switch {
		case host == "" || host == "*":
			r.any = append(r.any, rt)
		case isWild:
			wild[suffix] = append(wild[suffix], rt)
		default:
			r.exact[host] = append(r.exact[host], rt)
		}
	}
	for suffix, list := range wild {
		r.wild = append(r.wild, wildcard{suffix, byPath(list)})
	}
	slices.SortFunc(r.wild, func(a, b wildcard) int {
		return cmp.Or(cmp.Compare(len(b.suffix), len(a.suffix)), strings.Compare(a.suffix, b.suffix))
	})
	for host, list := range r.exact {
		r.exact[host] = byPath(list)
	}
	r.any = byPath(r.any)
	return r
}

// byPath sorts the longest path first.
func byPath(list []Route) []Route {
	slices.SortStableFunc(list, func(a, b Route) int { return cmp.Compare(len(b.Path), len(a.Path)) })
	return list
}

// Match finds the route for a Host as sent, port and all, and a path without
// query. It allocates nothing.
func (r *Router) Match(host, path []byte) (Route, bool) {
	var buf [256]byte
	name := normalHost(buf[:0], host)
	if rt, ok := pathMatch(r.exact[string(name)], path); ok {
		return rt, true
	}
	for _, w := range r.wild {
		if len(name) > len(w.suffix) && string(name[len(name)-len(w.suffix):]) == w.suffix {
			if rt, ok := pathMatch(w.routes, path); ok {
				return rt, true
			}
		}
	}
	return pathMatch(r.any, path)
}

// Fallback is the route of a connection that names no host: the one for any
// host and path, or the only one.
func (r *Router) Fallback() (Route, bool) {
	if rt, ok := pathMatch(r.any, []byte("/")); ok {
		return rt, true
	}
	if len(r.any) == 0 && len(r.wild) == 0 && len(r.exact) == 1 {
		for _, list := range r.exact {
			return pathMatch(list, []byte("/"))
		}
	}
	return Route{}, false
}

func pathMatch(list []Route, path []byte) (Route, bool) {
	for _, rt := range list {
		if underPrefix(path, rt.Path) {
			return rt, true
		}
	}
	return Route{}, false
}

// underPrefix says whether the path is the prefix or goes on below it.
func underPrefix(path []byte, prefix string) bool {
	prefix = strings.TrimSuffix(prefix, "/")
	if len(path) < len(prefix) || string(path[:len(prefix)]) != prefix {
		return false
	}
	return len(path) == len(prefix) || path[len(prefix)] == '/' || prefix == ""
}

// normalHost appends the host in lower case without port and final dot.
func normalHost(dst, host []byte) []byte {
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && bytes.IndexByte(host[i:], ']') < 0 {
		host = host[:i]
	}
	host = bytes.TrimSuffix(host, []byte("."))
	for _, c := range host {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
