package ambassador

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
)

func TestPlainPath(t *testing.T) {
	for path, want := range map[string]string{
		"/":                "/",
		"/a/b":             "/a/b",
		"/a//b///c/":       "/a/b/c/",
		"/a/./b/.":         "/a/b/",
		"/a/../b":          "/b",
		"/a/b/..":          "/a/",
		"/../../a":         "/a",
		"//a":              "/a",
		"/%61%2fb":         "/a/b",
		"/x/%2e%2E/a":      "/a",
		"/x/.%2e/a":        "/a",
		"/%2e%2e%2fa":      "/a",
		"/a%":              "/a%",
		"/%zz%2":           "/%zz%2",
		"/%252e":           "/%2e",
		"/.well-known/...": "/.well-known/...",
	} {
		if got := string(appendPlain(nil, []byte(path))); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

// Who may not use a route does not reach its path through the route above it,
// however the path is written; what leads to the same route in every reading is
// not looked at any further.
func TestPathsThatReadTwoWaysAreRefused(t *testing.T) {
	r, b := newRig(t), startHandler(t, "v1", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RequestURI) })
	port := freePort(t)
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b))
	admin := tb.Listeners[0].Routes[0]
	admin.Path, admin.Allow = "/admin", []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	tb.Listeners[0].Routes = append(tb.Listeners[0].Routes, admin)
	r.put(tb)
	for path, status := range map[string]int{
		"/admin": 403, "/admin/x": 403, "/admin//x": 403, "/admin/%20": 403,
		"/x/../admin": 400, "//admin": 400, "/./admin": 400, "/%61dmin": 400, "/x/%2e%2e/admin/": 400, "/x%2f..%2fadmin": 400, "/admin/../x": 400,
		"/x/../y": 200, "/x//y": 200, "/a%2Fb%20c": 200, "/.well-known/x": 200, "/administrator?to=/../admin": 200,
	} {
		want := ""
		if status == 200 {
			want = path
		}
		c := connect(t, port)
		if got, body, err := c.roundTrip("GET", get(path)); err != nil || got != status || want != "" && body != want {
			t.Errorf("%s: got %d %q, %v; want %d", path, got, body, err, status)
		}
	}
}
