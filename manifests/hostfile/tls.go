package hostfile

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"

	"github.com/remorahq/remora/manifests"
)

// entryPoints reports a port that is for plain clients and for TLS.
func (p *parser) entryPoints(a *manifests.HostAmbassador) {
	for _, port := range a.HTTPS {
		if slices.Contains(a.HTTP, port) {
			p.fail("ambassador.https", fmt.Sprintf("port %d is in `http`, too", port), "a port takes plain clients or TLS")
		}
	}
}

// acme reports what no certificate can be had with.
func (p *parser) acme(a *manifests.HostACME) {
	if u, err := url.Parse(a.Directory); a.Directory != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		p.fail("ambassador.acme.directory", fmt.Sprintf("%q is no https URL", a.Directory), "such as https://acme-v02.api.letsencrypt.org/directory")
	}
	for i, c := range a.Challenges {
		p.oneOf(fmt.Sprintf("ambassador.acme.challenges[%d]", i), c, manifests.ChallengeHTTP, manifests.ChallengeALPN)
	}
	for _, f := range []struct{ key, path string }{{"ca_file", a.CAFile}, {"shared", a.Shared}} {
		if f.path != "" && !filepath.IsAbs(f.path) {
			p.fail("ambassador.acme."+f.key, fmt.Sprintf("%q is no absolute path", f.path), "")
		}
	}
}
