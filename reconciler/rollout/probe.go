package rollout

import (
	"time"

	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// Defaults of the ambassador's own checks.
const (
	probeInterval = time.Second
	probeTimeout  = 5 * time.Second
	probeRise     = 2
	probeFall     = 3
)

// probes are the checks that the ambassador makes of a release: the
// manifest's, or, for every port that the manifest gives to clients, a guess
// (HTTP with any status below 500, else a TCP connect). A plain TCP connect
// ends with its first success: some servers count connections that say
// nothing. The image's EXPOSE gates nothing.
func probes(r *ledger.Release) []traffic.Probe {
	s := &r.Service
	if s.Kind != manifests.KindEndpoint || len(s.Expose) == 0 {
		return nil
	}
	checked := r.Healthcheck != nil && !r.Healthcheck.Disabled()
	if p := s.Probe; p != nil {
		port := p.Port
		if port == 0 {
			port = firstPort(s)
		}
		return []traffic.Probe{{
			Port: port, HTTP: p.HTTP, Interval: or(p.Interval, probeInterval), Timeout: or(p.Timeout, probeTimeout),
			Rise: orInt(p.Rise, probeRise), Fall: orInt(p.Fall, probeFall), Once: p.HTTP == "" && checked,
		}}
	}
	out := make([]traffic.Probe, 0, len(s.Expose))
	for _, port := range s.Expose {
		tcp := !mayGuess(s.AppProtocol(port))
		out = append(out, traffic.Probe{
			Port: port, Guess: !tcp, Interval: probeInterval, Timeout: probeTimeout,
			Rise: probeRise, Fall: probeFall, Once: checked || tcp,
		})
	}
	return out
}

func orInt(n, def int) int {
	if n > 0 {
		return n
	}
	return def
}

// mayGuess says whether a port may be asked over HTTP/1.1 what it speaks.
func mayGuess(app string) bool { return app == "" || app == "http" }

// firstPort is the port of the first published port or route, else the lowest
// exposed one.
func firstPort(s *manifests.Service) uint16 {
	for _, p := range s.Ports {
		if !p.Docker {
			return p.Target
		}
	}
	if len(s.Routes) > 0 {
		return s.Routes[0].Target
	}
	return s.Expose[0]
}

// fall is how many bad checks in a row make a container of r bad.
func fall(r *ledger.Release) int {
	for _, p := range probes(r) {
		return p.Fall
	}
	return probeFall
}
