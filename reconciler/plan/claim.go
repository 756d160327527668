package plan

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// claim is something on the host that only one app can have.
type claim struct {
	key     string // of [ledger.Host.Claims]
	service string
	port    uint16 // of the host; 0 for a project
	ip      string // of a port; empty for all
	udp     bool
	route   bool
	// tls says that it is for TLS clients, name that it is a server name with
	// what becomes of it: several apps may have it if that is the same.
	tls  bool
	name string
}

// entries are the host's entry points for routes by name.
type entries struct{ http, https []uint16 }

// claims are all that an app claims: its project's name, the host's ports and
// routes by name.
func claims(app manifests.App, at entries) []claim {
	out := []claim{{key: "project/" + app.Project}}
	for i := range app.Services {
		s := &app.Services[i]
		for _, p := range s.Ports {
			if p.Published != 0 {
				out = append(out, portClaim(s.Name, p.HostIP, p.Published, p.Protocol))
			}
		}
		for _, r := range s.Routes {
			out = append(out, routeClaims(app.ID()+"/"+s.Name, s.Name, r, at)...)
		}
	}
	return out
}

// Claims returns the keys of [ledger.Host.Claims] that the app needs.
func Claims(in Input) []string {
	var keys []string
	for _, c := range claims(in.App, entries{in.HTTP, in.HTTPS}) {
		keys = append(keys, c.key)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// KeepClaims takes from h what an app claimed and no longer needs; nil gives
// everything back.
func KeepClaims(h *ledger.Host, app string, keys []string) {
	maps.DeleteFunc(h.Claims, func(key, owner string) bool { return owner == app && !slices.Contains(keys, key) })
}

func portClaim(service, ip string, port uint16, protocol string) claim {
	if ip == "0.0.0.0" || ip == "::" {
		ip = ""
	}
	c := claim{key: fmt.Sprintf("port/%s:%d", ip, port), service: service, port: port, ip: ip, udp: protocol == "udp"}
	if c.udp {
		c.key += "/udp"
	}
	return c
}

// routeClaims are what a route of a service claims; full is the service's name
// in the table.
func routeClaims(full, service string, r manifests.Route, at entries) []claim {
	if r.Published != 0 {
		return []claim{portClaim(service, "", r.Published, "tcp")}
	}
	var out []claim
	host, path := strings.ToLower(r.Host), strings.TrimPrefix(routePath(r), "/")
	plain, secure := r.EntryPoints(at.http, at.https)
	for _, port := range plain {
		key := fmt.Sprintf("route/:%d/%s/%s", port, host, path)
		out = append(out, claim{key: key, service: service, port: port, route: true})
	}
	for _, port := range secure {
		out = append(out,
			claim{key: tlsKey(port, r), service: service, port: port, route: true, tls: true},
			claim{key: fmt.Sprintf("name/:%d/%s/%s", port, host, handshake(full, r)), service: service, port: port, route: true, tls: true, name: host})
	}
	return out
}

// routePath is a route's path without slashes at its end, which mean nothing to
// the ambassador: with and without them it is the same claim.
func routePath(r manifests.Route) string { return strings.TrimRight(r.Path, "/") }

// tlsKey claims a route's host and path on a port for TLS clients.
func tlsKey(port uint16, r manifests.Route) string {
	return fmt.Sprintf("tls/:%d/%s/%s", port, strings.ToLower(r.Host), strings.TrimPrefix(routePath(r), "/"))
}

// nameConflict stops where another app has the project's name.
func (p *planner) nameConflict() *Held {
	owner := p.Host.Claims["project/"+p.App.Project]
	if owner == "" || owner == p.App.ID() {
		return nil
	}
	return &Held{
		Reason:  status.NameConflict,
		Message: fmt.Sprintf("project %s belongs to app %s", p.App.Project, owner),
		Remedy:  "set a different `name:` in the compose file",
	}
}

// conflict stops where another app, or another service, has a port or a route.
func (p *planner) conflict() *Held {
	mine := claims(p.App, entries{p.HTTP, p.HTTPS})
	for i, c := range mine {
		for _, other := range mine[:i] {
			if (other.service != c.service || other.tls != c.tls) && clash(c, other) {
				return conflictHeld(c, "service "+other.service+" of this app")
			}
		}
		for _, key := range slices.Sorted(maps.Keys(p.Host.Claims)) {
			owner := p.Host.Claims[key]
			if owner != p.App.ID() && clash(c, parseClaim(key)) {
				return conflictHeld(c, "app "+owner)
			}
		}
		if owner := p.chosen(c); owner != "" {
			return conflictHeld(c, owner)
		}
	}
	return nil
}

// chosen returns the service of another app to which remora gave a port whose
// number its file leaves open.
func (p *planner) chosen(c claim) string {
	for _, key := range slices.Sorted(maps.Keys(p.Host.Ports)) {
		if p.Host.Ports[key] == c.port && c.port != 0 && !c.udp && !below(key, p.App.ID()) {
			return "service " + path.Dir(key)
		}
	}
	return ""
}

func conflictHeld(c claim, owner string) *Held {
	_, what, _ := strings.Cut(c.key, "/")
	if c.name != "" {
		return &Held{
			Reason: status.RouteConflict, Service: c.service,
			Message: fmt.Sprintf("server name %s on port %d has other TLS in %s than in %s", c.name, c.port, owner, c.service),
			Remedy:  "write the same `tls:` for all routes of the name",
		}
	}
	if c.route {
		return &Held{
			Reason: status.RouteConflict, Service: c.service,
			Message: fmt.Sprintf("route %s of %s belongs to %s", what, c.service, owner),
			Remedy:  "change one of the two routes",
		}
	}
	return &Held{
		Reason: status.PortConflict, Service: c.service,
		Message: fmt.Sprintf("port %s of %s belongs to %s", what, c.service, owner),
		Remedy:  "publish another port, or remove it there",
	}
}

// clash says that two claims exclude each other. Routes by name share a port
// with each other and with one catch-all on all addresses.
func clash(a, b claim) bool {
	if a.port == 0 || b.port == 0 || a.port != b.port || a.udp != b.udp {
		return false
	}
	switch {
	case a.tls != b.tls:
		return true // a port takes plain clients or TLS
	case a.name != "" && b.name != "":
		return a.name == b.name && a.key != b.key
	case a.name != "" || b.name != "":
		return false
	case a.route && b.route:
		return a.key == b.key
	case a.route:
		return b.ip != ""
	case b.route:
		return a.ip != ""
	}
	return a.ip == b.ip || a.ip == "" || b.ip == ""
}

// parseClaim reads a key of [ledger.Host.Claims].
func parseClaim(key string) claim {
	kind, rest, _ := strings.Cut(key, "/")
	c := claim{key: key, route: kind == "route" || kind == "tls" || kind == "name", tls: kind == "tls" || kind == "name"}
	if kind == "project" {
		return c
	}
	if c.route {
		var host string
		rest, host, _ = strings.Cut(rest, "/")
		if kind == "name" {
			c.name, _, _ = strings.Cut(host, "/")
		}
	}
	rest, c.udp = strings.CutSuffix(rest, "/udp")
	i := strings.LastIndexByte(rest, ':')
	if i < 0 {
		return c
	}
	c.ip = rest[:i]
	if port, err := strconv.ParseUint(rest[i+1:], 10, 16); err == nil {
		c.port = uint16(port)
	}
	return c
}

// Ports are the TCP ports of the host that an app claims, by their own number
// or as entry points of its routes, sorted.
func Ports(in Input) []uint16 {
	var ports []uint16
	for _, c := range claims(in.App, entries{in.HTTP, in.HTTPS}) {
		if c.port != 0 && !c.udp {
			ports = append(ports, c.port)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}
