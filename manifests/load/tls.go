package load

import (
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// routeTLS reads `tls`, `redirect` and `hsts` of a route; nil is plain.
func (a *app) routeTLS(o *object) *manifests.RouteTLS {
	t := a.tlsMode(o)
	redirect, said := o.get("redirect")
	hsts, _ := o.duration("hsts")
	if t == nil {
		if said && redirect != false || hsts != 0 {
			a.fail(o.path, "write `tls:`, or remove them", "`redirect` and `hsts` are for routes with TLS")
		}
		return nil
	}
	t.Redirect, t.HSTS = !said || o.boolean("redirect"), hsts
	if hsts != 0 && hsts < time.Second {
		a.fail(o.at("hsts"), "such as 8760h, a year", "%s is less than a second", hsts)
	}
	return t
}

func (a *app) tlsMode(o *object) *manifests.RouteTLS {
	v, ok := o.get("tls")
	if !ok || v == false || v == "off" {
		return nil
	}
	switch v {
	case "auto":
		return &manifests.RouteTLS{Mode: manifests.TLSAuto}
	case "passthrough":
		return &manifests.RouteTLS{Mode: manifests.TLSPassthrough}
	}
	if _, mapping := v.(map[string]any); mapping {
		return a.tlsFiles(a.object(o.at("tls"), v))
	}
	a.fail(o.at("tls"), "auto, off, passthrough, or {cert: /etc/…, key: /etc/…}", "%q is not known here", scalar(v))
	return nil
}

// tlsFiles reads the files of the host that a route names. With client_ca
// alone, the certificate is had automatically.
func (a *app) tlsFiles(o *object) *manifests.RouteTLS {
	t := &manifests.RouteTLS{Mode: manifests.TLSFiles, Cert: a.hostFile(o, "cert"), Key: a.hostFile(o, "key"), ClientCA: a.hostFile(o, "client_ca")}
	o.done()
	switch {
	case (t.Cert == "") != (t.Key == ""):
		a.fail(o.path, "write both", "a certificate needs `cert` and `key`")
	case t.Cert == "" && t.ClientCA == "":
		a.fail(o.path, "write `tls: auto`, or name `cert` and `key`", "no file is named")
	case t.Cert == "":
		t.Mode = manifests.TLSAuto
	}
	return t
}

// hostFile reads the path of a file of the host.
func (a *app) hostFile(o *object, key string) string {
	s := o.text(key)
	switch {
	case s == "":
		return ""
	case !path.IsAbs(s):
		a.fail(o.at(key), "write a path such as /etc/ssl/shop/tls.crt; keys do not belong into the repository", "%q is no absolute path of the host", s)
	case strings.ContainsFunc(s, func(r rune) bool { return r == ',' || r < ' ' }):
		a.fail(o.at(key), "give the file another name", "%q has a comma or a control character in it", s)
	}
	return path.Clean(s)
}

// checkTLS reports a route whose TLS does not go with the rest of it, or with
// the host.
func (a *app) checkTLS(at string, r manifests.Route) {
	t := r.TLS
	if t == nil {
		return
	}
	if r.App == "tcp" {
		a.fail(at+".tls", "remove one of the two; `tls: passthrough` leads a connection on by its server name", "a tcp route is a tunnel, in which no TLS ends")
	}
	if t.ClientCA != "" && !t.Redirect && r.Published == 0 {
		a.fail(at+".redirect", "remove `redirect: false`", "over http, clients would be let in without a certificate")
	}
	switch {
	case r.Published != 0:
		a.checkPublishedTLS(at, t)
		return
	case len(a.securePorts(r)) == 0:
		a.fail(at+".tls", "give the host `ambassador.https: [443]`, or the route another `listen`", "no port is left for TLS")
	}
	switch t.Mode {
	case manifests.TLSAuto:
		a.checkAuto(at, r)
	case manifests.TLSPassthrough:
		a.checkPassthrough(at, r)
	}
}

func (a *app) checkPublishedTLS(at string, t *manifests.RouteTLS) {
	switch t.Mode {
	case manifests.TLSAuto:
		a.fail(at+".tls", "write `host:` in place of `published`, or name `cert` and `key`", "a certificate is had for a host name, and the route has none")
	case manifests.TLSPassthrough:
		a.fail(at+".tls", "write `app_protocol: tcp`", "a port of its own passes everything through")
	}
}

// securePorts are the ports on which a route by name is served over TLS.
func (a *app) securePorts(r manifests.Route) []uint16 {
	_, secure := r.EntryPoints(a.req.HTTP, a.req.HTTPS)
	return secure
}

// checkAuto reports a name for which no certificate can be had by itself.
func (a *app) checkAuto(at string, r manifests.Route) {
	switch {
	case r.Host == "":
		a.fail(at+".tls", "write `host:`", "a certificate is had for a host name, and the route has none")
	case strings.HasPrefix(r.Host, "*"):
		a.add(manifests.Diagnostic{
			Field: at + ".tls", Value: r.Host, Reason: status.NotInThisVersion,
			Message: "an automatic certificate for a wildcard needs DNS-01, which is not in this version",
			Remedy:  "name `cert` and `key`, or write a route for each name",
		})
	case !a.single && !a.req.ACMEShared:
		a.fail(at+".tls", "place the app on one host (`x-remora: {hosts: [NAME]}`), or set ambassador.acme.shared to a folder that all hosts share",
			"%s may run on several hosts, and only one of them would answer the authority's challenge; DNS-01 is not in this version", a.name)
	}
}

func (a *app) checkPassthrough(at string, r manifests.Route) {
	switch {
	case r.Host == "":
		a.fail(at+".tls", "write `host:`", "a connection is passed through by its server name, and the route has none")
	case r.Path != "" && r.Path != "/":
		a.fail(at+".path", "remove it", "the path of a connection that is passed through is not seen")
	case r.TLS.HSTS != 0:
		a.fail(at+".hsts", "let the container send it", "nothing can be added to a connection that is passed through")
	}
}

// serverNames reports host names that two routes want different TLS for: a
// handshake knows the name alone.
func (c *converter) serverNames() {
	type owner struct {
		field string
		tls   *manifests.RouteTLS
	}
	seen := map[string]owner{}
	for i := range c.out.Services {
		s := &c.out.Services[i]
		for n, r := range s.Routes {
			field := "services." + s.Name + ".x-remora.routes[" + strconv.Itoa(n) + "].tls"
			if r.TLS == nil || r.Published != 0 {
				continue
			}
			first, taken := seen[r.Host]
			if !taken {
				seen[r.Host] = owner{field, r.TLS}
			} else if !first.tls.Same(r.TLS) {
				c.fail(field, "write the same in both", "the host name %s has other TLS in %s", r.Host, first.field)
			}
		}
	}
}
