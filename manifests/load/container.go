package load

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/remorahq/remora/manifests"
)

// container converts the fields that describe a container by itself; mounts,
// environment and ports follow.
func (c *converter) container(at string, s types.ServiceConfig) manifests.Container {
	out := manifests.Container{
		Image: s.Image, Platform: s.Platform, Command: command(s.Command), Entrypoint: command(s.Entrypoint),
		Annotations: s.Annotations, Labels: c.labels(at, s), Name: s.ContainerName, User: s.User,
		WorkingDir: s.WorkingDir, Hostname: s.Hostname, Domainname: s.DomainName, StopSignal: s.StopSignal,
		StopGrace: duration(s.StopGracePeriod), Init: s.Init, TTY: s.Tty, StdinOpen: s.StdinOpen,
		ReadOnly: s.ReadOnly, Privileged: s.Privileged, Healthcheck: healthcheck(s.HealthCheck), Restart: s.Restart,
		CapAdd: sorted(s.CapAdd), CapDrop: sorted(s.CapDrop), SecurityOpt: s.SecurityOpt,
		DeviceCgroupRules: s.DeviceCgroupRules, GroupAdd: s.GroupAdd, Sysctls: s.Sysctls,
		Ulimits: ulimits(s.Ulimits), Runtime: s.Runtime, Isolation: s.Isolation, StorageOpt: s.StorageOpt,
		CgroupParent: s.CgroupParent, CgroupNS: s.Cgroup, IPC: s.Ipc, PID: s.Pid, UTS: s.Uts, UserNS: s.UserNSMode,
		ShmSize: int64(s.ShmSize), Tmpfs: s.Tmpfs, Resources: resources(s),
		NetworkMode: s.NetworkMode, Networks: attachments(s), DNS: s.DNS, DNSOpt: s.DNSOpts, DNSSearch: s.DNSSearch,
		ExtraHosts: sorted(s.ExtraHosts.AsList(":")), Links: s.Links, ExternalLinks: s.ExternalLinks,
		VolumesFrom: s.VolumesFrom, PostStart: hooks(s.PostStart), PreStop: hooks(s.PreStop),
	}
	for _, d := range s.Devices {
		out.Devices = append(out.Devices, manifests.Device{Source: d.Source, Target: d.Target, Permissions: d.Permissions})
	}
	if s.Logging != nil {
		out.Log = &manifests.Log{Driver: s.Logging.Driver, Options: s.Logging.Options}
	}
	out.DeviceRequests = deviceRequests(s)
	if s.Ulimits["nproc"] != nil {
		c.warn(at+".ulimits.nproc", "use pids_limit", "nproc counts the processes of a user over all containers, old and new")
	}
	for i, part := range slices.Concat(s.Command, s.Entrypoint) {
		c.checkEncrypted(at+".command", map[string]string{fmt.Sprint(i): part})
	}
	c.checkEncrypted(at+".labels", out.Labels)
	c.checkEncrypted(at, map[string]string{"image": s.Image})
	return out
}

// command keeps the difference between "as the image says" and "nothing".
func command(c types.ShellCommand) *[]string {
	if c == nil {
		return nil
	}
	list := append([]string{}, c...)
	return &list
}

func sorted(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}

func duration(d *types.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	v := time.Duration(*d)
	return &v
}

// labels merges label_file and labels; what the file itself writes wins.
func (c *converter) labels(at string, s types.ServiceConfig) map[string]string {
	out := map[string]string{}
	for _, path := range s.LabelFiles {
		vars, ok := c.readPairs(at+".label_file", path, func(name string) (string, bool) {
			v, ok := out[name]
			return v, ok
		})
		if ok {
			maps.Copy(out, vars)
		}
	}
	maps.Copy(out, s.Labels)
	if len(out) == 0 {
		return nil
	}
	return out
}

func healthcheck(h *types.HealthCheckConfig) *manifests.Healthcheck {
	if h == nil {
		return nil
	}
	out := &manifests.Healthcheck{Test: h.Test}
	if h.Disable {
		out.Test = []string{"NONE"}
	}
	read := func(to *time.Duration, d *types.Duration) {
		if d != nil {
			*to = time.Duration(*d)
		}
	}
	read(&out.Interval, h.Interval)
	read(&out.Timeout, h.Timeout)
	read(&out.StartPeriod, h.StartPeriod)
	read(&out.StartInterval, h.StartInterval)
	if h.Retries != nil {
		out.Retries = int(min(*h.Retries, 1000))
	}
	return out
}

func ulimits(limits map[string]*types.UlimitsConfig) []manifests.Ulimit {
	var out []manifests.Ulimit
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		u := limits[name]
		l := manifests.Ulimit{Name: name, Soft: int64(u.Soft), Hard: int64(u.Hard)}
		if u.Single != 0 {
			l.Soft, l.Hard = int64(u.Single), int64(u.Single)
		}
		out = append(out, l)
	}
	return out
}

func attachments(s types.ServiceConfig) []manifests.Attachment {
	if s.NetworkMode != "" {
		return nil
	}
	var out []manifests.Attachment
	for _, key := range slices.Sorted(maps.Keys(s.Networks)) {
		a := manifests.Attachment{Network: key}
		if n := s.Networks[key]; n != nil {
			a.Aliases, a.IPv4, a.IPv6, a.LinkLocal = sorted(n.Aliases), n.Ipv4Address, n.Ipv6Address, n.LinkLocalIPs
			a.MAC, a.DriverOpts, a.Priority = n.MacAddress, n.DriverOpts, n.Priority
			a.GwPriority, a.Interface = n.GatewayPriority, n.InterfaceName
		}
		out = append(out, a)
	}
	if s.MacAddress != "" && len(out) > 0 {
		first := s.NetworksByPriority()[0]
		i := sort.Search(len(out), func(i int) bool { return out[i].Network >= first })
		if out[i].MAC == "" {
			out[i].MAC = s.MacAddress
		}
	}
	return out
}

func hooks(list []types.ServiceHook) []manifests.Hook {
	var out []manifests.Hook
	for _, h := range list {
		hook := manifests.Hook{Command: h.Command, User: h.User, Privileged: h.Privileged, WorkingDir: h.WorkingDir}
		for k, v := range h.Environment {
			if v == nil {
				continue
			}
			if hook.Environment == nil {
				hook.Environment = map[string]string{}
			}
			hook.Environment[k] = *v
		}
		out = append(out, hook)
	}
	return out
}

// fixedAddress returns an address that the file fixes, if any.
func fixedAddress(s *manifests.Service) (string, bool) {
	for _, a := range s.Container.Networks {
		for _, addr := range append([]string{a.IPv4, a.IPv6, a.MAC}, a.LinkLocal...) {
			if addr != "" {
				return addr, true
			}
		}
	}
	return "", false
}

// joined returns the service whose namespace a mode joins.
func joined(mode string) (string, bool) {
	return strings.CutPrefix(mode, types.ServicePrefix)
}
