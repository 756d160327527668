package load

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/remorahq/remora/manifests"
)

// Limits of an app.
const (
	maxServices = 1000
	maxReplicas = 1000
	// maxContainers bounds the replicas of all services together: what the
	// agent plans for and remembers.
	maxContainers = 10_000
)

// converter turns the library's model into desired state.
type converter struct {
	*app
	project *types.Project
	out     *manifests.App
	// specs are the services that run here, by name.
	specs map[string]types.ServiceConfig
	ext   map[string]settings
}

func (c *converter) run() {
	c.out.AfterApps = c.appExtension(c.project.Extensions[extensionKey])
	if n := len(c.project.Services); n > maxServices {
		c.fail("services", "split the app", "the app has %d services; at most %d are read", n, maxServices)
		return
	}
	c.specs, c.ext = map[string]types.ServiceConfig{}, map[string]settings{}
	for name, s := range c.project.Services {
		if c.constrained(s) {
			c.specs[name] = s
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.specs)) {
		c.ext[name] = c.serviceExtension("services."+name, c.specs[name].Extensions[extensionKey])
		c.out.Services = append(c.out.Services, c.service(name, c.specs[name]))
	}
	c.countContainers()
	c.kinds()
	c.units()
	c.names()
	c.rollout()
	c.conflicts()
	c.serverNames()
	c.networks()
	c.volumes()
	c.positions()
}

// countContainers stops a file of a few kilobytes from asking for a million
// containers.
func (c *converter) countContainers() {
	n := 0
	for i := range c.out.Services {
		n += c.out.Services[i].Replicas
	}
	if n > maxContainers {
		c.fail("services", "split the app, or run fewer replicas", "the app has %d containers; at most %d are possible", n, maxContainers)
	}
}

// constrained says whether a service's own constraints let it run here.
func (c *converter) constrained(s types.ServiceConfig) bool {
	if s.Deploy == nil {
		return true
	}
	for i, text := range s.Deploy.Placement.Constraints {
		ok, err := c.host().constraint(text)
		if err != nil {
			c.fail(fmt.Sprintf("services.%s.deploy.placement.constraints[%d]", s.Name, i), "", "%v", err)
			return false
		}
		if !ok {
			return false
		}
	}
	return true
}

// networks lists the networks that services use.
func (c *converter) networks() {
	used := map[string]bool{}
	for _, s := range c.out.Services {
		for _, a := range s.Container.Networks {
			used[a.Network] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(used)) {
		n := c.project.Networks[key]
		out := manifests.Network{
			Key: key, Name: n.Name, External: bool(n.External), Driver: n.Driver,
			DriverOpts: n.DriverOpts, Internal: n.Internal, Attachable: n.Attachable,
			EnableIPv6: n.EnableIPv6 != nil && *n.EnableIPv6, Labels: n.Labels,
			IPAM: n.Ipam.Driver, IPAMOpts: n.Ipam.Options,
		}
		for _, p := range n.Ipam.Config {
			out.Subnets = append(out.Subnets, manifests.Subnet{
				Subnet: p.Subnet, Range: p.IPRange, Gateway: p.Gateway, Auxiliary: p.AuxiliaryAddresses,
			})
		}
		c.out.Networks = append(c.out.Networks, out)
	}
}

// volumes lists the volumes that services mount.
func (c *converter) volumes() {
	used := map[string]bool{}
	for _, s := range c.out.Services {
		for _, m := range s.Container.Mounts {
			if m.Kind == manifests.MountVolume {
				used[m.Source] = true
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(used)) {
		v := c.project.Volumes[key]
		if _, inside := c.repo.rel(v.DriverOpts["device"]); inside && v.DriverOpts["device"] != "" && !c.live() {
			c.fail("volumes."+key+".driver_opts.device", "mount the path itself in the service",
				"a volume cannot stand on a path of the repository: every commit has a folder of its own")
			continue
		}
		c.out.Volumes = append(c.out.Volumes, manifests.Volume{
			Key: key, Name: v.Name, External: bool(v.External), Driver: v.Driver,
			DriverOpts: v.DriverOpts, Labels: v.Labels,
		})
	}
}

// positions hands each service the places of its keys, for the messages of
// plan and policy.
func (c *converter) positions() {
	for i := range c.out.Services {
		s := &c.out.Services[i]
		prefix := "services." + s.Name + "."
		s.Positions = map[string]manifests.Position{}
		for _, key := range placedKeys() {
			if pos, ok := c.index[prefix+key]; ok {
				s.Positions[key] = pos
			}
		}
		for _, list := range []string{"volumes[%d]", "ports[%d]", "x-remora.routes[%d]"} {
			for n := range 100 {
				key := fmt.Sprintf(list, n)
				pos, ok := c.index[prefix+key]
				if !ok {
					break
				}
				s.Positions[key] = pos
			}
		}
	}
}

// placedKeys are the keys of a service whose place is worth keeping.
func placedKeys() []string {
	return []string{
		"image", "privileged", "cap_add", "security_opt", "devices", "network_mode", "pid", "ipc", "volumes",
		"ports", "healthcheck", "depends_on", "container_name", "deploy", "x-remora", "command", "environment",
	}
}

// checkEncrypted reports values that are still encrypted.
func (c *converter) checkEncrypted(path string, values map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if strings.Contains(values[k], "ENC[") {
			c.fail(join(path, k), "decrypt it; encrypted variables are not in this version", "the value is still encrypted")
		}
	}
}

// inFolder returns an absolute path relative to the app's folder.
func (c *converter) inFolder(path string) string {
	rel, err := filepath.Rel(c.dir, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		// Of an included or extended file elsewhere in the repository.
		full, _ := c.repo.rel(path)
		return ".repo/" + full
	}
	return filepath.ToSlash(rel)
}
