package load

import (
	"fmt"

	"github.com/remorahq/remora/manifests"
)

// conflicts reports what two services of the app claim both: a port of the
// host, a host name and path, a container's name. Claims of other apps are
// judged where all apps of the host are known.
func (c *converter) conflicts() {
	claimed := map[string]string{}
	claim := func(key, field, what string) {
		if owner, taken := claimed[key]; taken && owner != field {
			c.fail(field, "change one of the two", "%s is claimed by %s already", what, owner)
			return
		}
		claimed[key] = field
	}
	for i := range c.out.Services {
		s := &c.out.Services[i]
		at := "services." + s.Name
		if s.Container.Name != "" {
			claim("name "+s.Container.Name, at+".container_name", fmt.Sprintf("the name %q", s.Container.Name))
		}
		for _, p := range s.Ports {
			c.claimPort(claim, claimed, at+".ports", p)
		}
		for n, r := range s.Routes {
			field := fmt.Sprintf("%s.x-remora.routes[%d]", at, n)
			if r.Published != 0 {
				c.claimPort(claim, claimed, field, manifests.Port{Published: r.Published, Protocol: "tcp"})
				continue
			}
			claim(fmt.Sprintf("route %s %s %v", r.Host, r.Path, r.Listen), field, fmt.Sprintf("the route %s%s", r.Host, r.Path))
		}
	}
}

// claimPort claims a port on its address; the same port on all addresses
// collides with it.
func (c *converter) claimPort(claim func(key, field, what string), claimed map[string]string, field string, p manifests.Port) {
	if p.Published == 0 {
		return
	}
	port := fmt.Sprintf("%d/%s", p.Published, p.Protocol)
	if every := "port " + port + " on "; p.HostIP != "" {
		if _, taken := claimed[every]; taken {
			claim(every, field, "port "+port)
			return
		}
	}
	claim("port "+port+" on "+p.HostIP, field, "port "+port)
}
