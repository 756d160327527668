package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/certtest"
	"github.com/remorahq/remora/manifests"
)

// TestCertificateWarnings: what is wrong with files that are here is said, and
// nothing of those that are on another host.
func TestCertificateWarnings(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, other := ca.IssueUntil(t, time.Now().Add(30*24*time.Hour), "a.test"), ca.Issue(t, "a.test")
	cert, key, wrong := write("crt", good.Cert), write("key", good.Key), write("wrong", other.Key)
	files := func(host, cert, key, ca string) manifests.Route {
		return manifests.Route{Host: host, TLS: &manifests.RouteTLS{Mode: manifests.TLSFiles, Cert: cert, Key: key, ClientCA: ca}}
	}
	app := &manifests.App{Services: []manifests.Service{{Name: "web", Routes: []manifests.Route{
		files("a.test", cert, key, write("ca", ca.PEM())),
		files("elsewhere.test", "/no/such.crt", "/no/such.key", "/no/such.ca"),
		files("b.test", cert, key, ""),
		files("a.test", cert, wrong, key),
		{Host: "plain.test"},
	}}}}
	place := manifests.Position{File: "compose.yaml", Line: 7, Column: 11}
	app.Services[0].Positions = map[string]manifests.Position{"x-remora.routes[2]": place}
	var got []string
	for _, d := range certificateWarnings(app, time.Now()) {
		got = append(got, d.String())
		if !d.Warning {
			t.Errorf("%s is no warning", d)
		}
	}
	want := []string{place.String() + ": services.web.x-remora.routes[2].tls: the certificate is not for b.test", "routes[3].tls: " + cert, "routes[3].tls: " + key + " has no certificate of an authority"}
	if len(got) != len(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
}
