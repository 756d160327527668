package policy

import (
	"fmt"
	"path"
	"strings"

	"github.com/remorahq/remora/manifests"
)

// JudgeApp judges an app as it was loaded. root is the folder of the source;
// with a local folder as source, what lies in it may be mounted.
func JudgeApp(p manifests.Policy, app *manifests.App, root string) []Violation {
	r := effective(p)
	var found []Violation
	for i := range app.Services {
		s := &app.Services[i]
		j := judge{rules: r, prefix: "services." + s.Name}
		j.container(&s.Container)
		j.endpoints(s)
		found = append(found, j.found...)
	}
	j := judge{rules: r}
	j.networks(app)
	j.volumes(app, root)
	return append(found, j.found...)
}

func (j *judge) endpoints(s *manifests.Service) {
	for i, p := range s.Ports {
		if !p.Docker {
			j.port(fmt.Sprintf("ports[%d]", i), p.Published)
		}
	}
	for i, r := range s.Routes {
		field := fmt.Sprintf("x-remora.routes[%d]", i)
		j.port(field+".published", r.Published)
		j.hostname(field+".host", r.Host)
	}
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
	}
}

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
		if device := v.DriverOpts["device"]; strings.HasPrefix(device, "/") && !strings.HasPrefix(path.Clean(device), root+"/") {
			j.bind(field+".driver_opts.device", device)
		}
	}
}
