package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// mounts are the service's own, the anonymous volumes, and those of others
// that volumes_from names; what comes first has the target.
func (p *payload) mounts() ([]engine.Mount, error) {
	own := Peer{Release: p.Release, Instances: []ledger.Instance{p.Instance}, Sources: p.Sources}
	return p.mountsOf(own, p.Instance, nil)
}

// mountsOf resolves a release's mounts; chain holds the services on the way,
// to stop a circle.
func (p *payload) mountsOf(peer Peer, i ledger.Instance, chain []string) ([]engine.Mount, error) {
	s := &peer.Release.Service
	var out []engine.Mount
	for _, m := range s.Container.Mounts {
		resolved, err := p.mount(m, peer, i)
		if err != nil {
			return nil, err
		}
		out = append(out, resolved)
	}
	for _, target := range AnonymousTargets(peer.Release) {
		if !mountsAt(out, target) {
			out = append(out, p.anonymousMount(manifests.Mount{Kind: manifests.MountAnonymous, Target: target}, s, i))
		}
	}
	for _, from := range s.Container.VolumesFrom {
		more, err := p.volumesFrom(from, i.Index, append(chain, s.Name))
		if err != nil {
			return nil, err
		}
		for _, m := range more {
			if !mountsAt(out, m.Target) {
				out = append(out, m)
			}
		}
	}
	return out, nil
}

func mountsAt(list []engine.Mount, target string) bool {
	return slices.ContainsFunc(list, func(m engine.Mount) bool { return m.Target == target })
}

// mount resolves one mount to its source on this host.
func (p *payload) mount(m manifests.Mount, peer Peer, i ledger.Instance) (engine.Mount, error) {
	out := engine.Mount{Type: "bind", Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly, Spec: m}
	switch m.Kind {
	case manifests.MountRepo, manifests.MountData, manifests.MountInline:
		source, ok := peer.Sources[m.Target]
		if !ok {
			return out, fmt.Errorf("mount %s: its source %s is not on this host's disk yet", m.Target, m.Source)
		}
		out.Source = source
		out.ReadOnly = m.ReadOnly || m.Kind == manifests.MountInline
	case manifests.MountHost:
	case manifests.MountVolume:
		out.Type, out.Source = "volume", volumeName(p.Volumes, m.Source)
	case manifests.MountAnonymous:
		return p.anonymousMount(m, &peer.Release.Service, i), nil
	case manifests.MountTmpfs:
		out.Type, out.Source = "tmpfs", ""
	case manifests.MountImage:
		out.Type = "image"
	default:
		return out, fmt.Errorf("mount %s: kind %q is not known", m.Target, m.Kind)
	}
	return out, nil
}

// anonymousMount is the volume of a target that has no name in the file: the
// one that the instance had before, else one that belongs to service and
// index. One that is to be fresh is left to the engine.
func (p *payload) anonymousMount(m manifests.Mount, s *manifests.Service, i ledger.Instance) engine.Mount {
	out := engine.Mount{Type: "volume", Source: i.Anonymous[m.Target], Target: m.Target, ReadOnly: m.ReadOnly, Spec: m}
	if out.Source == "" && !s.AnonymousFresh {
		out.Source = AnonymousName(p.App.Project, s.Name, i.Index, m.Target)
	}
	return out
}

// volumesFrom resolves "service[:ro]" and "container:name[:ro]".
func (p *payload) volumesFrom(from string, index int, chain []string) ([]engine.Mount, error) {
	name, foreign := strings.CutPrefix(from, "container:")
	name, mode, _ := strings.Cut(name, ":")
	var mounts []engine.Mount
	var err error
	if foreign {
		mounts, err = p.foreignMounts(name)
	} else {
		mounts, err = p.peerMounts(name, index, chain)
	}
	if err != nil {
		return nil, fmt.Errorf("volumes_from: %s: %w", from, err)
	}
	for i := range mounts {
		mounts[i].ReadOnly = mounts[i].ReadOnly || mode == "ro"
	}
	return mounts, nil
}

func (p *payload) peerMounts(name string, index int, chain []string) ([]engine.Mount, error) {
	peer, ok := p.Peers[name]
	if !ok {
		return nil, fmt.Errorf("service %s has no release to take volumes from", name)
	}
	if slices.Contains(chain, name) {
		return nil, fmt.Errorf("volumes_from goes in a circle: %s", strings.Join(append(chain, name), " → "))
	}
	i := ledger.Instance{Index: index}
	for _, candidate := range peer.Instances {
		if candidate.Index == index || i.Name == "" {
			i = candidate
		}
	}
	return p.mountsOf(peer, i, chain)
}

func (p *payload) foreignMounts(name string) ([]engine.Mount, error) {
	c, ok := p.Foreign[name]
	if !ok {
		return nil, fmt.Errorf("container %s: %w", name, engine.ErrNotFound)
	}
	var out []engine.Mount
	for _, m := range c.Mounts {
		source := m.Source
		if m.Type == "volume" {
			source = m.Name
		}
		out = append(out, engine.Mount{Type: m.Type, Source: source, Target: m.Target, ReadOnly: !m.Writable})
	}
	return out, nil
}
