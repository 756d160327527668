package plan

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

func tlsRoutes() []manifests.Route {
	files := &manifests.RouteTLS{Mode: manifests.TLSFiles, Cert: "/c", Key: "/k", ClientCA: "/ca", Redirect: true}
	return []manifests.Route{
		{Host: "auto.test", Target: 3000, TLS: &manifests.RouteTLS{Mode: manifests.TLSAuto, Redirect: true, HSTS: time.Hour}},
		{Host: "*.files.test", Path: "/x", Target: 3000, TLS: files},
		{Host: "raw.test", Target: 8443, TLS: &manifests.RouteTLS{Mode: manifests.TLSPassthrough}},
		{Published: 9443, Target: 3000, TLS: &manifests.RouteTLS{Mode: manifests.TLSFiles, Cert: "/c", Key: "/k", Redirect: true}},
	}
}

// TestTableWithTLS: names, certificates and routes of TLS listeners; a plain
// listener that redirects once there is a certificate, and never serves what
// asks for client certificates; challenges that are led to the agent.
func TestTableWithTLS(t *testing.T) {
	app, own := share(t, "web app:v1")
	own.Releases[0].Service.Routes = tlsRoutes()
	in := TableInput{
		HTTP: []uint16{80}, HTTPS: []uint16{443}, Apps: map[string]AppTraffic{app.ID(): own}, ACME: ACME{HTTP: 5002, ALPN: 5001},
	}
	const web = "production/shop/web"
	want := []traffic.Listener{
		{
			ListenerKey: traffic.ListenerKey{Port: 80}, Protocol: traffic.HTTP, Owner: app.ID(), Routes: []traffic.Route{
				{Host: "*.files.test", Path: "/x", Service: web, Port: 3000, RedirectTLS: 443, TLSOnly: true},
				{Host: "auto.test", Path: "/.well-known/acme-challenge", Service: "remora/acme", Port: 5002},
				{Host: "auto.test", Service: web, Port: 3000},
			},
		},
		{
			ListenerKey: traffic.ListenerKey{Port: 443}, Protocol: traffic.TLS, Owner: app.ID(),
			TLS: []traffic.ServerName{
				{Name: "*.files.test", Certificate: "files:/c,/k", ClientCA: "clients:/ca"},
				{Name: "auto.test", Certificate: "auto:auto.test"},
				{Name: "auto.test", ALPN: "acme-tls/1", Service: "remora/acme", Port: 5001},
				{Name: "raw.test", Service: web, Port: 8443},
			},
			Routes: []traffic.Route{
				{Host: "*.files.test", Path: "/x", Service: web, Port: 3000},
				{Host: "auto.test", Service: web, Port: 3000, HSTS: time.Hour},
			},
		},
		{
			ListenerKey: traffic.ListenerKey{Port: 9443}, Protocol: traffic.TLS, Owner: app.ID(),
			TLS:    []traffic.ServerName{{Certificate: "files:/c,/k"}},
			Routes: []traffic.Route{{Service: web, Port: 3000}},
		},
	}
	table := Table(in)
	if diff := cmp.Diff(want, table.Listeners, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
	i := slices.IndexFunc(table.Services, func(s traffic.Service) bool { return s.Name == "remora/acme" })
	if i < 0 || table.Services[i].Releases[0].Endpoints[0].Address.String() != "127.0.0.1" {
		t.Errorf("services %+v; want the agent's answers to challenges", table.Services)
	}
	in.Ready = func(name string) bool { return name == "auto:auto.test" }
	if r := Table(in).Listeners[0].Routes[2]; r.RedirectTLS != 443 {
		t.Errorf("with a certificate: %+v; want a redirect", r)
	}
	rebuilt := ledger.Host{Claims: map[string]string{}, Ports: map[string]uint16{}}
	for _, l := range table.Listeners {
		rebuildListener(&rebuilt, l)
	}
	app.Services[0].Routes = tlsRoutes()
	keys := Claims(Input{App: app, HTTP: in.HTTP, HTTPS: in.HTTPS})
	for _, key := range keys {
		if key != "project/shop" && rebuilt.Claims[key] != app.ID() {
			t.Errorf("a rebuilt ledger lacks the claim %s: %v", key, rebuilt.Claims)
		}
	}
	if len(rebuilt.Claims) != len(keys)-1 {
		t.Errorf("rebuilt claims %v, want those of %v", rebuilt.Claims, keys)
	}
}

// TestTLSConflicts: a server name has one certificate, and a port takes plain
// clients or TLS.
func TestTLSConflicts(t *testing.T) {
	for name, c := range map[string]struct {
		claimed string
		want    status.Reason
	}{
		"same":        {"name/:443/auto.test/auto:auto.test", ""},
		"other":       {"name/:443/auto.test/files:/c,/k", status.RouteConflict},
		"passthrough": {"name/:443/auto.test/passthrough staging/x/y", status.RouteConflict},
		"other_name":  {"name/:443/else.test/files:/c,/k", ""},
		"other_port":  {"name/:8443/auto.test/files:/c,/k", ""},
		"route":       {"tls/:443/auto.test/", status.RouteConflict},
		"other_path":  {"tls/:443/auto.test/x", ""},
		"catch_all":   {"port/:443", status.RouteConflict},
		"plain":       {"route/:443/else.test/", status.RouteConflict},
	} {
		app := parseApp(t, "web app:v1")
		app.Services[0].Routes = tlsRoutes()[:1]
		in := input(app, ledger.App{})
		in.HTTP, in.HTTPS = []uint16{80}, []uint16{443}
		in.Host.Claims = map[string]string{c.claimed: "staging/x"}
		var got status.Reason
		if held := Plan(in).Hold; held != nil {
			got = held.Reason
		}
		if got != c.want {
			t.Errorf("%s: %s held by %q, want %q", name, c.claimed, got, c.want)
		}
	}
}

func TestCertificateNames(t *testing.T) {
	for _, s := range []traffic.CertificateSource{{Auto: "a.test"}, {Cert: "/c", Key: "/k"}, {ClientCA: "/ca"}} {
		if got, ok := traffic.ParseCertificateSource(s.Name()); !ok || got != s {
			t.Errorf("%q is read as %+v, %t", s.Name(), got, ok)
		}
	}
	for _, name := range []string{"", "auto:", "files:/c", "files:,/k", "other:x", "clients:"} {
		if got, ok := traffic.ParseCertificateSource(name); ok {
			t.Errorf("%q is read as %+v", name, got)
		}
	}
}

// TestChallengesTakeNoPort: an app that has a https entry point for itself keeps
// it, whatever certificates others need.
func TestChallengesTakeNoPort(t *testing.T) {
	app, own := share(t, "web app:v1 port=443:3000")
	own.Releases[0].Service.Routes = []manifests.Route{
		{Host: "auto.test", Target: 3000, Listen: []uint16{8443}, TLS: &manifests.RouteTLS{Mode: manifests.TLSAuto}},
	}
	table := Table(TableInput{
		HTTP: []uint16{80}, HTTPS: []uint16{443}, Apps: map[string]AppTraffic{app.ID(): own}, ACME: ACME{HTTP: 5002, ALPN: 5001},
	})
	got := map[uint16]traffic.Protocol{}
	for _, l := range table.Listeners {
		if l.Namespace == "" {
			got[l.Port] = l.Protocol
		}
	}
	want := map[uint16]traffic.Protocol{80: traffic.HTTP, 443: traffic.Detect, 8443: traffic.TLS}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
}

// TestSlashAtTheEndIsTheSamePath: a slash at a path's end gives nobody the
// requests of another app, or the challenges that the agent answers.
func TestSlashAtTheEndIsTheSamePath(t *testing.T) {
	app := parseApp(t, "web app:v1")
	for claimed, r := range map[string]manifests.Route{
		"route/:80/a.test/api":    {Host: "a.test", Path: "/api/", Target: 3000},
		"tls/:443/auto.test/api":  {Host: "auto.test", Path: "/api//", Target: 3000, TLS: tlsRoutes()[0].TLS},
		"route/:80/auto.test/api": {Host: "auto.test", Path: "/api/", Target: 3000, TLS: tlsRoutes()[0].TLS},
	} {
		app.Services[0].Routes = []manifests.Route{r}
		in := input(app, ledger.App{})
		in.HTTP, in.HTTPS = []uint16{80}, []uint16{443}
		in.Host.Claims = map[string]string{claimed: "staging/x"}
		if held := Plan(in).Hold; held == nil || held.Reason != status.RouteConflict {
			t.Errorf("%s%s beside %s: %+v, want a conflict", r.Host, r.Path, claimed, held)
		}
	}
	_, own := share(t, "web app:v1")
	own.Releases[0].Service.Routes = append(tlsRoutes()[:1], manifests.Route{Host: "auto.test", Path: acmePath + "/", Target: 3000})
	table := Table(TableInput{HTTP: []uint16{80}, HTTPS: []uint16{443}, Apps: map[string]AppTraffic{app.ID(): own}, ACME: ACME{HTTP: 5002}})
	router := traffic.NewRouter(table.Listeners[0].Routes)
	i, ok := router.Match([]byte("auto.test"), []byte(acmePath+"/token"))
	if !ok || table.Listeners[0].Routes[i].Service != acmeService {
		t.Errorf("a challenge reaches %+v", table.Listeners[0].Routes[i])
	}
}

// TestClientCertificatesAreNeverServedPlain: where the TLS port is another app's,
// a route that asks for certificates is not there at all.
func TestClientCertificatesAreNeverServedPlain(t *testing.T) {
	app, own := share(t, "web app:v1")
	own.Releases[0].Service.Routes = tlsRoutes()[1:2]
	in := TableInput{HTTP: []uint16{80}, HTTPS: []uint16{443}, Apps: map[string]AppTraffic{app.ID(): own}}
	in.Host.Claims = map[string]string{"tls/:443/*.files.test/x": "staging/x"}
	for _, l := range Table(in).Listeners {
		if len(l.Routes) > 0 {
			t.Errorf("port %d has %+v", l.Port, l.Routes)
		}
	}
}
