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
	exact map[string][]branch
	wild  []wildcard
	any   []branch
}

// branch is the path prefix of one route of a host, and the route's index.
type branch struct {
	path  string
	index int
}

// wildcard holds the routes of "*.example.com" under ".example.com".
type wildcard struct {
	suffix   string
	branches []branch
}

// NewRouter makes the router of a listener's routes.
func NewRouter(routes []Route) Router {
	r := Router{exact: make(map[string][]branch)}
	wild := make(map[string][]branch)
	for i, rt := range routes {
		b := branch{path: rt.Path, index: i}
		host := strings.ToLower(strings.TrimSuffix(rt.Host, "."))
		suffix, isWild := strings.CutPrefix(host, "*")
		switch {
		case host == "" || host == "*":
			r.any = append(r.any, b)
		case isWild:
			wild[suffix] = append(wild[suffix], b)
		default:
			r.exact[host] = append(r.exact[host], b)
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
func byPath(list []branch) []branch {
	slices.SortStableFunc(list, func(a, b branch) int { return cmp.Compare(len(b.path), len(a.path)) })
	return list
}

// Match finds the route for a Host as sent, port and all, and a path without
// query, by its index in what [NewRouter] got. It allocates nothing.
func (r *Router) Match(host, path []byte) (index int, ok bool) {
	var buf [256]byte
	name := AppendHost(buf[:0], host)
	if i, ok := pathMatch(r.exact[string(name)], path); ok {
		return i, true
	}
	for _, w := range r.wild {
		if len(name) > len(w.suffix) && string(name[len(name)-len(w.suffix):]) == w.suffix {
			if i, ok := pathMatch(w.branches, path); ok {
				return i, true
			}
		}
	}
	return pathMatch(r.any, path)
}

// Fallback is the route of a connection that names no host: the one for any
// host and path, or the only one.
func (r *Router) Fallback() (index int, ok bool) {
	if i, ok := pathMatch(r.any, []byte("/")); ok {
		return i, true
	}
	if len(r.any) == 0 && len(r.wild) == 0 && len(r.exact) == 1 {
		for _, list := range r.exact {
			return pathMatch(list, []byte("/"))
		}
	}
	return 0, false
}

func pathMatch(list []branch, path []byte) (index int, ok bool) {
	for _, b := range list {
		if underPrefix(path, b.path) {
			return b.index, true
		}
	}
	return 0, false
}

// underPrefix says whether the path is the prefix or goes on below it.
func underPrefix(path []byte, prefix string) bool {
	prefix = strings.TrimSuffix(prefix, "/")
	if len(path) < len(prefix) || string(path[:len(prefix)]) != prefix {
		return false
	}
	return len(path) == len(prefix) || path[len(prefix)] == '/' || prefix == ""
}

// AppendHost appends a Host as sent in lower case, without port and final dot.
func AppendHost(dst, host []byte) []byte {
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
