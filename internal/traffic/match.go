package traffic

import "strings"

// Match returns the route that a request for host and path takes: the most
// specific host wins (exact, then the wildcard with the longest suffix, then
// any), then the longest path prefix that ends at a segment's boundary. Host
// carries no port.
func Match(routes []Route, host, path string) (Route, bool) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	var best Route
	bestRank, found := [2]int{}, false
	for _, r := range routes {
		h, ok := hostRank(r.Host, host)
		if !ok || !pathMatches(r.Path, path) {
			continue
		}
		rank := [2]int{h, len(strings.TrimSuffix(r.Path, "/"))}
		if !found || rank[0] > bestRank[0] || rank[0] == bestRank[0] && rank[1] > bestRank[1] {
			best, bestRank, found = r, rank, true
		}
	}
	return best, found
}

// exactHost ranks above every wildcard: a host name has at most 253 bytes.
const exactHost = 1 << 10

func hostRank(pattern, host string) (rank int, ok bool) {
	switch suffix, wild := strings.CutPrefix(pattern, "*"); {
	case pattern == "":
		return 0, true
	case wild:
		return len(suffix), len(host) > len(suffix) && strings.HasSuffix(host, suffix)
	}
	return exactHost, pattern == host
}

func pathMatches(prefix, path string) bool {
	prefix = strings.TrimSuffix(prefix, "/")
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/' || rest[0] == '?')
}
