package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// foreign stops where others' containers bear the project's name.
func (p *planner) foreign() *Held {
	var names []string
	for i := range p.Containers {
		c := &p.Containers[i]
		if c.Labels[labelProject] == p.App.Project && !c.Ours() {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return &Held{
		Reason:  status.Foreign,
		Message: fmt.Sprintf("containers of project %s exist that remora did not create: %s", p.App.Project, list(names)),
		Remedy:  fmt.Sprintf("docker compose -p %s down (volumes stay), or give the app another `name:`", p.App.Project),
	}
}

// list joins at most five names.
func list(names []string) string {
	if len(names) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:5], ", "), len(names)-5)
	}
	return strings.Join(names, ", ")
}

// externals stops where a network of others does not exist.
func (p *planner) externals() *Held {
	for _, n := range usedNetworks(p.App) {
		if n.External && !p.networkExists(n.Name) {
			return &Held{
				Reason:  status.DependencyNotReady,
				Message: "network " + n.Name + " is external and does not exist",
				Remedy:  "docker network create " + n.Name + ", or remove `external: true`",
			}
		}
	}
	return nil
}

// unreachable stops where the ambassador cannot reach a service that has a
// published port or a route: it needs a local bridge, or the host's network.
func (p *planner) unreachable() *Held {
	for _, name := range p.starting() {
		s := p.want[name].Service
		if !routed(s) || s.Container.NetworkMode == "host" || joined(&s) != name {
			continue
		}
		var others []string
		for _, at := range s.Container.Networks {
			driver := p.driver(at.Network)
			if driver == "" || driver == "bridge" {
				others = nil
				break
			}
			others = append(others, at.Network+" ("+driver+")")
		}
		if s.Container.NetworkMode == "none" {
			others = []string{"none"}
		}
		if len(others) > 0 {
			return &Held{
				Reason: status.LoadFailed, Service: name,
				Message: fmt.Sprintf("%s has a published port or a route, but the ambassador cannot reach its networks: %s", name, strings.Join(others, ", ")),
				Remedy:  "add it to a bridge network, or use `mode: host` for the port",
			}
		}
	}
	return nil
}

// routed says that the ambassador listens for a service.
func routed(s manifests.Service) bool {
	return len(s.Routes) > 0 || slices.ContainsFunc(s.Ports, func(p manifests.Port) bool { return !p.Docker && p.Protocol != "udp" })
}

// driver is what a network of the app is made with, as the engine says where it
// exists.
func (p *planner) driver(key string) string {
	for _, n := range p.App.Networks {
		if n.Key != key {
			continue
		}
		for _, e := range p.Networks {
			if e.Name == n.Name {
				return e.Driver
			}
		}
		return n.Driver
	}
	return ""
}

func (p *planner) networkExists(name string) bool {
	for _, n := range p.Networks {
		if n.Name == name {
			return true
		}
	}
	return false
}
