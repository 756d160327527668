package plan

import (
	"maps"
	"slices"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// planner is one plan being made.
type planner struct {
	Input
	// want is each desired service with its release.
	want map[string]ledger.Release
	// order lists the services by name, units those of each unit, and waiting
	// those that name a service in depends_on.
	order   []string
	units   map[string][]string
	waiting map[string][]string
	// changes grow until nothing follows from them any more.
	changes map[string]*ledger.Change
}

// Plan says what the revision changes and in which order, or which hard rule
// forbids it. After a success, planning the same again gives NoChange.
func Plan(in Input) Result {
	p := &planner{Input: in, changes: map[string]*ledger.Change{}}
	if hold := p.resolve(); hold != nil {
		return Result{Kind: ledger.Apply, Hold: hold}
	}
	p.findChanges()
	waves, hold := p.waves()
	r := Result{
		Kind: p.kind(), Changes: p.changes, Waves: waves,
		Networks: usedNetworks(in.App), Volumes: usedVolumes(in.App),
		Wanted: p.wanted(), NoChange: len(p.changes) == 0, PinEnded: p.pinEnded(),
	}
	if r.FastLane = p.fastLane(r.Kind); r.FastLane {
		r.Waves = []ledger.Wave{{Services: slices.Sorted(maps.Keys(p.changes))}}
	}
	if hold == nil && !r.NoChange {
		r.Steps, hold = p.steps(r), p.hold()
	}
	if r.Hold = hold; hold != nil {
		r.Again = p.again(hold)
	}
	return r
}

// wanted is the desired release of each service.
func (p *planner) wanted() map[string]string {
	wanted := make(map[string]string, len(p.want))
	for name, r := range p.want {
		wanted[name] = r.ID
	}
	return wanted
}

// Wanted is the desired release of each service, without those whose image is
// not known.
func Wanted(app manifests.App, images map[string]Image) map[string]string {
	ids := identities(images)
	wanted := make(map[string]string, len(app.Services))
	for i := range app.Services {
		name := app.Services[i].Name
		if id, err := app.Release(name, ids); err == nil {
			wanted[name] = string(id)
		}
	}
	return wanted
}

// Target is what the rollout under way leads to, in the form of [Wanted]; nil
// without one.
func Target(app ledger.App) map[string]string {
	if app.Rollout == nil {
		return nil
	}
	return app.Rollout.Wanted
}

// Deployment returns the containers that a plan gives a service: those of its
// change, else the active ones; nil where it has none.
func Deployment(in Input, r Result, service string) *ledger.Deployed {
	if c := r.Changes[service]; c != nil {
		return c.To
	}
	if s := in.Ledger.Services[service]; s != nil {
		return s.Active
	}
	return nil
}

// index prepares what is looked up again and again.
func (p *planner) index() {
	p.order = slices.Sorted(maps.Keys(p.want))
	p.units, p.waiting = map[string][]string{}, map[string][]string{}
	for _, name := range p.order {
		unit := p.want[name].Service.Unit
		p.units[unit] = append(p.units[unit], name)
		for _, d := range p.dependencies(name) {
			p.waiting[d] = append(p.waiting[d], name)
		}
	}
}

// names returns the desired services in order.
func (p *planner) names() []string { return p.order }

// unit returns the services of name's unit.
func (p *planner) unit(name string) []string { return p.units[p.want[name].Service.Unit] }

// dependencies are the app's services that name waits for.
func (p *planner) dependencies(name string) []string {
	var out []string
	for _, d := range p.want[name].Service.DependsOn {
		if _, ok := p.want[d.Service]; ok && d.Service != name {
			out = append(out, d.Service)
		}
	}
	return out
}

// known returns what the ledger has of a service; never nil.
func (p *planner) known(name string) *ledger.Service {
	if s := p.Ledger.Services[name]; s != nil {
		return s
	}
	return &ledger.Service{Name: name}
}

// usedNetworks are the networks that a service joins, without those that only
// the file lists.
func usedNetworks(app manifests.App) []manifests.Network {
	used := map[string]bool{}
	for _, s := range app.Services {
		for _, at := range s.Container.Networks {
			used[at.Network] = true
		}
	}
	var out []manifests.Network
	for _, n := range app.Networks {
		if used[n.Key] {
			out = append(out, n)
		}
	}
	return out
}

// usedVolumes are the named volumes that a service mounts.
func usedVolumes(app manifests.App) []manifests.Volume {
	used := map[string]bool{}
	for _, s := range app.Services {
		for _, m := range s.Container.Mounts {
			used[m.Source] = used[m.Source] || m.Kind == manifests.MountVolume
		}
	}
	var out []manifests.Volume
	for _, v := range app.Volumes {
		if used[v.Key] {
			out = append(out, v)
		}
	}
	return out
}

// Show returns the plan as `remora plan` prints it.
func (r Result) Show(app string) status.PlanApp {
	switch {
	case r.Hold != nil:
		return status.PlanApp{App: app, Reason: r.Hold.Reason, Message: r.Hold.String(), Steps: r.Steps}
	case r.NoChange:
		return status.PlanApp{App: app, Reason: status.NoChange, Message: "nothing that this app uses changes"}
	case r.Kind == ledger.Return:
		return status.PlanApp{App: app, Reason: status.Returning, Steps: r.Steps}
	}
	return status.PlanApp{App: app, Reason: status.Progressing, Steps: r.Steps}
}
