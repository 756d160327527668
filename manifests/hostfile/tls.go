package hostfile

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"

	"github.com/remorahq/remora/manifests"
)

// entryPoints reports a port that is none, or is for plain clients and for TLS.
func (p *parser) entryPoints(a *manifests.HostAmbassador) {
	for _, ports := range []struct {
		field string
		list  []uint16
	}{{"http", a.HTTP}, {"https", a.HTTPS}} {
		if slices.Contains(ports.list, 0) {
			p.fail("ambassador."+ports.field, "0 is no port", "ports from 1 to 65535, such as [443]")
		}
	}
	for _, port := range a.HTTPS {
		if port != 0 && slices.Contains(a.HTTP, port) {
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
		if c == "dns-01" {
			p.later(fmt.Sprintf("ambassador.acme.challenges[%d]", i), "DNS-01 is not in this version", "write http-01, tls-alpn-01 or both")
			continue
		}
		p.oneOf(fmt.Sprintf("ambassador.acme.challenges[%d]", i), c, manifests.ChallengeHTTP, manifests.ChallengeALPN)
	}
	for _, f := range []struct{ key, path string }{{"ca_file", a.CAFile}, {"shared", a.Shared}} {
		if f.path != "" && !filepath.IsAbs(f.path) {
			p.fail("ambassador.acme."+f.key, fmt.Sprintf("%q is no absolute path", f.path), "")
		}
	}
}
