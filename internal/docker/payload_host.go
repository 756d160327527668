package docker

import (
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/blkiodev"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"

	"github.com/remorahq/remora/manifests"
)

// hostConfig is the part of the payload that depends on the host, without
// its mounts.
func (p *payload) hostConfig() *container.HostConfig {
	s := &p.Spec
	p.needs(len(s.Annotations) > 0, "1.43", "24.0", "annotations")
	return &container.HostConfig{
		Annotations:    s.Annotations,
		NetworkMode:    container.NetworkMode(p.networkMode()),
		PortBindings:   p.bindings(),
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyMode(p.Restart)},
		LogConfig:      p.logConfig(),
		CapAdd:         capabilities(s.CapAdd),
		CapDrop:        capabilities(s.CapDrop),
		CgroupnsMode:   container.CgroupnsMode(s.CgroupNS),
		DNS:            union(p.DNS, s.DNS),
		DNSOptions:     s.DNSOpt,
		DNSSearch:      s.DNSSearch,
		ExtraHosts:     union(s.ExtraHosts, p.ExtraHosts),
		GroupAdd:       s.GroupAdd,
		Links:          p.links(),
		IpcMode:        container.IpcMode(p.namespace("ipc", p.IPC, s.IPC)),
		PidMode:        container.PidMode(p.namespace("pid", p.PID, s.PID)),
		UTSMode:        container.UTSMode(s.UTS),
		UsernsMode:     container.UsernsMode(s.UserNS),
		OomScoreAdj:    p.oomScore(),
		Privileged:     s.Privileged,
		ReadonlyRootfs: s.ReadOnly,
		SecurityOpt:    s.SecurityOpt,
		StorageOpt:     s.StorageOpt,
		Tmpfs:          p.tmpfs(),
		ShmSize:        s.ShmSize,
		Sysctls:        s.Sysctls,
		Runtime:        s.Runtime,
		Isolation:      container.Isolation(s.Isolation),
		Init:           s.Init,
		Resources:      p.resources(),
	}
}

// namespace is the resolved mode, else the file's where that needs none.
func (p *payload) namespace(field, resolved, written string) string {
	if resolved != "" {
		return resolved
	}
	if strings.HasPrefix(written, "service:") {
		p.fail("%s: %s is not resolved to a container", field, written)
	}
	return written
}

// links exist as such only on the engine's default bridge; on other networks
// they belong to the endpoint.
func (p *payload) links() []string {
	if mode := p.networkMode(); mode == "default" || mode == "bridge" {
		return p.Spec.ExternalLinks
	}
	return nil
}

func (p *payload) oomScore() int {
	if p.OOMScoreAdj != nil {
		return *p.OOMScoreAdj
	}
	return p.Spec.Resources.OOMScoreAdj
}

// tmpfs splits "path[:options]".
func (p *payload) tmpfs() map[string]string {
	if len(p.Spec.Tmpfs) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, entry := range p.Spec.Tmpfs {
		path, options, _ := strings.Cut(entry, ":")
		out[path] = options
	}
	return out
}

// logConfig limits the log where nobody else does: an engine's json-file
// without options grows until the disk is full.
func (p *payload) logConfig() container.LogConfig {
	if l := p.Spec.Log; l != nil && (l.Driver != "" || len(l.Options) > 0) {
		return container.LogConfig{Type: l.Driver, Config: l.Options}
	}
	if p.facts.LogDriver != logDriver || p.facts.LogOptions {
		return container.LogConfig{}
	}
	return container.LogConfig{Type: logDriver, Config: map[string]string{"max-size": logMaxSize, "max-file": logMaxFiles}}
}

func (p *payload) bindings() nat.PortMap {
	if len(p.Spec.Published) == 0 {
		return nil
	}
	out := nat.PortMap{}
	for _, port := range p.Spec.Published {
		host := ""
		if port.Published != 0 {
			host = strconv.Itoa(int(port.Published))
		}
		out[natPort(port)] = append(out[natPort(port)], nat.PortBinding{HostIP: port.HostIP, HostPort: host})
	}
	return out
}

func (p *payload) resources() container.Resources {
	r := &p.Spec.Resources
	out := container.Resources{
		NanoCPUs: r.NanoCPUs, CPUShares: r.CPUShares, CPUPeriod: r.CPUPeriod, CPUQuota: r.CPUQuota,
		CPURealtimePeriod: r.CPURealtimePeriod, CPURealtimeRuntime: r.CPURealtime,
		CPUCount: r.CPUCount, CPUPercent: r.CPUPercent, CpusetCpus: r.CPUSet,
		Memory: r.Memory, MemoryReservation: r.MemoryReservation, MemorySwap: r.MemorySwap, MemorySwappiness: r.MemorySwappiness,
		BlkioWeight: r.BlkioWeight, BlkioWeightDevice: weights(r.BlkioWeightDevice),
		BlkioDeviceReadBps: throttles(r.ReadBps), BlkioDeviceWriteBps: throttles(r.WriteBps),
		BlkioDeviceReadIOps: throttles(r.ReadIOps), BlkioDeviceWriteIOps: throttles(r.WriteIOps),
		CgroupParent: p.Spec.CgroupParent, DeviceCgroupRules: p.Spec.DeviceCgroupRules,
		Devices: devices(p.Spec.Devices), DeviceRequests: requests(p.Spec.DeviceRequests), Ulimits: ulimits(p.Spec.Ulimits),
	}
	if r.Pids != 0 {
		out.PidsLimit = &r.Pids
	}
	if r.OOMKillDisable {
		out.OomKillDisable = &r.OOMKillDisable
	}
	return out
}

func devices(in []manifests.Device) []container.DeviceMapping {
	var out []container.DeviceMapping
	for _, d := range in {
		out = append(out, container.DeviceMapping{PathOnHost: d.Source, PathInContainer: d.Target, CgroupPermissions: d.Permissions})
	}
	return out
}

func requests(in []manifests.DeviceRequest) []container.DeviceRequest {
	var out []container.DeviceRequest
	for _, d := range in {
		r := container.DeviceRequest{Driver: d.Driver, Count: d.Count, DeviceIDs: d.IDs, Options: d.Options}
		if len(d.Capabilities) > 0 {
			r.Capabilities = [][]string{d.Capabilities}
		}
		out = append(out, r)
	}
	return out
}

func ulimits(in []manifests.Ulimit) []*container.Ulimit {
	var out []*container.Ulimit
	for _, u := range in {
		out = append(out, &container.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	return out
}

func weights(in []manifests.WeightDevice) []*blkiodev.WeightDevice {
	var out []*blkiodev.WeightDevice
	for _, d := range in {
		out = append(out, &blkiodev.WeightDevice{Path: d.Path, Weight: d.Weight})
	}
	return out
}

func throttles(in []manifests.ThrottleDevice) []*blkiodev.ThrottleDevice {
	var out []*blkiodev.ThrottleDevice
	for _, d := range in {
		out = append(out, &blkiodev.ThrottleDevice{Path: d.Path, Rate: d.Rate})
	}
	return out
}

// capabilities are in the engine's canonical form, as the client would
// otherwise bring them on the way out: upper case, with CAP_, sorted.
func capabilities(in []string) []string {
	var out []string
	for _, c := range in {
		c = strings.ToUpper(c)
		if c != "ALL" && !strings.HasPrefix(c, "CAP_") {
			c = "CAP_" + c
		}
		out = append(out, c)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// union is a followed by what b has more.
func union(a, b []string) []string {
	var out []string
	for _, s := range slices.Concat(a, b) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
