package load

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/remorahq/remora/manifests"
)

// maxPorts bounds the ports of a service, ranges counted in full.
const maxPorts = 1000

// ports converts ports and expose, and gathers what the ambassador leads to.
func (c *converter) ports(at string, s types.ServiceConfig, out *manifests.Service) {
	for i, p := range s.Ports {
		c.port(fmt.Sprintf("%s.ports[%d]", at, i), s, p, out)
		if len(out.Ports) > maxPorts {
			c.fail(at+".ports", "", "more than %d ports", maxPorts)
			return
		}
	}
	for i, e := range s.Expose {
		c.expose(fmt.Sprintf("%s.expose[%d]", at, i), e, out)
	}
	for _, p := range out.Ports {
		if !p.Docker {
			out.Expose = append(out.Expose, p.Target)
		}
	}
	for _, r := range out.Routes {
		out.Expose = append(out.Expose, r.Target)
	}
	if out.Probe != nil && out.Probe.Port != 0 && !slices.Contains(out.Expose, out.Probe.Port) {
		out.Expose = append(out.Expose, out.Probe.Port)
	}
	slices.Sort(out.Expose)
	out.Expose = slices.Compact(out.Expose)
}

func (c *converter) port(field string, s types.ServiceConfig, p types.ServicePortConfig, out *manifests.Service) {
	port := manifests.Port{HostIP: p.HostIP, Protocol: strings.ToLower(p.Protocol)}
	if port.Protocol == "" {
		port.Protocol = "tcp"
	}
	if p.Target == 0 || p.Target > 65535 {
		c.fail(field, "", "%d is no port", p.Target)
		return
	}
	if _, err := netip.ParseAddr(p.HostIP); p.HostIP != "" && err != nil {
		c.fail(field, "write an address of the host, or none", "%q is no address", p.HostIP)
		return
	}
	port.Target = uint16(p.Target)
	port.Docker = port.Protocol != "tcp" || p.Mode == "host"
	port.App = c.appProtocol(field, p.AppProtocol)
	lo, hi, err := portRange(p.Published)
	if err != nil {
		c.fail(field, "", "%v", err)
		return
	}
	if s.NetworkMode == "host" {
		c.warn(field, "", "on the host's network the container itself listens on port %d; the port is not published", port.Target)
		if !port.Docker {
			out.Expose = append(out.Expose, port.Target)
		}
		return
	}
	if hi-lo >= maxPorts {
		c.fail(field, "", "the range has more than %d ports", maxPorts)
		return
	}
	for n := lo; n <= hi; n++ {
		port.Published = uint16(n)
		out.Ports = append(out.Ports, port)
		if port.Docker {
			out.Container.Published = append(out.Container.Published, port)
		}
	}
}

func (c *converter) appProtocol(field, name string) string {
	switch strings.ToLower(name) {
	case "":
	case "http", "http/1.1":
		return "http"
	case "tcp":
		return "tcp"
	case "http2", "h2", "h2c", "grpc":
		return "http2"
	case "https":
		return "https"
	default:
		c.fail(field+".app_protocol", "http, http2, https or tcp", "%q is not known", name)
	}
	return ""
}

// portRange parses "80" or "8000-8010"; an empty text is 0 to 0.
func portRange(text string) (lo, hi int, err error) {
	if text == "" {
		return 0, 0, nil
	}
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	lo, err1 := strconv.Atoi(first)
	hi, err2 := strconv.Atoi(last)
	if err1 != nil || err2 != nil || lo < 0 || hi > 65535 || lo > hi {
		return 0, 0, fmt.Errorf("%q is no port or range of ports", text)
	}
	return lo, hi, nil
}

func (c *converter) expose(field, text string, out *manifests.Service) {
	ports, protocol, _ := strings.Cut(text, "/")
	lo, hi, err := portRange(ports)
	if err != nil || lo == 0 || hi-lo >= maxPorts {
		c.fail(field, "", "%q is no port, or a range of more than %d", text, maxPorts)
		return
	}
	if protocol != "" && protocol != "tcp" {
		return // the ambassador leads to TCP ports
	}
	for n := lo; n <= hi; n++ {
		out.Expose = append(out.Expose, uint16(n))
	}
}

// portBombs reports ranges that would cost the library minutes, before it sees
// them.
func (s *scan) portBombs(o origin, prefix string, svc *value) {
	total := 0
	for i, v := range listOf(svc.field("ports")) {
		for part := range strings.SplitSeq(s.text(o, v), ":") {
			part, _, _ = strings.Cut(part, "/")
			if lo, hi, err := portRange(part); err == nil {
				total += hi - lo
			}
		}
		if total > 2*maxPorts {
			s.failAt(v.pos, fmt.Sprintf("%s.ports[%d]", prefix, i), "", "more than %d ports", maxPorts)
			return
		}
	}
}
