package ledger

import (
	"maps"
	"slices"
)

// Clone copies everything of an app that the rollout changes: what is shared
// (manifests of releases, networks and volumes) is never changed in place.
func (a App) Clone() App {
	c := a
	c.Services = make(map[string]*Service, len(a.Services))
	for name, s := range a.Services {
		c.Services[name] = s.clone()
	}
	if a.Services == nil {
		c.Services = nil
	}
	c.Volumes, c.Networks = slices.Clone(a.Volumes), slices.Clone(a.Networks)
	c.NetworkSpecs, c.VolumeSpecs = slices.Clone(a.NetworkSpecs), slices.Clone(a.VolumeSpecs)
	c.History = slices.Clone(a.History)
	c.Rollout = a.Rollout.clone()
	c.Last, c.Pin, c.Suspended = copied(a.Last), copied(a.Pin), copied(a.Suspended)
	return c
}

func (s *Service) clone() *Service {
	if s == nil {
		return nil
	}
	c := *s
	c.Active, c.Standby = s.Active.Clone(), s.Standby.Clone()
	c.Leaving = slices.Clone(s.Leaving)
	for i, d := range c.Leaving {
		c.Leaving[i] = d.Clone()
	}
	c.Quarantined, c.Jobs = maps.Clone(s.Quarantined), maps.Clone(s.Jobs)
	c.Promoted = slices.Clone(s.Promoted)
	c.Anonymous = maps.Clone(s.Anonymous)
	c.Stopped, c.Maintenance = copied(s.Stopped), copied(s.Maintenance)
	return &c
}

// Clone copies a release with its containers.
func (d *Deployed) Clone() *Deployed {
	if d == nil {
		return nil
	}
	c := *d
	c.Instances = slices.Clone(d.Instances)
	for i := range c.Instances {
		c.Instances[i].Addresses = maps.Clone(c.Instances[i].Addresses)
		c.Instances[i].Anonymous = maps.Clone(c.Instances[i].Anonymous)
	}
	return &c
}

func (r *Rollout) clone() *Rollout {
	if r == nil {
		return nil
	}
	c := *r
	c.Waves = slices.Clone(r.Waves)
	c.Changes = make(map[string]*Change, len(r.Changes))
	for name, ch := range r.Changes {
		n := *ch
		n.To, n.From, n.Trial = ch.To.Clone(), ch.From.Clone(), copied(ch.Trial)
		c.Changes[name] = &n
	}
	if r.Changes == nil {
		c.Changes = nil
	}
	c.Failure = copied(r.Failure)
	return &c
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
