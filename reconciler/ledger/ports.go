package ledger

import "slices"

// Ports are the container's TCP ports that the ambassador may lead to, sorted:
// those of the manifest and the image's EXPOSEs. A service without any has no
// service address and is reached by the engine's own names.
func (r *Release) Ports() []uint16 {
	ports := slices.Concat(r.Service.Expose, r.Exposed)
	slices.Sort(ports)
	return slices.Compact(ports)
}
