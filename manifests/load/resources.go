package load

import (
	"math"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/remorahq/remora/manifests"
)

// resources converts limits; those of `deploy` win over the service's own, as
// the specification has them equal where both are written.
func resources(s types.ServiceConfig) manifests.Resources {
	r := manifests.Resources{
		NanoCPUs: nano(s.CPUS), CPUShares: s.CPUShares, CPUPeriod: s.CPUPeriod, CPUQuota: s.CPUQuota,
		CPURealtimePeriod: s.CPURTPeriod, CPURealtime: s.CPURTRuntime, CPUCount: s.CPUCount,
		CPUPercent: int64(s.CPUPercent), CPUSet: s.CPUSet,
		Memory: int64(s.MemLimit), MemoryReservation: int64(s.MemReservation), MemorySwap: int64(s.MemSwapLimit),
		Pids: s.PidsLimit, OOMKillDisable: s.OomKillDisable, OOMScoreAdj: int(s.OomScoreAdj),
	}
	if s.MemSwappiness != 0 {
		v := int64(s.MemSwappiness)
		r.MemorySwappiness = &v
	}
	blkio(&r, s.BlkioConfig)
	if s.Deploy == nil {
		return r
	}
	if l := s.Deploy.Resources.Limits; l != nil {
		override(&r.NanoCPUs, nano(l.NanoCPUs.Value()))
		override(&r.Memory, int64(l.MemoryBytes))
		override(&r.Pids, l.Pids)
	}
	if v := s.Deploy.Resources.Reservations; v != nil {
		override(&r.MemoryReservation, int64(v.MemoryBytes))
	}
	return r
}

func override(to *int64, v int64) {
	if v != 0 {
		*to = v
	}
}

// nano rounds, so that 0.1 CPU read as a float is 100,000,000.
func nano(cpus float32) int64 { return int64(math.Round(float64(cpus)*1e5)) * 1e4 }

func blkio(r *manifests.Resources, b *types.BlkioConfig) {
	if b == nil {
		return
	}
	r.BlkioWeight = b.Weight
	for _, w := range b.WeightDevice {
		r.BlkioWeightDevice = append(r.BlkioWeightDevice, manifests.WeightDevice{Path: w.Path, Weight: w.Weight})
	}
	rates := func(list []types.ThrottleDevice) []manifests.ThrottleDevice {
		var out []manifests.ThrottleDevice
		for _, d := range list {
			out = append(out, manifests.ThrottleDevice{Path: d.Path, Rate: uint64(d.Rate)})
		}
		return out
	}
	r.ReadBps, r.WriteBps = rates(b.DeviceReadBps), rates(b.DeviceWriteBps)
	r.ReadIOps, r.WriteIOps = rates(b.DeviceReadIOps), rates(b.DeviceWriteIOps)
}

// deviceRequests gathers `gpus` and `deploy.resources.reservations.devices`.
func deviceRequests(s types.ServiceConfig) []manifests.DeviceRequest {
	var out []manifests.DeviceRequest
	add := func(list []types.DeviceRequest, capability string) {
		for _, d := range list {
			r := manifests.DeviceRequest{
				Driver: d.Driver, Count: int(d.Count), IDs: d.IDs, Capabilities: d.Capabilities, Options: d.Options,
			}
			if len(r.Capabilities) == 0 && capability != "" {
				r.Capabilities = []string{capability}
			}
			if r.Count == 0 && len(r.IDs) == 0 {
				r.Count = -1
			}
			out = append(out, r)
		}
	}
	add(s.Gpus, "gpu")
	if s.Deploy != nil && s.Deploy.Resources.Reservations != nil {
		add(s.Deploy.Resources.Reservations.Devices, "")
	}
	return out
}
