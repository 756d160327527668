package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// resolve makes the desired release of every service.
func (p *planner) resolve() *Held {
	images := identities(p.Images)
	p.want = make(map[string]ledger.Release, len(p.App.Services))
	for i := range p.App.Services {
		s := &p.App.Services[i]
		id, err := p.App.Release(s.Name, images)
		if err != nil {
			return &Held{Reason: status.ImagePullFailed, Service: s.Name, Message: err.Error(), Remedy: "check that the registry has " + s.Container.Image}
		}
		p.want[s.Name] = p.release(s, string(id))
	}
	p.index()
	return nil
}

// identities are what the releases are made with.
func identities(images map[string]Image) map[string]manifests.ImageIdentity {
	out := make(map[string]manifests.ImageIdentity, len(images))
	for name, img := range images {
		out[name] = img.identity()
	}
	return out
}

// release is a service's desired release with what its image adds.
func (p *planner) release(s *manifests.Service, id string) ledger.Release {
	img := p.facts(s.Name, id)
	r := ledger.Release{
		ID: id, Hostrev: p.App.Hostrev(s.Name, p.Key), Service: *s,
		Digest: img.Digest, ImageID: img.ImageID, HostLocal: img.Digest == "" || img.HostLocal,
		Revision: p.Revision, Tag: Tag(s.Container.Image, img.Digest),
	}
	learn(&r, img)
	if s.Kind != manifests.KindOneShot && !Proxied(r, p.Direct) && p.hasNeighbours(s) {
		p.reachedDirectly(&r.Service)
	}
	return r
}

// reachedDirectly is a service that others find by the engine's own name, which
// leads to every container of it that is not stopped: releases replace each
// other stop-first, and a standby stands by stopped.
func (p *planner) reachedDirectly(s *manifests.Service) {
	stopFirst(s, "others reach it by the engine's own name, which leads to every container of it")
	s.Standby.State = manifests.StandbyStopped
}

// facts are what is known of an image: from the engine, else from when the
// same release was here before.
func (p *planner) facts(service, id string) Image {
	img := p.Images[service]
	if img.ImageID != "" {
		return img
	}
	s := p.known(service)
	for _, d := range slices.Concat([]*ledger.Deployed{s.Active, s.Standby}, s.Leaving) {
		if d != nil && d.ID == id {
			return ImageOf(&d.Release)
		}
	}
	for i := range s.Promoted {
		if s.Promoted[i].ID == id {
			return ImageOf(&s.Promoted[i])
		}
	}
	return img
}

// LearnImage completes a change whose image was not on the engine when it was
// planned with what the image says of itself.
func LearnImage(c *ledger.Change, img Image) {
	if c.To == nil {
		return
	}
	learn(&c.To.Release, img)
	c.Order = c.To.Service.Order
}

// learn takes what an image says of itself into a release.
func learn(r *ledger.Release, img Image) {
	file := r.Service.Container.Healthcheck
	r.ImageID, r.Volumes, r.Exposed = img.ImageID, img.Volumes, img.Exposed
	r.Healthcheck, r.FromImage = file, false
	if file.Disabled() {
		r.Healthcheck = nil
	} else if inherits(file) && img.Healthcheck != nil && !img.Healthcheck.Disabled() {
		r.Healthcheck, r.FromImage = overlay(*img.Healthcheck, file), true
	}
	s := &r.Service
	targets := AnonymousTargets(*r)
	if s.Kind != manifests.KindOneShot && len(targets) > 0 && !s.AnonymousFresh {
		s.WritesData = true
		stopFirst(s, "it keeps the anonymous volume "+targets[0])
	}
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

// stopFirst makes a service stop-first where the image or the host demands it
// and the file does not name the order itself.
func stopFirst(s *manifests.Service, why string) {
	if !s.OrderSet && s.Order != manifests.StopFirst {
		s.Order, s.OrderWhy = manifests.StopFirst, why
	}
}

// hasNeighbours says whether another unit shares a network with s.
func (p *planner) hasNeighbours(s *manifests.Service) bool {
	return slices.ContainsFunc(p.App.Services, func(o manifests.Service) bool {
		return o.Unit != s.Unit && sharesNetwork(o, *s)
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

// settings is the canonical form of what may change without a new container.
func settings(s manifests.Service) []byte {
	s.Container, s.Files, s.HostInputs, s.Positions = manifests.Container{}, nil, nil, nil
	s.Replicas, s.OrderWhy, s.Kind = 0, "", ""
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
