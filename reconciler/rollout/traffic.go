package rollout

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// maxHeld is how many requests of a service wait at once.
const maxHeld = 10_000

// view is a ledger with the containers that exist, for the table.
type view struct {
	app        *ledger.App
	containers map[string]engine.Container
}

// Traffic returns what the ambassador is to carry for the app's endpoint
// services, sorted by name: their releases, who is active, who warms, drains or
// stands by, and whether requests wait. Listeners are made elsewhere.
//
// While requests wait (Hold), Active names the release that gets them when the
// wait is over, in the state Warming, and the release that leaves is Draining.
func Traffic(app ledger.App, containers map[string]engine.Container) []traffic.Service {
	v := view{app: &app, containers: containers}
	names := slices.Collect(maps.Keys(app.Services))
	if app.Rollout != nil {
		for n := range app.Rollout.Changes {
			if app.Services[n] == nil {
				names = append(names, n)
			}
		}
	}
	slices.Sort(names)
	var out []traffic.Service
	for _, n := range names {
		if s, ok := v.service(n); ok {
			out = append(out, s)
		}
	}
	return out
}

// replacement returns the change of a service that brings another set.
func (v view) replacement(name string) *ledger.Change {
	if v.app.Rollout == nil {
		return nil
	}
	if c := v.app.Rollout.Changes[name]; c != nil && c.Action == ledger.Replace && c.To != nil {
		return c
	}
	return nil
}

// service returns one service's part; ok is false where it has no endpoint.
func (v view) service(name string) (out traffic.Service, ok bool) {
	s := v.app.Services[name]
	if s == nil {
		s = &ledger.Service{}
	}
	out = traffic.Service{Name: v.app.ID() + "/" + name, App: v.app.ID(), MaxHeld: maxHeld}
	c := v.replacement(name)
	rel := v.rule(name, s, c)
	if rel == nil {
		return out, false
	}
	out.HoldFor = HoldFor(rel)
	if c != nil {
		v.replacing(name, s, c, &out)
	} else {
		v.resting(name, s, &out)
	}
	for _, d := range s.Leaving {
		if !d.Drained {
			v.add(&out, name, d, traffic.Draining, 0)
		}
	}
	if m := s.Maintenance; m != nil {
		out.Maintenance, out.Notice, out.MaintenanceUntil = true, m.Notice, m.Until
	}
	if s.Stopped != nil && s.Stopped.Enforced && (c == nil || !c.Switched) {
		stopService(&out)
	}
	return out, true
}

// stopService makes a table answer 503 and drain what is active.
func stopService(out *traffic.Service) {
	out.Maintenance, out.Active = true, ""
	out.Split, out.Mirror = nil, nil
	for k := range out.Releases {
		switch out.Releases[k].State {
		case traffic.Active:
			out.Releases[k].State = traffic.Draining
		case traffic.Canary:
			out.Releases[k].State = traffic.Warming
		case traffic.Warming, traffic.Draining, traffic.Standby:
		}
	}
}

// rule is the release whose settings hold for the service.
func (v view) rule(name string, s *ledger.Service, c *ledger.Change) *ledger.Release {
	list := []*ledger.Deployed{Serving(v.app, name)}
	if c != nil {
		list = append(list, c.To)
	}
	list = append(list, s.Leaving...)
	for _, d := range list {
		if d != nil && d.Service.Kind == manifests.KindEndpoint {
			return &d.Release
		}
	}
	return nil
}

// resting is a service that no rollout replaces.
func (v view) resting(name string, s *ledger.Service, out *traffic.Service) {
	if s.Active != nil && v.add(out, name, s.Active, traffic.Active, 0) {
		out.Active = s.Active.Table()
	}
	if s.Standby != nil {
		v.add(out, name, s.Standby, traffic.Standby, 0)
	}
	if v.app.Rollout == nil {
		return
	}
	if c := v.app.Rollout.Changes[name]; c != nil && c.Action == ledger.Scale && c.To != nil && len(c.To.Instances) > 0 {
		v.add(out, name, c.To, traffic.Warming, 0)
	}
}

// replacing is a service that a rollout replaces, or puts back.
func (v view) replacing(name string, s *ledger.Service, c *ledger.Change, out *traffic.Service) {
	rise := 0
	if c.FromStandby {
		rise = 1
	}
	in, old := c.To, s.Active
	if undoing(v.app.Rollout) && !c.Kept {
		in, old = s.Active, c.To
	}
	switch {
	case c.Holding:
		out.Hold = true
		if old != nil {
			v.add(out, name, old, traffic.Draining, 0)
		}
		if in != nil && v.add(out, name, in, traffic.Warming, rise) {
			out.Active = in.Table()
		}
	case c.Switched:
		if v.add(out, name, c.To, traffic.Active, rise) {
			out.Active = c.To.Table()
		}
		v.addFormer(name, s, c, out)
	default:
		if s.Active != nil && v.add(out, name, s.Active, traffic.Active, 0) {
			out.Active = s.Active.Table()
		}
		if !undoing(v.app.Rollout) && v.started(c.To) {
			v.candidate(out, name, c, rise)
		}
		if s.Standby != nil {
			v.add(out, name, s.Standby, traffic.Standby, 0)
		}
	}
}

