package plan

import (
	"slices"

	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// kind says why the rollout would run.
func (p *planner) kind() ledger.RolloutKind {
	switch {
	case len(p.changes) > 0 && p.all(ledger.Drop):
		return ledger.Remove
	case p.restartOnly():
		return ledger.Restart
	case p.isReturn():
		return ledger.Return
	}
	return ledger.Apply
}

func (p *planner) all(action ledger.ChangeAction) bool {
	for _, c := range p.changes {
		if c.Action != action {
			return false
		}
	}
	return true
}

// restartOnly says that the same releases get fresh containers because a
// person asked for it.
func (p *planner) restartOnly() bool {
	asked := false
	for _, c := range p.changes {
		if c.Action != ledger.Replace || c.From == nil || c.From.ID != c.To.ID {
			return false
		}
		asked = asked || c.Cause == "restart"
	}
	return asked
}

// isReturn says that every changed service goes back to a release that was
// promoted here among the last five. Services that only follow another's
// replacement do not count; a one-shot to be run, a new service or changed
// host inputs make it an ordinary rollout.
func (p *planner) isReturn() bool {
	back := false
	for name, c := range p.changes {
		switch {
		case c.Action == ledger.Run:
			return false
		case c.Action != ledger.Replace:
		case c.From == nil:
			return false
		case c.From.ID == c.To.ID && c.From.Hostrev != c.To.Hostrev:
			return false
		case c.From.ID == c.To.ID:
		case !p.promoted(name, c.To.ID):
			return false
		default:
			back = true
		}
	}
	return back
}

// promoted says whether a release was among the last five of a service.
func (p *planner) promoted(name, release string) bool {
	return slices.ContainsFunc(p.known(name).Promoted, func(r ledger.Release) bool { return r.ID == release })
}

// fastLane says that every changed service stands by, and that the order in
// which they come back does not matter: a service with data, or a stop-first
// one that is called, comes back in its wave.
func (p *planner) fastLane(kind ledger.RolloutKind) bool {
	if kind != ledger.Return {
		return false
	}
	for _, c := range p.changes {
		if c.Action == ledger.Scale || c.Action == ledger.Replace && (!c.FromStandby || ordered(c)) {
			return false
		}
	}
	return true
}

// ordered says that others may need a service to be back before they are.
func ordered(c *ledger.Change) bool {
	return c.To.Service.WritesData || c.Kind == manifests.KindEndpoint && c.Order == manifests.StopFirst
}
