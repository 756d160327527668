package traffic

import (
	"strings"
	"testing"
)

func TestRouter(t *testing.T) {
	routes := []Route{
		{Service: "any"},
		{Path: "/api", Service: "any-api"},
		{Host: "shop.example.com", Service: "shop"},
		{Host: "shop.example.com", Path: "/api/", Service: "shop-api"},
		{Host: "shop.example.com", Path: "/api/v2", Service: "shop-v2"},
		{Host: "*.example.com", Service: "wild"},
		{Host: "*.eu.example.com", Path: "/x", Service: "eu-x"},
		{Host: "Only.example.org.", Path: "/in", Service: "only"},
	}
	r := NewRouter(routes)
	for _, c := range []struct{ host, path, want string }{
		{"", "/", "any"},
		{"other", "/api", "any-api"},
		{"other", "/api/x", "any-api"},
		{"other", "/apix", "any"},
		{"shop.example.com", "/", "shop"},
		{"SHOP.example.com:8080", "/api", "shop-api"},
		{"shop.example.com.", "/api/v1", "shop-api"},
		{"shop.example.com", "/api/v2/y", "shop-v2"},
		{"shop.example.com", "/api/v20", "shop-api"},
		{"a.example.com", "/api", "wild"},
		{"a.b.example.com", "/", "wild"},
		{"example.com", "/", "any"},
		{"a.eu.example.com", "/x/1", "eu-x"},
		{"a.eu.example.com", "/y", "wild"},
		{"only.example.org", "/in", "only"},
		{"only.example.org", "/out", "any"},
		{"[::1]:80", "/", "any"},
	} {
		got, ok := r.Match([]byte(c.host), []byte(c.path))
		if !ok || routes[got].Service != c.want {
			t.Errorf("%s%s leads to %q (%v), want %q", c.host, c.path, routes[got].Service, ok, c.want)
		}
	}
	if i, ok := r.Fallback(); !ok || routes[i].Service != "any" {
		t.Errorf("fallback leads to %q", routes[i].Service)
	}
	host, path := []byte("A.eu.example.com:80"), []byte("/y")
	if n := testing.AllocsPerRun(100, func() { r.Match(host, path) }); n != 0 {
		t.Errorf("a match allocates %v times", n)
	}
}

func TestFallbackNeedsOneMeaning(t *testing.T) {
	two := NewRouter([]Route{{Host: "a", Service: "a"}, {Host: "b", Service: "b"}})
	if i, ok := two.Fallback(); ok {
		t.Errorf("two hosts have the fallback %d", i)
	}
	one := NewRouter([]Route{{Host: "a", Service: "a"}})
	if i, ok := one.Fallback(); !ok || i != 0 {
		t.Errorf("one host has the fallback %d, %v", i, ok)
	}
}

// FuzzRouter compares the router with the definition, spelled out slowly.
func FuzzRouter(f *testing.F) {
	f.Add("shop.example.com", "/api/x", "/api", "*.example.com")
	f.Add("a.b:80", "/", "", "a.b")
	f.Fuzz(func(t *testing.T, host, path, prefix, pattern string) {
		r := NewRouter([]Route{{Host: pattern, Path: prefix, Service: "s"}})
		_, got := r.Match([]byte(host), []byte(path))
		if want := slowMatch(host, path, prefix, pattern); got != want {
			t.Errorf("host %q path %q, route %q%q: got %v, want %v", host, path, pattern, prefix, got, want)
		}
	})
}

func slowMatch(host, path, prefix, pattern string) bool {
	if i := strings.LastIndex(host, ":"); i >= 0 && !strings.Contains(host[i:], "]") {
		host = host[:i]
	}
	host = lower(strings.TrimSuffix(host, "."))
	pattern = strings.ToLower(strings.TrimSuffix(pattern, "."))
	hostOK := pattern == "" || pattern == "*" || pattern == host
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok && suffix != "" {
		hostOK = strings.HasSuffix(host, suffix) && len(host) > len(suffix)
	}
	prefix = strings.TrimSuffix(prefix, "/")
	return hostOK && (prefix == "" || path == prefix || strings.HasPrefix(path, prefix+"/"))
}

// lower is ASCII's: what is not ASCII is no host name.
func lower(s string) string {
	return string(AppendHost(nil, []byte(s+":"))) // the port is cut off
}
