package app

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/remorahq/remora/internal/netns"
	"github.com/remorahq/remora/internal/policyroute"
	"github.com/remorahq/remora/internal/traffic"
)

// Ways are the policy routes by which containers' answers to clients come back
// to the ambassador: one for each endpoint's port that a tunnel may lead to
// from its client's own address.

// mayOpenWays says whether this process may make them.
func mayOpenWays() bool {
	err := netns.Supported()
	if lacks, ok := errors.AsType[*netns.UnsupportedError](err); ok {
		return !slices.Contains(lacks.Missing, "CAP_NET_ADMIN")
	}
	return err == nil
}

// openWays makes the ways that the table needs.
func openWays(t *traffic.Table) error {
	if ways := waysOf(t); len(ways) > 0 {
		return policyroute.Ensure(ways)
	}
	return nil
}

// forgoWays takes out of a table what needs them.
func forgoWays(t *traffic.Table) {
	t.Listeners = slices.Clone(t.Listeners)
	for i := range t.Listeners {
		t.Listeners[i].KeepClient = false
	}
}

// closeWays removes the ways to addresses that are not in the table any more.
// Others stay: a tunnel may outlive its listener.
func closeWays(t *traffic.Table) error {
	known := map[netip.Addr]bool{}
	eachEndpoint(t, func(_ string, e *traffic.Endpoint) { known[e.Address], known[e.Address6] = true, true })
	return policyroute.Prune(func(w policyroute.Way) bool { return known[w.Address] })
}

// removeWays removes all.
func removeWays() error {
	return policyroute.Prune(func(policyroute.Way) bool { return false })
}

// waysOf are the ways that tunnels of the table need.
func waysOf(t *traffic.Table) []policyroute.Way {
	ports := map[string][]uint16{}
	for i := range t.Listeners {
		l := &t.Listeners[i]
		if !l.KeepClient {
			continue
		}
		for _, r := range l.Routes {
			ports[r.Service] = append(ports[r.Service], r.Port)
		}
		for _, n := range l.TLS {
			ports[n.Service] = append(ports[n.Service], n.Port)
		}
	}
	ways := map[policyroute.Way]bool{}
	eachEndpoint(t, func(service string, e *traffic.Endpoint) {
		for _, port := range ports[service] {
			if e.Network.IsValid() {
				ways[policyroute.Way{Address: e.Address, Port: port}] = true
			}
			if e.Network6.IsValid() {
				ways[policyroute.Way{Address: e.Address6, Port: port}] = true
			}
		}
	})
	out := make([]policyroute.Way, 0, len(ways))
	for w := range ways {
		out = append(out, w)
	}
	return out
}

func eachEndpoint(t *traffic.Table, do func(service string, e *traffic.Endpoint)) {
	for i := range t.Services {
		s := &t.Services[i]
		for j := range s.Releases {
			for k := range s.Releases[j].Endpoints {
				do(s.Name, &s.Releases[j].Endpoints[k])
			}
		}
	}
}
