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
		Wanted: p.wanted(), Target: p.target(),
		NoChange: len(p.changes) == 0, PinEnded: p.pinEnded(),
		Warnings: p.warnings(),
	}
	if r.FastLane = p.fastLane(r.Kind); r.FastLane {
		r.Waves = []ledger.Wave{{Services: slices.Sorted(maps.Keys(p.changes))}}
	}
	r.Steps = p.steps(r)
	if hold == nil && !r.NoChange {
		hold = p.hold()
	}
	r.Hold = hold
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

// names returns the desired services in order.
func (p *planner) names() []string { return slices.Sorted(maps.Keys(p.want)) }

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
