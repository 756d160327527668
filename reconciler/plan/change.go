package plan

import (
	"bytes"
	"maps"
	"slices"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// findChanges compares what is wanted with what is active, service by service,
// and then adds what follows from those changes. A service that became a
// one-shot goes first, alone: those that wait for its run are planned after.
func (p *planner) findChanges() {
	for _, name := range p.names() {
		if c := p.drop(name); c != nil {
			p.changes[name] = c
		}
	}
	if len(p.changes) > 0 {
		return
	}
	for _, name := range p.names() {
		if c := p.change(name); c != nil {
			p.changes[name] = c
		}
	}
	for p.follow() {
	}
	for _, name := range slices.Sorted(maps.Keys(p.Ledger.Services)) {
		if c := p.drop(name); c != nil {
			p.changes[name] = c
		}
	}
	for name, c := range p.changes {
		if c.Action == ledger.Replace {
			p.place(name, c)
		}
	}
}

// change is what becomes of one service on its own account, or nil.
func (p *planner) change(name string) *ledger.Change {
	want, s := p.want[name], p.known(name)
	if want.Service.Kind == manifests.KindOneShot {
		return p.run(name)
	}
	active := s.Active
	switch {
	case active == nil:
		return p.replace(name, "new service")
	case active.ID != want.ID:
		return p.replace(name, Cause(active.Release, want))
	case active.Hostrev != want.Hostrev:
		return p.replace(name, "host inputs")
	case active.Service.Kind != want.Service.Kind:
		return p.replace(name, string(active.Service.Kind+"→"+want.Service.Kind))
	case Proxied(active.Release, false) != Proxied(want, false):
		return p.replace(name, "names "+naming(active.Release)+"→"+naming(want))
	case slices.Contains(p.Restart, name) || slices.Contains(p.Restart, "*"):
		return p.replace(name, "restart")
	case len(active.Instances) != want.Service.Replicas:
		return p.scale(name)
	case !bytes.Equal(settings(active.Service), settings(want.Service)):
		return p.settings(name)
	}
	return nil
}

func naming(r ledger.Release) string {
	if Proxied(r, false) {
		return "proxied"
	}
	return "direct"
}

// replace brings the wanted release in the place of the active one; its
// instances come later, in place.
func (p *planner) replace(name, cause string) *ledger.Change {
	want := p.want[name]
	return &ledger.Change{
		Action: ledger.Replace, Cause: cause, Kind: want.Service.Kind, Order: want.Service.Order,
		From: p.known(name).Active.Clone(), To: &ledger.Deployed{Release: want},
	}
}

// run runs a one-shot whose release never ran here. A recorded end, good or
// bad, is not repeated: a failure is quarantined, and ends with `retry`.
func (p *planner) run(name string) *ledger.Change {
	want := p.want[name]
	switch job := p.known(name).Jobs[want.ID]; job.State {
	case ledger.JobDone:
		return nil
	case ledger.JobUnknown, ledger.JobRunning, ledger.JobFailed, "":
	}
	return &ledger.Change{
		Action: ledger.Run, Cause: p.runCause(name), Kind: want.Service.Kind, Order: want.Service.Order,
		To: &ledger.Deployed{Release: want, Instances: p.instances(want, nil, 1)},
	}
}

func (p *planner) runCause(name string) string {
	if len(p.known(name).Jobs) == 0 {
		return "never ran here"
	}
	return "release " + Short(p.want[name].ID) + " never ran here"
}

// scale changes the number of containers.
func (p *planner) scale(name string) *ledger.Change {
	want, active := p.want[name], p.known(name).Active
	to := active.Clone()
	to.Service = want.Service
	keep := min(len(to.Instances), want.Service.Replicas)
	to.Instances = p.instances(want, to.Instances[:keep], want.Service.Replicas)
	return &ledger.Change{
		Action: ledger.Scale, Cause: scaleCause(len(active.Instances), want.Service.Replicas),
		Kind: want.Service.Kind, Order: want.Service.Order, From: active.Clone(), To: to,
	}
}

// settings changes what needs no new container.
func (p *planner) settings(name string) *ledger.Change {
	want, active := p.want[name], p.known(name).Active
	to := active.Clone()
	to.Service = want.Service
	return &ledger.Change{
		Action: ledger.Settings, Cause: settingsCause(active.Service, want.Service),
		Kind: want.Service.Kind, Order: want.Service.Order, From: active.Clone(), To: to,
	}
}

// drop removes a service that the revision no longer has, or that became a
// one-shot.
func (p *planner) drop(name string) *ledger.Change {
	s := p.known(name)
	want, wanted := p.want[name]
	if wanted && want.Service.Kind != manifests.KindOneShot || s.Active == nil && s.Standby == nil {
		return nil
	}
	cause := "no longer in the file"
	if wanted {
		cause = "is a one-shot now"
	}
	c := &ledger.Change{Action: ledger.Drop, Cause: cause, From: s.Active.Clone()}
	if from := s.Active; from != nil {
		c.Kind, c.Order = from.Service.Kind, from.Service.Order
	}
	return c
}

// follow adds the changes that others bring about, one round of them: a unit
// is replaced together, and `restart: true` recreates dependants.
func (p *planner) follow() (more bool) {
	for _, name := range p.names() {
		if c := p.changes[name]; c != nil && c.Action == ledger.Replace || p.want[name].Service.Kind == manifests.KindOneShot {
			continue
		}
		if cause := p.followCause(name); cause != "" {
			p.changes[name] = p.replace(name, cause)
			more = true
		}
	}
	return more
}

func (p *planner) followCause(name string) string {
	for _, other := range p.unit(name) {
		if other != name && p.replaced(other) {
			return "one unit with " + other
		}
	}
	for _, d := range p.want[name].Service.DependsOn {
		if d.Restart && p.replaced(d.Service) {
			return "depends_on " + d.Service + ": restart"
		}
	}
	return p.nameCause(name)
}

// nameCause recreates a container that could not find another service by its
// name: names are given at creation. A service that is new concerns those that
// depend on it; one whose name moves to the ambassador, or back, concerns all
// on its networks.
func (p *planner) nameCause(name string) string {
	if p.Direct || p.known(name).Active == nil {
		return ""
	}
	for _, other := range p.order {
		c := p.changes[other]
		if other == name || c == nil || c.Action != ledger.Replace {
			continue
		}
		switch to := p.want[other]; {
		case c.From == nil && Proxied(to, false) && slices.Contains(p.dependencies(name), other):
			return "the name " + other + " is new to it"
		case c.From != nil && Proxied(c.From.Release, false) != Proxied(to, false) && sharesNetwork(p.want[name].Service, to.Service):
			return "the name " + other + " moves"
		}
	}
	return ""
}

// sharesNetwork says whether two services are on one of the app's networks.
func sharesNetwork(a, b manifests.Service) bool {
	return slices.ContainsFunc(a.Container.Networks, func(x manifests.Attachment) bool {
		return slices.ContainsFunc(b.Container.Networks, func(y manifests.Attachment) bool { return x.Network == y.Network })
	})
}

func (p *planner) replaced(name string) bool {
	c := p.changes[name]
	return c != nil && c.Action == ledger.Replace
}

// place gives a replacement its containers: the standby's where it stands by,
// else new ones.
func (p *planner) place(name string, c *ledger.Change) {
	want := p.want[name]
	same := c.From != nil && c.From.ID == want.ID && c.From.Hostrev == want.Hostrev
	if ready := p.standing(name); ready != nil && !same {
		ready.Service, ready.Revision, ready.Tag = want.Service, want.Revision, want.Tag
		c.To, c.FromStandby = ready, true
		return
	}
	c.To.Set = p.set(name, want.ID)
	c.To.Instances = p.instances(want, nil, want.Service.Replicas)
}

// standing returns the wanted release where its containers still are: standing
// by, or draining towards it.
func (p *planner) standing(name string) *ledger.Deployed {
	want, s := p.want[name], p.known(name)
	candidates := slices.Concat([]*ledger.Deployed{s.Standby}, s.Leaving)
	for _, d := range candidates {
		if d == nil || d.ID != want.ID || d.Hostrev != want.Hostrev || len(d.Instances) != want.Service.Replicas {
			continue
		}
		if d == s.Standby || d.Place == ledger.ToStandby {
			if p.allThere(d) {
				return d.Clone()
			}
		}
	}
	return nil
}

// allThere says that every container of d exists.
func (p *planner) allThere(d *ledger.Deployed) bool {
	for _, i := range d.Instances {
		there := slices.ContainsFunc(p.Containers, func(c engine.Container) bool {
			return c.ID == i.Container && c.State != engine.Dead && c.State != engine.Removing
		})
		if !there {
			return false
		}
	}
	return len(d.Instances) > 0
}

// set tells the new containers from others of the same release.
func (p *planner) set(name, release string) string {
	s := p.known(name)
	for _, d := range slices.Concat([]*ledger.Deployed{s.Active, s.Standby}, s.Leaving) {
		if d != nil && d.ID == release {
			return p.ID
		}
	}
	return ""
}
