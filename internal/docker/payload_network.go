package docker

import (
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/versions"

	"github.com/remorahq/remora/internal/engine"
)

// ifnameOption is the engine's driver option for an interface's name.
const ifnameOption = "com.docker.network.endpoint.ifname"

// networkMode is the resolved mode, else the first network, else the
// engine's default bridge.
func (p *payload) networkMode() string {
	switch {
	case p.NetworkMode != "":
		return p.NetworkMode
	case len(p.Networks) > 0:
		return p.Networks[0].Network
	default:
		return "default"
	}
}

// shared says that the container has no network of its own.
func shared(mode string) bool {
	return mode == "host" || mode == "none" || strings.HasPrefix(mode, "container:")
}

// networks are those joined at creation, and the others.
func (p *payload) networks(c *container.Config) (*network.NetworkingConfig, []Connection) {
	mode := p.networkMode()
	if shared(mode) || len(p.Networks) == 0 {
		if len(p.Networks) > 0 {
			p.fail("network_mode %s cannot be combined with network %s", mode, p.Networks[0].Network)
		}
		return &network.NetworkingConfig{}, nil
	}
	first := slices.IndexFunc(p.Networks, func(e engine.Endpoint) bool { return e.Network == mode })
	if first < 0 {
		p.fail("network_mode %s is none of the container's networks", mode)
		return nil, nil
	}
	several := !versions.LessThan(p.facts.API, "1.44")
	config := &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{}}
	var later []Connection
	for i, e := range p.Networks {
		settings := p.endpoint(e, i == first, c)
		if several || i == first {
			config.EndpointsConfig[e.Network] = settings
		} else {
			later = append(later, Connection{Network: e.Network, Endpoint: settings})
		}
	}
	return config, later
}

// endpoint is the container's place on one network. Before API 1.44 a MAC
// address is the container's, not the endpoint's: it goes to the first.
func (p *payload) endpoint(e engine.Endpoint, first bool, c *container.Config) *network.EndpointSettings {
	p.needs(e.GwPriority != 0, "1.48", "28.0", "gw_priority of network "+e.Network)
	p.needs(e.Interface != "", "1.48", "28.0", "interface_name of network "+e.Network)
	out := &network.EndpointSettings{
		Aliases: e.Aliases, Links: p.Spec.ExternalLinks, DriverOpts: maps.Clone(e.DriverOpts),
		GwPriority: e.GwPriority, IPAMConfig: ipam(e), MacAddress: e.MAC,
	}
	if e.Interface != "" {
		out.DriverOpts = merge(out.DriverOpts, map[string]string{ifnameOption: e.Interface})
	}
	if e.MAC != "" && versions.LessThan(p.facts.API, "1.44") {
		p.needs(!first, "1.44", "25.0", "mac_address of the further network "+e.Network)
		c.MacAddress, out.MacAddress = e.MAC, "" //nolint:staticcheck // the only form before API 1.44
	}
	return out
}

func ipam(e engine.Endpoint) *network.EndpointIPAMConfig {
	if !e.Address.IsValid() && !e.Address6.IsValid() && len(e.LinkLocal) == 0 {
		return nil
	}
	out := &network.EndpointIPAMConfig{LinkLocalIPs: e.LinkLocal}
	if e.Address.IsValid() {
		out.IPv4Address = e.Address.String()
	}
	if e.Address6.IsValid() {
		out.IPv6Address = e.Address6.String()
	}
	return out
}
