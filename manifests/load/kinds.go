package load

import (
	"fmt"
	"slices"

	"github.com/remorahq/remora/manifests"
)

// kinds tells endpoints, workers and one-shots apart.
func (c *converter) kinds() {
	completed := map[string]string{}
	for i := range c.out.Services {
		s := &c.out.Services[i]
		for _, d := range s.DependsOn {
			if d.Condition == manifests.Completed {
				completed[d.Service] = s.Name
			}
		}
	}
	for i := range c.out.Services {
		s := &c.out.Services[i]
		ext := c.ext[s.Name]
		gates, isGate := completed[s.Name]
		switch {
		case isGate || ext.job || ext.runOn != "":
			s.Kind = manifests.KindOneShot
			c.oneShot(s, gates)
		case len(s.Ports) > 0 || len(s.Expose) > 0 || len(s.Routes) > 0:
			s.Kind = manifests.KindEndpoint
		default:
			s.Kind = manifests.KindWorker
		}
		c.checkEndpoint(s)
	}
}

// oneShot checks that it is said on which hosts a one-shot that others wait
// for runs.
func (c *converter) oneShot(s *manifests.Service, gates string) {
	at := "services." + s.Name
	if len(s.Ports) > 0 || len(s.Routes) > 0 {
		c.fail(at+".ports", "remove the ports", "a one-shot serves nobody: it ends")
	}
	if gates == "" || c.single || c.ext[s.Name].runOn != "" || c.pinned(s.Name) {
		return
	}
	c.fail(at, "write x-remora: {run_on: every-host}, or place it on one host with a constraint such as node.hostname == NAME",
		"%s waits for %s, which would run on every host of the environment", gates, s.Name)
}

// pinned says whether a service's constraints name one host.
func (c *converter) pinned(name string) bool {
	d := c.specs[name].Deploy
	return d != nil && slices.ContainsFunc(d.Placement.Constraints, oneHost)
}

// checkEndpoint reports endpoints that the ambassador cannot reach.
func (c *converter) checkEndpoint(s *manifests.Service) {
	at := "services." + s.Name
	if s.Kind != manifests.KindEndpoint {
		if s.Probe != nil {
			c.fail(at+".x-remora.probe", "add ports, expose or a route", "a service without an endpoint cannot be probed")
		}
		return
	}
	c.checkProbeProtocol(s)
	routed := len(s.Routes) > 0 || slices.ContainsFunc(s.Ports, func(p manifests.Port) bool { return !p.Docker })
	if !routed {
		return
	}
	if s.Container.NetworkMode == "none" {
		c.fail(at+".network_mode", "use a network", "the ambassador cannot reach a service without a network")
	}
	var drivers []string
	for _, a := range s.Container.Networks {
		n := c.project.Networks[a.Network]
		if n.External || n.Driver == "" || n.Driver == "bridge" {
			return
		}
		drivers = append(drivers, a.Network+" is "+n.Driver)
	}
	if len(drivers) > 0 {
		c.fail(at+".networks", "add a bridge network", "the ambassador reaches no network of the service: %v", drivers)
	}
}

// units joins the services that share namespaces; they have one release.
func (c *converter) units() {
	parent := map[string]string{}
	for i := range c.out.Services {
		s := &c.out.Services[i]
		for _, mode := range []struct{ key, value string }{
			{"network_mode", s.Container.NetworkMode}, {"pid", s.Container.PID}, {"ipc", s.Container.IPC},
		} {
			to, ok := joined(mode.value)
			if !ok {
				continue
			}
			if _, here := c.specs[to]; !here {
				c.fail("services."+s.Name+"."+mode.key, "", "service %q does not run here", to)
				return
			}
			if _, second := parent[s.Name]; second && parent[s.Name] != to {
				c.fail("services."+s.Name+"."+mode.key, "join one service", "%s joins namespaces of two services", s.Name)
				return
			}
			parent[s.Name] = to
		}
	}
	for i := range c.out.Services {
		s := &c.out.Services[i]
		root, ok := unitRoot(parent, s.Name)
		if !ok {
			c.fail("services."+s.Name, "", "services join each other's namespaces in a circle")
			return
		}
		s.Unit = root
	}
	c.checkUnits(parent)
}

func unitRoot(parent map[string]string, name string) (string, bool) {
	for range len(parent) + 1 {
		next, ok := parent[name]
		if !ok {
			return name, true
		}
		name = next
	}
	return "", false
}

// checkUnits gives all members of a unit the part of its endpoint, and reports
// units with several containers a service.
func (c *converter) checkUnits(parent map[string]string) {
	for i := range c.out.Services {
		s := &c.out.Services[i]
		members := c.out.Unit(s.Name)
		if len(members) < 2 {
			continue
		}
		if s.Replicas > 1 {
			c.fail(fmt.Sprintf("services.%s.deploy.replicas", s.Name), "run one replica",
				"services that share namespaces run once, not %d times", s.Replicas)
		}
		endpoint := slices.ContainsFunc(members, func(m *manifests.Service) bool { return m.Kind == manifests.KindEndpoint })
		if endpoint && s.Kind == manifests.KindWorker {
			s.Kind = manifests.KindEndpoint
		}
	}
}

// names gathers what other containers reach each service by.
func (c *converter) names() {
	add := func(service, name string) {
		if s := c.out.Service(service); s != nil && name != "" && !slices.Contains(s.Names, name) {
			s.Names = append(s.Names, name)
		}
	}
	for _, s := range c.out.Services {
		add(s.Name, s.Name)
		add(s.Name, s.Container.Name)
		for _, a := range s.Container.Networks {
			for _, alias := range a.Aliases {
				add(s.Name, alias)
			}
		}
		for _, link := range s.Container.Links {
			to, alias := splitLink(link)
			add(to, alias)
		}
	}
	for i := range c.out.Services {
		slices.Sort(c.out.Services[i].Names)
	}
}
