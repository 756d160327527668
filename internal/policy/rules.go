package policy

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/remorahq/remora/manifests"
)

func image(j *judge, c *manifests.Container) { j.image(c.Image) }

func (j *judge) image(ref string) {
	name, digest := normalise(ref)
	if len(j.Registries) > 0 && !slices.ContainsFunc(j.Registries, func(p string) bool { return registry(p, name) }) {
		j.deny("image", ref, fmt.Sprintf("registries: [%q]", name[:strings.Index(name, "/")]),
			"image %q is not from an allowed registry", ref)
	}
	if j.Digests != nil && *j.Digests && !digest {
		j.deny("image", ref, "require_digests: false", "image %q has no digest", ref)
	}
}

// labels keeps remora's own labels remora's.
func labels(j *judge, c *manifests.Container) {
	for _, k := range slices.Sorted(maps.Keys(c.Labels)) {
		if strings.HasPrefix(k, "remora.") || strings.HasPrefix(k, "com.docker.compose.") {
			j.deny("labels", k, "", "the label %q is remora's own", k)
		}
	}
}

// annotations reach the engine's runtime: one makes systemd properties of some
// of them, another runs programs that they name.
func annotations(j *judge, c *manifests.Container) {
	for _, k := range slices.Sorted(maps.Keys(c.Annotations)) {
		if !j.list(j.Annotations, k, glob) {
			j.deny("annotations."+k, c.Annotations[k], fmt.Sprintf("annotations: [%q]", k), "annotation %s is not allowed", k)
		}
	}
}

func privileged(j *judge, _ *manifests.Container) {
	if !j.flag(j.Privileged) {
		j.deny("privileged", "true", "privileged: true", "privileged containers are not allowed")
	}
}

// defaultCapabilities are what the engine gives without being asked.
func defaultCapabilities() []string {
	return []string{
		"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
		"NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
	}
}

func capability(name string) string { return strings.TrimPrefix(strings.ToUpper(name), "CAP_") }

func capabilities(j *judge, c *manifests.Container) {
	for i, name := range c.CapAdd {
		if slices.Contains(defaultCapabilities(), capability(name)) {
			continue
		}
		match := func(p, v string) bool { return capability(p) == capability(v) }
		if !j.list(j.Capabilities, name, match) {
			j.deny(fmt.Sprintf("cap_add[%d]", i), name, fmt.Sprintf("capabilities: [%s]", capability(name)),
				"capability %s is not allowed", capability(name))
		}
	}
}

func securityOpt(j *judge, c *manifests.Container) {
	for i, opt := range c.SecurityOpt {
		if opt == "no-new-privileges" || opt == "no-new-privileges:true" || opt == "no-new-privileges=true" {
			continue
		}
		if !j.list(j.SecurityOpt, opt, glob) {
			j.deny(fmt.Sprintf("security_opt[%d]", i), opt, fmt.Sprintf("security_opt: [%q]", opt),
				"security option %q is not allowed", opt)
		}
	}
}

func devices(j *judge, c *manifests.Container) {
	for i, d := range c.Devices {
		if !j.list(j.Devices, path.Clean(d.Source), below) {
			j.deny(fmt.Sprintf("devices[%d]", i), d.Source, fmt.Sprintf("devices: [%q]", d.Source),
				"device %s is not allowed", d.Source)
		}
	}
}

func deviceRules(j *judge, c *manifests.Container) {
	for i, r := range c.DeviceCgroupRules {
		if !j.list(j.Devices, r, equal) {
			j.deny(fmt.Sprintf("device_cgroup_rules[%d]", i), r, fmt.Sprintf("devices: [%q]", r),
				"device rule %q is not allowed", r)
		}
	}
}

func deviceRequests(j *judge, c *manifests.Container) {
	for i, r := range c.DeviceRequests {
		name := r.Driver
		if name == "" {
			name = "gpu"
		}
		if !j.list(j.Devices, name, equal) {
			j.deny(fmt.Sprintf("gpus[%d]", i), name, fmt.Sprintf("devices: [%q]", name),
				"devices of driver %q are not allowed", name)
		}
	}
}

func sysctls(j *judge, c *manifests.Container) {
	for _, k := range slices.Sorted(maps.Keys(c.Sysctls)) {
		if !j.list(j.Sysctls, k, glob) {
			j.deny("sysctls."+k, c.Sysctls[k], fmt.Sprintf("sysctls: [%q]", k), "sysctl %s is not allowed", k)
		}
	}
}

func runtime(j *judge, c *manifests.Container) {
	if !j.list(j.Runtimes, c.Runtime, equal) {
		j.deny("runtime", c.Runtime, fmt.Sprintf("runtimes: [%q]", c.Runtime), "runtime %q is not allowed", c.Runtime)
	}
}

func cgroupParent(j *judge, c *manifests.Container) {
	if !j.list(j.CgroupParent, c.CgroupParent, glob) {
		j.deny("cgroup_parent", c.CgroupParent, fmt.Sprintf("cgroup_parent: [%q]", c.CgroupParent),
			"cgroup parent %q is not allowed", c.CgroupParent)
	}
}

// namespace judges a namespace mode: the host's need the setting, a
// container's that is not the app's own needs allow_foreign.
func (j *judge) namespace(field, kind, mode string) {
	switch {
	case mode == "host":
		if !j.list(j.Namespaces, kind, equal) {
			j.deny(field, mode, fmt.Sprintf("namespaces: [%s]", kind), "the host's %s namespace is not allowed", kind)
		}
	case strings.HasPrefix(mode, "container:"):
		j.foreign(field, "container", strings.TrimPrefix(mode, "container:"))
	}
}

