package policy

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/remorahq/remora/manifests"
)

// JudgeApp judges an app as it was loaded. root is the folder of the source;
// with a local folder as source, what lies in it may be mounted. http are the
// host's entry points, which every source may have routes on.
func JudgeApp(p manifests.Policy, app *manifests.App, root string, http []uint16) []Violation {
	r := effective(p)
	var found []Violation
	for i := range app.Services {
		s := &app.Services[i]
		j := judge{rules: r, prefix: "services." + s.Name}
		j.container(&s.Container)
		j.endpoints(s, http)
		j.nested(app, s)
		found = append(found, j.found...)
	}
	j := judge{rules: r}
	j.networks(app)
	j.volumes(app, root)
	return append(found, j.found...)
}

func (j *judge) endpoints(s *manifests.Service, http []uint16) {
	for i, p := range s.Ports {
		if !p.Docker {
			j.port(fmt.Sprintf("ports[%d]", i), p.Published)
		}
	}
	for i, r := range s.Routes {
		field := fmt.Sprintf("x-remora.routes[%d]", i)
		j.certificates(field+".tls", r.TLS)
		if r.Published != 0 {
			j.port(field+".published", r.Published)
			continue
		}
		j.hostname(field+".host", r.Host)
		for n, port := range r.Listen {
			if !slices.Contains(http, port) {
				j.port(fmt.Sprintf("%s.listen[%d]", field, n), port)
			}
		}
	}
}

// nested denies a mount whose source lies in a folder of the host that a
// container of the app may write: it could put a link in its place at any
// moment, also before a restart, and the engine would follow that out of the
// folder.
func (j *judge) nested(app *manifests.App, s *manifests.Service) {
	if j.open {
		return
	}
	for i, m := range s.Container.Mounts {
		if writer, folder := writerAbove(app, m); writer != "" {
			j.deny(fmt.Sprintf("volumes[%d]", i), m.Source, "preset: compose",
				"%s lies in %s, which %s may write: a link there would lead the mount elsewhere; mount the upper folder, or a volume", m.Source, folder, writer)
		}
	}
}

// writerAbove finds a service that mounts a folder above m's source writable.
func writerAbove(app *manifests.App, m manifests.Mount) (service, folder string) {
	if m.Kind != manifests.MountData && m.Kind != manifests.MountHost {
		return "", ""
	}
	for i := range app.Services {
		for _, o := range app.Services[i].Container.Mounts {
			above := strings.TrimSuffix(path.Clean(o.Source), "/") + "/"
			if o.Kind == m.Kind && !o.ReadOnly && strings.HasPrefix(path.Clean(m.Source), above) {
				return app.Services[i].Name, o.Source
			}
		}
	}
	return "", ""
}

func (j *judge) networks(app *manifests.App) {
	for _, n := range app.Networks {
		field := "networks." + n.Key
		if n.External || n.Name != app.Project+"_"+n.Key {
			j.foreign(field, "network", n.Name)
			continue
		}
		if n.Driver != "" && n.Driver != "bridge" && !j.flag(j.DriverOpts) {
			j.deny(field+".driver", n.Driver, "driver_opts: true", "network driver %q is not allowed", n.Driver)
		}
		if (len(n.DriverOpts) > 0 || len(n.IPAMOpts) > 0 || n.IPAM != "" && n.IPAM != "default") && !j.flag(j.DriverOpts) {
			j.deny(field+".driver_opts", "", "driver_opts: true", "driver options are not allowed")
		}
		for i, s := range n.Subnets {
			j.subnet(fmt.Sprintf("%s.ipam.config[%d].subnet", field, i), s.Subnet)
		}
	}
}

// largestOwn is the shortest prefix of a private subnet that preset strict
// takes from a file.
const largestOwn = 16

// subnet judges one that a file writes itself: the host sends to the app
// whatever it has for these addresses, be it its name server's.
func (j *judge) subnet(field, text string) {
	p, err := netip.ParsePrefix(text)
	if text == "" || err != nil || len(j.Subnets) == 0 && (j.open || private(p)) {
		return // what is no subnet, the engine refuses
	}
	within := func(pattern string) bool {
		o, err := netip.ParsePrefix(pattern)
		return err == nil && o.Bits() <= p.Bits() && o.Contains(p.Addr())
	}
	if !slices.ContainsFunc(j.Subnets, within) {
		j.deny(field, text, fmt.Sprintf("subnets: [%q]", text), "subnet %s is not allowed", text)
	}
}

func private(p netip.Prefix) bool { return p.Addr().IsPrivate() && p.Bits() >= largestOwn }

func (j *judge) volumes(app *manifests.App, root string) {
	for _, v := range app.Volumes {
		field := "volumes." + v.Key
		if v.External || v.Name != app.Project+"_"+v.Key {
			j.foreign(field, "volume", v.Name)
			continue
		}
		if v.Driver != "" && v.Driver != "local" && !j.flag(j.DriverOpts) {
			j.deny(field+".driver", v.Driver, "driver_opts: true", "volume driver %q is not allowed", v.Driver)
		}
		if len(v.DriverOpts) == 0 {
			continue
		}
		if !j.flag(j.DriverOpts) {
			j.deny(field+".driver_opts", "", "driver_opts: true", "driver options are not allowed")
		}
		j.device(field+".driver_opts.device", v.DriverOpts, root)
	}
}

// device judges the folder of the host that a volume of the local driver
// stands on. The kernel takes a relative one from the root.
func (j *judge) device(field string, opts map[string]string, root string) {
	switch opts["type"] {
	case "tmpfs", "nfs", "nfs4", "cifs", "smb3":
		return
	case "overlay":
		j.bind(field, "/") // its options name any folders
		return
	}
	device := path.Join("/", opts["device"])
	if opts["device"] != "" && !strings.HasPrefix(device, root+"/") {
		j.bind(field, device)
	}
}
