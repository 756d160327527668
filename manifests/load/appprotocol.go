package load

import "github.com/remorahq/remora/manifests"

// checkProbeProtocol reports a probe of HTTP/1.1 on a port of which the file says
// that it speaks something else.
func (c *converter) checkProbeProtocol(s *manifests.Service) {
	if s.Probe == nil || s.Probe.HTTP == "" {
		return
	}
	switch app := s.AppProtocol(probedPort(s)); app {
	case "http2", "https":
		c.later("services."+s.Name+".x-remora.probe.http", "remove `http`: with app_protocol "+app+" a connection is what is probed")
	}
}

// probedPort is the port that the probe is for: what it says, the first published
// port or route, else the lowest that is exposed.
func probedPort(s *manifests.Service) uint16 {
	if s.Probe.Port != 0 {
		return s.Probe.Port
	}
	for _, p := range s.Ports {
		if !p.Docker {
			return p.Target
		}
	}
	if len(s.Routes) > 0 {
		return s.Routes[0].Target
	}
	return 0
}
