package manifests

import (
	"slices"
	"time"
)

// TLSMode is where a route's certificate comes from.
type TLSMode string

// The modes.
const (
	// TLSAuto gets a certificate by ACME.
	TLSAuto TLSMode = "auto"
	// TLSFiles takes certificate and key from files of the host.
	TLSFiles TLSMode = "files"
	// TLSPassthrough leaves TLS to the container.
	TLSPassthrough TLSMode = "passthrough"
)

// RouteTLS is how a route is served over TLS.
type RouteTLS struct {
	Mode TLSMode `json:"mode"`
	// Cert and Key are PEM files of the host, with mode files; ClientCA holds
	// the authorities that clients' certificates must come from, empty asks for
	// none. Paths are absolute and clean.
	Cert     string `json:"cert,omitempty"`
	Key      string `json:"key,omitempty"`
	ClientCA string `json:"clientCA,omitempty"`
	// Redirect sends plain requests to https as soon as there is a certificate.
	Redirect bool `json:"redirect,omitempty"`
	// HSTS is the max-age of Strict-Transport-Security; 0 sends none.
	HSTS time.Duration `json:"hsts,omitempty"`
}

// Files lists the files of the host that the route needs, by key: cert, key
// and client_ca.
func (t *RouteTLS) Files() map[string]string {
	out := map[string]string{}
	if t == nil {
		return out
	}
	for key, path := range map[string]string{"cert": t.Cert, "key": t.Key, "client_ca": t.ClientCA} {
		if path != "" {
			out[key] = path
		}
	}
	return out
}

// Same says whether two routes may share a server name: the same certificate
// ends TLS and the same clients are let in.
func (t *RouteTLS) Same(o *RouteTLS) bool {
	return t.Mode == o.Mode && t.Cert == o.Cert && t.Key == o.Key && t.ClientCA == o.ClientCA && t.Mode != TLSPassthrough
}

// HostACME is how certificates are had by ACME (RFC 8555).
type HostACME struct {
	// Email is told of the account; empty is none.
	Email string `yaml:"email" json:"email,omitempty"`
	// Directory is the authority's directory URL; default Let's Encrypt's.
	Directory string `yaml:"directory" json:"directory,omitempty"`
	// CAFile holds the PEM certificates that the directory's own TLS is judged
	// by, beside nothing else; default the system's.
	CAFile string `yaml:"ca_file" json:"caFile,omitempty"`
	// Challenges are "http-01" and "tls-alpn-01"; default both.
	Challenges []string `yaml:"challenges" json:"challenges,omitempty"`
	// Shared is a folder that all hosts share which a name leads to; certificates
	// and challenges are kept there. Default <state>/acme, for names of one host.
	Shared string `yaml:"shared" json:"shared,omitempty"`
}

// The challenges of [HostACME].
const (
	ChallengeHTTP = "http-01"
	ChallengeALPN = "tls-alpn-01"
)

// EntryPoints are the ports of the host that a route by name listens on: plain
// ones, and ones for TLS clients only. http and https are the host's. With TLS,
// a port of `listen` is plain where it is one of the host's http ones.
func (r *Route) EntryPoints(http, https []uint16) (plain, secure []uint16) {
	switch {
	case r.TLS == nil && len(r.Listen) > 0:
		return r.Listen, nil
	case r.TLS == nil:
		return http, nil
	case len(r.Listen) == 0:
		plain, secure = http, https
	}
	for _, port := range r.Listen {
		if slices.Contains(http, port) {
			plain = append(plain, port)
		} else {
			secure = append(secure, port)
		}
	}
	if r.TLS.Mode == TLSPassthrough && !r.TLS.Redirect {
		plain = nil // what is on it, is the container's
	}
	return plain, secure
}
