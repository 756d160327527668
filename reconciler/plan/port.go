package plan

import (
	"errors"
	"fmt"

	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// Ports that remora chooses lie below the range from which Linux takes the
// ports of outgoing connections.
const (
	firstPort = 30000
	portCount = 2768
)

// ErrNoPort says that no port is left for `ports: ["3000"]`.
var ErrNoPort = errors.New("no free port left between 30000 and 32767")

// PortKey is the key of [ledger.Host.Ports] of a port whose number the file
// leaves open.
func PortKey(app, service string, p manifests.Port) string {
	key := fmt.Sprintf("%s/%s/%d", app, service, p.Target)
	if p.HostIP != "" {
		key += "@" + p.HostIP
	}
	return key
}

// AllocatePort gives key one port, stable over releases, and records it in h.
// busy says which ports other programs hold.
func AllocatePort(h *ledger.Host, key string, busy func(port uint16) bool) (uint16, error) {
	if p, ok := h.Ports[key]; ok {
		return p, nil
	}
	taken := map[uint16]bool{}
	for _, p := range h.Ports {
		taken[p] = true
	}
	for claimed := range h.Claims {
		taken[parseClaim(claimed).port] = true
	}
	for i := range uint32(portCount) {
		port := uint16(firstPort + (spread(key)+i)%portCount)
		if taken[port] || busy != nil && busy(port) {
			continue
		}
		if h.Ports == nil {
			h.Ports = map[string]uint16{}
		}
		h.Ports[key] = port
		return port, nil
	}
	return 0, fmt.Errorf("port of %s: %w", key, ErrNoPort)
}

// AllocatePorts gives every open port of an app its number and forgets those
// that the app no longer has.
func AllocatePorts(h *ledger.Host, app manifests.App, busy func(port uint16) bool) error {
	keep := map[string]bool{}
	for i := range app.Services {
		s := &app.Services[i]
		for _, p := range s.Ports {
			if p.Published != 0 || p.Docker || p.Protocol == "udp" {
				continue
			}
			key := PortKey(app.ID(), s.Name, p)
			keep[key] = true
			if _, err := AllocatePort(h, key, busy); err != nil {
				return err
			}
		}
	}
	freePorts(h, app.ID(), keep)
	return nil
}

// FreePorts forgets the ports of an app that is gone.
func FreePorts(h *ledger.Host, app string) { freePorts(h, app, nil) }

func freePorts(h *ledger.Host, app string, keep map[string]bool) {
	for key := range h.Ports {
		if below(key, app) && !keep[key] {
			delete(h.Ports, key)
		}
	}
}

// PortsGiven says that every port that the app leaves open has its number.
func PortsGiven(h *ledger.Host, app manifests.App) bool {
	for i := range app.Services {
		s := &app.Services[i]
		for _, p := range s.Ports {
			if p.Published == 0 && !p.Docker && p.Protocol != "udp" && h.Ports[PortKey(app.ID(), s.Name, p)] == 0 {
				return false
			}
		}
	}
	return true
}
