package load

import (
	"fmt"
	"path"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/remorahq/remora/manifests"
)

// mounts converts volumes, configs and secrets.
func (c *converter) mounts(at string, s types.ServiceConfig, out *manifests.Service) {
	for i, v := range s.Volumes {
		if m, ok := c.mount(fmt.Sprintf("%s.volumes[%d]", at, i), s, v, out); ok {
			out.Container.Mounts = append(out.Container.Mounts, m)
		}
	}
	for i, ref := range s.Configs {
		def := types.FileObjectConfig(c.project.Configs[ref.Source])
		c.fileObject(fmt.Sprintf("%s.configs[%d]", at, i), "configs."+ref.Source, "/", types.FileReferenceConfig(ref), def, out)
	}
	for i, ref := range s.Secrets {
		def := types.FileObjectConfig(c.project.Secrets[ref.Source])
		c.fileObject(fmt.Sprintf("%s.secrets[%d]", at, i), "secrets."+ref.Source, "/run/secrets/", types.FileReferenceConfig(ref), def, out)
		if _, inside := c.repo.rel(def.File); inside && def.File != "" && !c.live() {
			c.warn("secrets."+ref.Source+".file", "anyone who reads the repository reads it", "the secret is plain text in the repository")
		}
	}
	for _, m := range out.Container.Mounts {
		if writable(m) {
			out.WritesData = true
		}
	}
}

// writable says whether what a container writes through m outlives it.
func writable(m manifests.Mount) bool {
	switch m.Kind {
	case manifests.MountData, manifests.MountHost, manifests.MountVolume, manifests.MountAnonymous, manifests.MountRepo:
		return !m.ReadOnly
	}
	return false
}

func (c *converter) mount(field string, s types.ServiceConfig, v types.ServiceVolumeConfig, out *manifests.Service) (manifests.Mount, bool) {
	m := manifests.Mount{Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly, Consistency: v.Consistency}
	if !path.IsAbs(v.Target) {
		c.fail(field, "write a path from the root", "target %q is not absolute", v.Target)
		return m, false
	}
	switch v.Type {
	case types.VolumeTypeBind:
		return m, c.bind(field, s, v, &m, out)
	case types.VolumeTypeVolume:
		m.Kind = manifests.MountVolume
		if v.Source == "" {
			m.Kind = manifests.MountAnonymous
		}
		if v.Volume != nil {
			m.NoCopy, m.Subpath = v.Volume.NoCopy, v.Volume.Subpath
		}
	case types.VolumeTypeTmpfs:
		m.Kind = manifests.MountTmpfs
		if v.Tmpfs != nil {
			m.Size, m.TmpfsMode = int64(v.Tmpfs.Size), v.Tmpfs.Mode
		}
	case types.VolumeTypeImage:
		m.Kind = manifests.MountImage
		if v.Image != nil {
			m.Subpath = v.Image.SubPath
		}
	default:
		c.fail(field, "bind, volume, tmpfs or image", "mounts of type %q are not carried out", v.Type)
		return m, false
	}
	return m, true
}

// bind decides what the source of a bind is: content of the commit, data of
// the app on the host, or the host's own folder.
func (c *converter) bind(field string, s types.ServiceConfig, v types.ServiceVolumeConfig, m *manifests.Mount, out *manifests.Service) bool {
	if b := v.Bind; b != nil {
		m.Propagation, m.SELinux, m.Recursive, m.Create = b.Propagation, b.SELinux, b.Recursive, bool(b.CreateHostPath)
	}
	if _, inside := c.repo.rel(v.Source); !inside {
		m.Kind = manifests.MountHost
		return true
	}
	real, exists, err := c.repo.resolve(v.Source)
	if err != nil {
		c.fail(field, "", "path %q %s", c.shown(v.Source), why(err))
		return false
	}
	rel, _ := c.repo.rel(real)
	switch {
	case c.live():
		// The folder itself: an edit is seen at once and makes no release.
		m.Kind, m.Source = manifests.MountRepo, rel
		return true
	case !exists:
		c.note(manifests.Input{Path: rel, Kind: manifests.InputAbsent})
		m.Kind, m.Source = manifests.MountData, c.inFolder(v.Source)
		return true
	}
	if !m.ReadOnly {
		if c.writtenWritable(s.Name, v.Target) {
			c.fail(field, "remove `rw`; keep data that is written in a volume, or in a folder that is not in the commit",
				"%q is in the commit and can only be mounted read-only", c.shown(v.Source))
			return false
		}
		c.warn(field, "write :ro to say so", "%q is in the commit and is mounted read-only", c.shown(v.Source))
	}
	m.Kind, m.Source, m.ReadOnly, m.Create = manifests.MountRepo, rel, true, false
	c.keepFile(field, real, out)
	return true
}

// writtenWritable says whether the file itself says that the mount at target
// is writable, where silence would mean the same to Compose.
func (c *converter) writtenWritable(service, target string) bool {
	for _, def := range c.scan.written[service] {
		for _, v := range listOf(def.value.field("volumes")) {
			if v.fields != nil {
				ro := v.field("read_only")
				if c.scan.text(def.origin, v.field("target")) == target && ro != nil && ro.scalar == "false" {
					return true
				}
				continue
			}
			parts := strings.Split(c.scan.text(def.origin, v), ":")
			if len(parts) == 3 && path.Clean(parts[1]) == target && hasOption(parts[2], "rw") {
				return true
			}
		}
	}
	return false
}

func hasOption(options, want string) bool {
	for o := range strings.SplitSeq(options, ",") {
		if o == want {
			return true
		}
	}
	return false
}

// fileObject converts a config or a secret of a service.
func (c *converter) fileObject(field, defField, prefix string, ref types.FileReferenceConfig, def types.FileObjectConfig, out *manifests.Service) {
	m := manifests.Mount{Target: ref.Target, ReadOnly: true, UID: ref.UID, GID: ref.GID}
	if m.Target == "" {
		m.Target = ref.Source
	}
	if !path.IsAbs(m.Target) {
		m.Target = prefix + m.Target
	}
	if ref.Mode != nil {
		mode := uint32(*ref.Mode)
		m.Mode = &mode
	}
	switch {
	case def.Content != "":
		m.Kind, m.Source, m.Content = manifests.MountInline, ref.Source, def.Content
		c.checkEncrypted(defField, map[string]string{"content": def.Content})
	case def.File == "":
		c.fail(defField, "write `file:` or `content:`", "neither file nor content is given")
		return
	default:
		if !c.objectFile(defField+".file", def.File, &m, out) {
			return
		}
	}
	out.Container.Mounts = append(out.Container.Mounts, m)
}

func (c *converter) objectFile(field, file string, m *manifests.Mount, out *manifests.Service) bool {
	if _, inside := c.repo.rel(file); !inside {
		m.Kind, m.Source = manifests.MountHost, file
		return true
	}
	real, exists, err := c.repo.resolve(file)
	if err != nil || !exists {
		c.fail(field, "add the file", "file %q %s", c.shown(file), why(err))
		return false
	}
	rel, _ := c.repo.rel(real)
	m.Kind, m.Source = manifests.MountRepo, rel
	c.keepFile(field, real, out)
	return true
}