// addFormer adds the set that lost the traffic: it drains, then stands by; on
// the way back it warms.
func (v view) addFormer(name string, s *ledger.Service, c *ledger.Change, out *traffic.Service) {
	former := s.Active
	switch {
	case former == nil:
	case !former.Drained:
		v.add(out, name, former, traffic.Draining, 0)
	case undoing(v.app.Rollout) && !c.Kept:
		v.add(out, name, former, traffic.Warming, 1)
	default:
		v.add(out, name, former, traffic.Standby, 0)
	}
}

// started says that a container of d was started: what was only created has no
// place in the table.
func (v view) started(d *ledger.Deployed) bool {
	return slices.ContainsFunc(d.Instances, func(i ledger.Instance) bool {
		c, ok := v.containers[i.Container]
		return ok && !c.Started.IsZero()
	})
}

// add puts a set into the table, if it has endpoints at all.
func (v view) add(out *traffic.Service, name string, d *ledger.Deployed, state traffic.ReleaseState, rise int) bool {
	if d.Service.Kind != manifests.KindEndpoint {
		return false
	}
	r := traffic.Release{Name: d.Table(), State: state, Probes: probes(&d.Release)}
	if rise > 0 {
		for k := range r.Probes {
			r.Probes[k].Rise = rise
		}
	}
	r.DrainDeadline = or(d.Service.Update.Drain, defaultDrain)
	r.TunnelDeadline = or(d.Service.Update.DrainTunnels, defaultTunnels)
	for k := range d.Instances {
		if e, ok := v.endpoint(name, d, &d.Instances[k]); ok {
			r.Endpoints = append(r.Endpoints, e)
		}
	}
	r.Paused = state == traffic.Standby && v.asleep(d)
	if r.Paused {
		for k := range r.Endpoints {
			r.Endpoints[k].Down = false
		}
	}
	out.Releases = append(out.Releases, r)
	return true
}

// asleep says that a set is to be paused, or that one of its containers does
// not run.
func (v view) asleep(d *ledger.Deployed) bool {
	return d.Frozen || slices.ContainsFunc(d.Instances, func(i ledger.Instance) bool {
		return v.containers[i.Container].State != engine.Running
	})
}

// endpoint returns a container's endpoint; ok is false for one that was never
// started or has no address.
func (v view) endpoint(name string, d *ledger.Deployed, i *ledger.Instance) (e traffic.Endpoint, ok bool) {
	c, exists := v.containers[i.Container]
	if !exists || c.Started.IsZero() {
		return e, false
	}
	addr := v.address(name, d, i, &c)
	if !addr.IsValid() {
		return e, false
	}
	return traffic.Endpoint{
		Container: c.ID, Started: c.Started, Instance: i.Key, Address: addr, Fixed: true,
		Down: c.State != engine.Running && c.State != engine.Paused,
	}, true
}

// address is where a container is reached: on the network called default, else
// on the first by name; a joiner at the owner of its namespaces; on the host's
// network at 127.0.0.1.
func (v view) address(name string, d *ledger.Deployed, i *ledger.Instance, c *engine.Container) netip.Addr {
	if unit := d.Service.Unit; unit != "" && unit != name && joinsNetwork(&d.Service) {
		return v.ownerAddress(name, unit, d, i)
	}
	if d.Service.Container.NetworkMode == "host" {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	addrs := i.Addresses
	if len(addrs) == 0 {
		addrs = c.Addresses
	}
	for _, at := range v.attachments(&d.Service) {
		if a, ok := addrs[at]; ok && a.IsValid() {
			return a
		}
	}
	for _, n := range slices.Sorted(maps.Keys(addrs)) {
		if addrs[n].IsValid() {
			return addrs[n]
		}
	}
	return netip.Addr{}
}

func joinsNetwork(s *manifests.Service) bool {
	return len(s.Container.NetworkMode) > 8 && s.Container.NetworkMode[:8] == "service:"
}

// ownerAddress is the address of the container whose network a joiner uses.
func (v view) ownerAddress(name, unit string, d *ledger.Deployed, i *ledger.Instance) netip.Addr {
	t := turn{app: v.app, obs: &Observation{Containers: v.containers}}
	o := t.sibling(name, unit, d)
	if o == nil {
		return netip.Addr{}
	}
	for k := range o.Instances {
		if o.Instances[k].Index == i.Index || len(o.Instances) == 1 {
			c := v.containers[o.Instances[k].Container]
			return v.address(unit, o, &o.Instances[k], &c)
		}
	}
	return netip.Addr{}
}

// attachments are the engine's names of a service's networks, in the order in
// which they are dialled.
func (v view) attachments(s *manifests.Service) []string {
	specs := v.app.NetworkSpecs
	if v.app.Rollout != nil {
		specs = slices.Concat(v.app.Rollout.Networks, specs)
	}
	var keys []string
	for _, a := range s.Container.Networks {
		keys = append(keys, a.Network)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if (a == "default") != (b == "default") {
			if a == "default" {
				return -1
			}
			return 1
		}
		return slices.Compare([]byte(a), []byte(b))
	})
	var out []string
	for _, key := range keys {
		if k := slices.IndexFunc(specs, func(n manifests.Network) bool { return n.Key == key }); k >= 0 {
			out = append(out, specs[k].Name)
		}
	}
	return out
}