func (j *judge) foreign(field, what, name string) {
	if !j.list(j.AllowForeign, name, glob) {
		j.deny(field, name, fmt.Sprintf("allow_foreign: [%q]", name), "%s %q is not the app's own", what, name)
	}
}

func cgroupNS(j *judge, c *manifests.Container) { j.namespace("cgroup", "cgroup", c.CgroupNS) }
func ipc(j *judge, c *manifests.Container)      { j.namespace("ipc", "ipc", c.IPC) }
func pid(j *judge, c *manifests.Container)      { j.namespace("pid", "pid", c.PID) }
func uts(j *judge, c *manifests.Container)      { j.namespace("uts", "uts", c.UTS) }
func userNS(j *judge, c *manifests.Container)   { j.namespace("userns_mode", "user", c.UserNS) }

func networkMode(j *judge, c *manifests.Container) {
	j.namespace("network_mode", "network", c.NetworkMode)
	known := []string{"host", "none", "bridge"}
	if !slices.Contains(known, c.NetworkMode) && !strings.Contains(c.NetworkMode, ":") {
		j.foreign("network_mode", "network", c.NetworkMode)
	}
}

func logDriver(j *judge, c *manifests.Container) {
	switch c.Log.Driver {
	case "", "json-file", "local", "none", "journald":
		return
	}
	if !j.list(j.LogDrivers, c.Log.Driver, equal) {
		j.deny("logging.driver", c.Log.Driver, fmt.Sprintf("log_drivers: [%s]", c.Log.Driver),
			"log driver %q is not allowed", c.Log.Driver)
	}
}

func oom(j *judge, c *manifests.Container) {
	if c.Resources.OOMKillDisable && !j.flag(j.OOM) {
		j.deny("oom_kill_disable", "true", "oom: true", "a container that the kernel may not kill is not allowed")
	}
	if c.Resources.OOMScoreAdj < 0 && !j.flag(j.OOM) {
		j.deny("oom_score_adj", strconv.Itoa(c.Resources.OOMScoreAdj), "oom: true", "a negative score is not allowed")
	}
}

func attachments(j *judge, c *manifests.Container) {
	for _, a := range c.Networks {
		if len(a.DriverOpts) > 0 && !j.flag(j.DriverOpts) {
			j.deny("networks."+a.Network+".driver_opts", "", "driver_opts: true", "driver options are not allowed")
		}
	}
}

func externalLinks(j *judge, c *manifests.Container) {
	for i, l := range c.ExternalLinks {
		name, _, _ := strings.Cut(l, ":")
		j.foreign(fmt.Sprintf("external_links[%d]", i), "container", name)
	}
}

func volumesFrom(j *judge, c *manifests.Container) {
	for i, v := range c.VolumesFrom {
		if rest, ok := strings.CutPrefix(v, "container:"); ok {
			name, _, _ := strings.Cut(rest, ":")
			j.foreign(fmt.Sprintf("volumes_from[%d]", i), "container", name)
		}
	}
}

func postStart(j *judge, c *manifests.Container) { j.hooks("post_start", c.PostStart) }
func preStop(j *judge, c *manifests.Container)   { j.hooks("pre_stop", c.PreStop) }

func (j *judge) hooks(field string, list []manifests.Hook) {
	for i, h := range list {
		if h.Privileged && !j.flag(j.Hooks) {
			j.deny(fmt.Sprintf("%s[%d].privileged", field, i), "true", "privileged_hooks: true",
				"privileged hooks are not allowed")
		}
	}
}

func published(j *judge, c *manifests.Container) {
	for i, p := range c.Published {
		j.port(fmt.Sprintf("ports[%d]", i), p.Published)
	}
}

// port judges a port of the host; an empty list allows all in both presets.
func (j *judge) port(field string, port uint16) {
	if port == 0 || len(j.Ports) == 0 || slices.ContainsFunc(j.Ports, func(p string) bool { return inRange(p, port) }) {
		return
	}
	j.deny(field, strconv.Itoa(int(port)), fmt.Sprintf("ports: [\"%d\"]", port), "port %d is not allowed", port)
}

func inRange(pattern string, port uint16) bool {
	lo, hi, ok := strings.Cut(pattern, "-")
	if !ok {
		hi = lo
	}
	first, err1 := strconv.Atoi(lo)
	last, err2 := strconv.Atoi(hi)
	return err1 == nil && err2 == nil && first <= int(port) && int(port) <= last
}

// hostname judges the host name of a route; an empty list allows all. The empty
// name is the route of every host.
func (j *judge) hostname(field, name string) {
	if len(j.Hostnames) == 0 {
		return
	}
	allowed := func(p string) bool {
		if p == "*" || name == "" {
			return p == "*"
		}
		if suffix, ok := strings.CutPrefix(p, "*."); ok {
			return strings.HasSuffix(name, "."+suffix)
		}
		return equal(p, name)
	}
	switch {
	case slices.ContainsFunc(j.Hostnames, allowed):
	case name == "":
		j.deny(field, name, `hostnames: ["*"]`, "a route for every host name is not allowed")
	default:
		j.deny(field, name, fmt.Sprintf("hostnames: [%q]", name), "host name %q is not allowed", name)
	}
}
