package plan

import (
	"slices"

	"github.com/remorahq/remora/reconciler/ledger"
)

// Peers returns the releases of the app's services that belong with one of
// service's releases. candidate says that the release is the rollout's new
// one, not the active one: both may have the same ID.
func Peers(app ledger.App, service string, r ledger.Release, candidate bool) map[string]Peer {
	out := map[string]Peer{}
	for _, name := range services(app) {
		d := current(app, name)
		if r.Service.Unit != "" && unitOf(app, name) == r.Service.Unit {
			d = member(app, name, r.ID, candidate)
		}
		if d != nil && name != service {
			out[name] = Peer{Release: d.Release, Instances: d.Instances}
		}
	}
	return out
}

// services are all that the ledger and its rollout know, in order.
func services(app ledger.App) []string {
	var names []string
	for name := range app.Services {
		names = append(names, name)
	}
	if app.Rollout != nil {
		for name := range app.Rollout.Changes {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// change returns what the rollout does to a service, or nil.
func change(app ledger.App, name string) *ledger.Change {
	if app.Rollout == nil {
		return nil
	}
	return app.Rollout.Changes[name]
}

// current is the release that a new container should find: the rollout's, else
// the active one.
func current(app ledger.App, name string) *ledger.Deployed {
	if c := change(app, name); c != nil && c.Action != ledger.Run {
		return c.To
	}
	if s := app.Services[name]; s != nil {
		return s.Active
	}
	return nil
}

func unitOf(app ledger.App, name string) string {
	if d := current(app, name); d != nil {
		return d.Service.Unit
	}
	if s := app.Services[name]; s != nil && s.Active != nil {
		return s.Active.Service.Unit
	}
	return ""
}

// member is the other member of a unit with the same release.
func member(app ledger.App, name, release string, candidate bool) *ledger.Deployed {
	var list []*ledger.Deployed
	if s := app.Services[name]; s != nil {
		list = slices.Concat([]*ledger.Deployed{s.Active, s.Standby}, s.Leaving)
	}
	if c := change(app, name); c != nil {
		if candidate {
			list = slices.Insert(list, 0, c.To)
		} else {
			list = append(list, c.From, c.To)
		}
	}
	for _, d := range list {
		if d != nil && d.ID == release {
			return d
		}
	}
	return nil
}
