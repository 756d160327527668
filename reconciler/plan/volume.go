package plan

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// labelProject and labelKey are the short names of Compose's labels that the
// rules of data look at.
const (
	labelProject = engine.LabelComposeProject
	labelKey     = engine.LabelComposeVolume
)

// starts says whether a change creates containers.
func starts(c *ledger.Change) bool {
	return c.Action == ledger.Replace && !c.FromStandby || c.Action == ledger.Run || c.Action == ledger.Scale
}

// starting lists the services that get new containers, in order.
func (p *planner) starting() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(p.changes)) {
		if starts(p.changes[name]) {
			out = append(out, name)
		}
	}
	return out
}

// volumeMissing stops before an empty volume takes the place of data that is
// elsewhere, or gone.
func (p *planner) volumeMissing() *Held {
	mounted := map[string]bool{}
	for _, name := range p.starting() {
		for _, m := range p.want[name].Service.Container.Mounts {
			mounted[m.Source] = mounted[m.Source] || m.Kind == manifests.MountVolume
		}
	}
	for _, v := range usedVolumes(p.App) {
		if !mounted[v.Key] || p.volumeExists(v.Name) {
			continue
		}
		if v.External {
			return &Held{
				Reason: status.VolumeMissing, Message: "volume " + v.Name + " is external and does not exist",
				Remedy: "docker volume create " + v.Name + ", or remove `external: true`",
			}
		}
		if p.Ledger.CreateVolumes {
			continue
		}
		if h := p.volumeElsewhere(v); h != nil {
			return h
		}
	}
	return nil
}

func (p *planner) volumeExists(name string) bool {
	return slices.ContainsFunc(p.Volumes, func(v engine.Volume) bool { return v.Name == name })
}

func (p *planner) volumeElsewhere(v manifests.Volume) *Held {
	retry := fmt.Sprintf("run `remora retry %s --create-volumes`", p.App.Name)
	if slices.Contains(p.Ledger.Volumes, v.Name) {
		return &Held{
			Reason:  status.VolumeMissing,
			Message: fmt.Sprintf("would create empty volume %s; %s had one of this name and it is gone", v.Name, p.App.Name),
			Remedy:  "restore it, or " + retry,
		}
	}
	other := p.sameKey(v)
	if other == nil {
		return nil
	}
	project := other.Labels[labelProject]
	return &Held{
		Reason: status.VolumeMissing,
		Message: fmt.Sprintf("would create empty volume %s; %s exists (project %s%s)",
			v.Name, other.Name, project, p.usedBy(other.Name)),
		Remedy: fmt.Sprintf("set `name: %s`, or `volumes.%s: {external: true, name: %s}`, or %s", project, v.Key, other.Name, retry),
	}
}

// sameKey finds a volume with v's key under another project that is not an app
// of remora's: there it has an owner.
func (p *planner) sameKey(v manifests.Volume) *engine.Volume {
	var found *engine.Volume
	for i := range p.Volumes {
		o := &p.Volumes[i]
		project := o.Labels[labelProject]
		if o.Labels[labelKey] != v.Key || project == "" || project == p.App.Project || o.Labels[engine.LabelApp] != "" {
			continue
		}
		if found == nil || o.Name < found.Name {
			found = o
		}
	}
	return found
}

// usedBy names a container that mounts the volume.
func (p *planner) usedBy(volume string) string {
	var names []string
	for _, c := range p.Containers {
		if slices.ContainsFunc(c.Mounts, func(m engine.Observed) bool { return m.Name == volume }) {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return ", used by " + list(names) + " until now"
}

// writes is something that a container may write.
type writes struct {
	volume string // the engine's name
	path   string // of the host
}

// overlaps says that two containers would write the same data.
func (w writes) overlaps(o writes) bool {
	if w.volume != "" || o.volume != "" {
		return w.volume == o.volume
	}
	return below(w.path, o.path) || below(o.path, w.path)
}

func below(a, b string) bool { return a == b || strings.HasPrefix(a, strings.TrimSuffix(b, "/")+"/") }

// String names it for a message.
func (w writes) String() string {
	if w.volume != "" {
		return "volume " + w.volume
	}
	return "folder " + w.path
}

// systemFolders hold no data of applications: sockets, devices and settings
// that many containers mount without writing them.
var systemFolders = []string{"/dev", "/etc", "/lib", "/proc", "/run", "/sys", "/usr", "/var/run"}

// isData says whether a host path may be an application's data. The root of
// the file system, which monitoring mounts, is not.
func isData(p string) bool {
	return p != "/" && p != "" && !slices.ContainsFunc(systemFolders, func(f string) bool { return below(p, f) })
}

// writesOf lists what a service writes outside its containers.
func (p *planner) writesOf(s manifests.Service) []writes {
	var out []writes
	for _, m := range s.Container.Mounts {
		switch {
		case m.ReadOnly:
		case m.Kind == manifests.MountVolume:
			out = append(out, writes{volume: volumeName(p.App.Volumes, m.Source)})
		case m.Kind == manifests.MountHost && isData(path.Clean(m.Source)):
			out = append(out, writes{path: path.Clean(m.Source)})
		}
	}
	return out
}

// volumeName is the engine's name of a volume of the file.
func volumeName(volumes []manifests.Volume, key string) string {
	for _, v := range volumes {
		if v.Key == key {
			return v.Name
		}
	}
	return key
}

// volumeInUse stops where a running container outside the service writes what
// a new container would write. Services of the app that mount the same by the
// same file are meant to share it.
func (p *planner) volumeInUse() *Held {
	for _, name := range slices.Sorted(maps.Keys(p.changes)) {
		if c := p.changes[name]; !starts(c) && !c.FromStandby {
			continue
		}
		for _, w := range p.writesOf(p.want[name].Service) {
			for i := range p.Containers {
				c := &p.Containers[i]
				if p.writer(c, w) && !p.mayShare(c, name, w) {
					return p.inUse(name, w, c)
				}
			}
		}
	}
	return nil
}

func (p *planner) inUse(service string, w writes, c *engine.Container) *Held {
	remedy := "docker stop " + c.Name
	if c.Ours() {
		remedy = fmt.Sprintf("remora stop %s/%s", c.Labels[engine.LabelApp], c.Labels[engine.LabelService])
	}
	return &Held{
		Reason: status.VolumeInUse, Service: service,
		Message: fmt.Sprintf("%s would write %s, which running container %s writes", service, w, c.Name),
		Remedy:  remedy + ", or mount it read-only in one of the two",
	}
}

// writer says whether c runs and writes w.
func (p *planner) writer(c *engine.Container, w writes) bool {
	if c.State != engine.Running && c.State != engine.Paused && c.State != engine.Restarting {
		return false
	}
	return slices.ContainsFunc(c.Mounts, func(m engine.Observed) bool {
		if !m.Writable {
			return false
		}
		switch m.Type {
		case "volume":
			return writes{volume: m.Name}.overlaps(w)
		case "bind":
			return isData(m.Source) && writes{path: m.Source}.overlaps(w)
		}
		return false
	})
}

// mayShare says that c belongs to the service itself, or to one of the app's
// that writes the same by the same file.
func (p *planner) mayShare(c *engine.Container, service string, w writes) bool {
	if !c.Ours() || c.AppID() != p.App.ID() {
		return false
	}
	other := c.Labels[engine.LabelService]
	if other == service {
		return true
	}
	want, ok := p.want[other]
	return ok && slices.ContainsFunc(p.writesOf(want.Service), w.overlaps)
}
