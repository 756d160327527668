package docker

import (
	"os"
	"strings"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/versions"

	"github.com/remorahq/remora/internal/engine"
)

// mounts are the container's mounts. Two things exist only in the engine's
// short form ("binds"): SELinux labels, and a missing folder of the host that
// is to be made, on engines before 23.0.
func (p *payload) mounts() (mounts []mount.Mount, binds []string) {
	for _, m := range p.Mounts {
		if p.short(m) {
			binds = append(binds, p.bind(m))
			continue
		}
		mounts = append(mounts, p.mount(m))
	}
	return mounts, binds
}

func (p *payload) short(m engine.Mount) bool {
	return m.Type == "bind" && (m.Spec.SELinux != "" || m.Spec.Create && versions.LessThan(p.facts.API, "1.42"))
}

// bind is source:target[:options].
func (p *payload) bind(m engine.Mount) string {
	if strings.Contains(m.Source, ":") || strings.Contains(m.Target, ":") {
		p.fail("%w: mount %s: a path with a colon cannot be combined with an SELinux label or, before Docker 23.0, with making the folder",
			engine.ErrUnsupported, m.Target)
	}
	if m.Spec.Recursive != "" && m.Spec.Recursive != "enabled" {
		p.fail("%w: mount %s: bind.recursive: %s cannot be combined with an SELinux label or, before Docker 23.0, with making the folder",
			engine.ErrUnsupported, m.Target, m.Spec.Recursive)
	}
	var options []string
	if m.ReadOnly {
		options = append(options, "ro")
	}
	for _, o := range []string{m.Spec.SELinux, m.Spec.Propagation, m.Spec.Consistency} {
		if o != "" {
			options = append(options, o)
		}
	}
	s := m.Source + ":" + m.Target
	if len(options) > 0 {
		s += ":" + strings.Join(options, ",")
	}
	return s
}

func (p *payload) mount(m engine.Mount) mount.Mount {
	out := mount.Mount{
		Type: mount.Type(m.Type), Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly,
		Consistency: mount.Consistency(m.Spec.Consistency),
	}
	switch m.Type {
	case "bind":
		out.BindOptions = p.bindOptions(m)
	case "volume":
		p.needs(m.Spec.Subpath != "", "1.45", "26.0", "volume.subpath of "+m.Target)
		if m.Spec.NoCopy || m.Spec.Subpath != "" {
			out.VolumeOptions = &mount.VolumeOptions{NoCopy: m.Spec.NoCopy, Subpath: m.Spec.Subpath}
		}
	case "tmpfs":
		if m.Spec.Size != 0 || m.Spec.TmpfsMode != 0 {
			out.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: m.Spec.Size, Mode: os.FileMode(m.Spec.TmpfsMode)}
		}
	case "image":
		p.needs(true, "1.48", "28.0", "an image mount at "+m.Target)
		if m.Spec.Subpath != "" {
			out.ImageOptions = &mount.ImageOptions{Subpath: m.Spec.Subpath}
		}
	default:
		p.fail("mount %s: type %q is none of bind, volume, tmpfs and image", m.Target, m.Type)
	}
	return out
}

func (p *payload) bindOptions(m engine.Mount) *mount.BindOptions {
	o := mount.BindOptions{Propagation: mount.Propagation(m.Spec.Propagation), CreateMountpoint: m.Spec.Create}
	switch m.Spec.Recursive {
	case "", "enabled":
	case "disabled":
		o.NonRecursive = true
	case "writable":
		// Before 25.0 a read-only bind is read-only at its top alone anyway.
		o.ReadOnlyNonRecursive = !versions.LessThan(p.facts.API, "1.44")
	case "readonly":
		p.needs(true, "1.44", "25.0", "bind.recursive: readonly of "+m.Target)
		o.ReadOnlyForceRecursive = true
	default:
		p.fail("mount %s: bind.recursive: %s is none of enabled, disabled, writable and readonly", m.Target, m.Spec.Recursive)
	}
	if o == (mount.BindOptions{}) {
		return nil
	}
	return &o
}
