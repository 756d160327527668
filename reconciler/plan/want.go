package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// resolve makes the desired release of every service.
func (p *planner) resolve() *Held {
	images := make(map[string]manifests.ImageIdentity, len(p.Images))
	for name, img := range p.Images {
		images[name] = img.identity()
	}
	p.want = make(map[string]ledger.Release, len(p.App.Services))
	for i := range p.App.Services {
		s := &p.App.Services[i]
		id, err := p.App.Release(s.Name, images)
		if err != nil {
			return &Held{Reason: status.ImagePullFailed, Service: s.Name, Message: err.Error(), Remedy: "check that the registry has " + s.Container.Image}
		}
		p.want[s.Name] = p.release(s, string(id))
	}
	return nil
}

// release is a service's desired release with what its image adds.
func (p *planner) release(s *manifests.Service, id string) ledger.Release {
	img := p.Images[s.Name]
	r := ledger.Release{
		ID: id, Hostrev: p.App.Hostrev(s.Name, p.Key), Service: *s,
		Digest: img.Digest, ImageID: img.ImageID, HostLocal: img.Digest == "" || img.HostLocal,
		Revision: p.Revision, Tag: Tag(s.Container.Image, img.Digest),
		Volumes: img.Volumes, Exposed: img.Exposed, Healthcheck: s.Container.Healthcheck,
	}
	if r.Healthcheck.Disabled() {
		r.Healthcheck = nil
	} else if inherits(r.Healthcheck) && img.Healthcheck != nil && !img.Healthcheck.Disabled() {
		r.Healthcheck, r.FromImage = overlay(*img.Healthcheck, r.Healthcheck), true
	}
	p.adjust(&r)
	return r
}

// inherits says that the file leaves the check's command to the image.
func inherits(h *manifests.Healthcheck) bool { return h == nil || len(h.Test) == 0 }

// overlay is the image's check with the times that the file sets.
func overlay(image manifests.Healthcheck, file *manifests.Healthcheck) *manifests.Healthcheck {
	if file == nil {
		return &image
	}
	set(&image.Interval, file.Interval)
	set(&image.Timeout, file.Timeout)
	set(&image.StartPeriod, file.StartPeriod)
	set(&image.StartInterval, file.StartInterval)
	set(&image.Retries, file.Retries)
	return &image
}

func set[T comparable](to *T, v T) {
	var zero T
	if v != zero {
		*to = v
	}
}

// adjust makes a service stop-first where the image or the host demands it and
// the file does not name the order itself.
func (p *planner) adjust(r *ledger.Release) {
	s := &r.Service
	if s.Kind == manifests.KindOneShot {
		return
	}
	targets := AnonymousTargets(*r)
	if len(targets) > 0 && !s.AnonymousFresh {
		s.WritesData = true
		p.stopFirst(s, "it keeps the anonymous volume "+targets[0])
	}
	if (s.NamesDirect || p.Direct) && p.hasNeighbours(s) {
		p.stopFirst(s, "others reach it by the engine's own name, which leads to every container of it")
	}
}

func (p *planner) stopFirst(s *manifests.Service, why string) {
	if !s.OrderSet && s.Order != manifests.StopFirst {
		s.Order, s.OrderWhy = manifests.StopFirst, why
	}
}

// hasNeighbours says whether another unit shares a network with s.
func (p *planner) hasNeighbours(s *manifests.Service) bool {
	return slices.ContainsFunc(p.App.Services, func(o manifests.Service) bool {
		return o.Unit != s.Unit && slices.ContainsFunc(o.Container.Networks, func(a manifests.Attachment) bool {
			return slices.ContainsFunc(s.Container.Networks, func(b manifests.Attachment) bool { return a.Network == b.Network })
		})
	})
}

// AnonymousTargets are the places where a release has volumes without a name:
// the file's, and the image's VOLUMEs with nothing mounted there. Sorted.
func AnonymousTargets(r ledger.Release) []string {
	var targets []string
	taken := map[string]bool{}
	for _, m := range r.Service.Container.Mounts {
		taken[m.Target] = true
		if m.Kind == manifests.MountAnonymous {
			targets = append(targets, m.Target)
		}
	}
	for _, t := range r.Service.Container.Tmpfs {
		path, _, _ := strings.Cut(t, ":")
		taken[path] = true
	}
	for _, v := range r.Volumes {
		if !taken[v] {
			targets = append(targets, v)
		}
	}
	slices.Sort(targets)
	return slices.Compact(targets)
}

// target hashes all that the plan leads to.
func (p *planner) target() string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(p.want)) {
		r := p.want[name]
		fmt.Fprintf(h, "%q %q %q %d %s\n", name, r.ID, r.Hostrev, r.Service.Replicas, settings(r.Service))
	}
	fmt.Fprintf(h, "%q\n", p.Restart)
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// settings is the canonical form of what may change without a new container.
func settings(s manifests.Service) []byte {
	s.Container, s.Files, s.HostInputs, s.Positions = manifests.Container{}, nil, nil, nil
	s.Replicas, s.OrderWhy, s.NamesDirect, s.AnonymousFresh = 0, "", false, false
	data, err := json.Marshal(s)
	if err != nil { // plain values only: cannot be
		panic(fmt.Sprintf("marshal service %s: %v", s.Name, err))
	}
	return data
}

// Tag returns what people call an image: its tag, else its digest's beginning.
func Tag(reference, digest string) string {
	name, _, pinned := strings.Cut(reference, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[i+1:]
	}
	if pinned || digest != "" {
		_, sum, ok := strings.Cut(digest, ":")
		if !ok {
			_, sum, _ = strings.Cut(reference, "sha256:")
		}
		return sum[:min(len(sum), 8)]
	}
	return "latest"
}

// Repository returns a reference without its tag and digest.
func Repository(reference string) string {
	name, _, _ := strings.Cut(reference, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i]
	}
	return name
}
