package docker

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/remorahq/remora/internal/engine"
)

// The fields of the engine's structures that [Payload] sets. Whatever else is
// not zero in a request is refused: a new field of the client's, or a new line
// in Payload, has to be named here and judged before a container gets it. A
// test holds these lists equal to what Payload sets.
var (
	configFields = []string{
		"Cmd", "Domainname", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Hostname", "Image", "Labels",
		"MacAddress", "OpenStdin", "StopSignal", "StopTimeout", "Tty", "User", "WorkingDir",
	}
	hostFields = []string{
		"Annotations", "Binds", "CapAdd", "CapDrop", "CgroupnsMode", "DNS", "DNSOptions", "DNSSearch", "ExtraHosts",
		"GroupAdd", "Init", "IpcMode", "Isolation", "Links", "LogConfig", "Mounts", "NetworkMode", "OomScoreAdj",
		"PidMode", "PortBindings", "Privileged", "ReadonlyRootfs", "Resources", "RestartPolicy", "Runtime",
		"SecurityOpt", "ShmSize", "StorageOpt", "Sysctls", "Tmpfs", "UTSMode", "UsernsMode",
	}
	resourceFields = []string{
		"BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps", "BlkioDeviceWriteIOps", "BlkioWeight",
		"BlkioWeightDevice", "CPUCount", "CPUPercent", "CPUPeriod", "CPUQuota", "CPURealtimePeriod",
		"CPURealtimeRuntime", "CPUShares", "CgroupParent", "CpusetCpus", "DeviceCgroupRules", "DeviceRequests",
		"Devices", "Memory", "MemoryReservation", "MemorySwap", "MemorySwappiness", "NanoCPUs", "OomKillDisable",
		"PidsLimit", "Ulimits",
	}
	mountFields = []string{
		"BindOptions", "Consistency", "ImageOptions", "ReadOnly", "Source", "Target", "TmpfsOptions", "Type", "VolumeOptions",
	}
)

// deny refuses what in r no rule has been made for.
func deny(r *Request) error {
	parts := []struct {
		name   string
		value  any
		fields []string
	}{
		{"Config", *r.Body.Config, configFields},
		{"HostConfig", *r.Body.HostConfig, hostFields},
		{"HostConfig", r.Body.HostConfig.Resources, resourceFields},
	}
	for _, p := range parts {
		if field := unknown(p.value, p.fields); field != "" {
			return fmt.Errorf("%w: the payload's %s.%s has no rule", engine.ErrPolicy, p.name, field)
		}
	}
	for _, m := range r.Body.HostConfig.Mounts {
		if field := unknown(m, mountFields); field != "" {
			return fmt.Errorf("%w: the payload's Mount.%s has no rule", engine.ErrPolicy, field)
		}
	}
	return nil
}

// unknown is a field of the struct v that is set and not in the list.
func unknown(v any, known []string) string {
	rv := reflect.ValueOf(v)
	for i := range rv.NumField() {
		name := rv.Type().Field(i).Name
		if !rv.Field(i).IsZero() && !slices.Contains(known, name) {
			return name
		}
	}
	return ""
}
