package rollout

import "github.com/remorahq/remora/reconciler/ledger"

// Serving returns the set of containers that has a service's traffic, or runs
// in the service's place: the active one, or during a rollout, after its
// switch, the new one. It is nil where there is none.
func Serving(app *ledger.App, name string) *ledger.Deployed {
	if r := app.Rollout; r != nil {
		if c := r.Changes[name]; c != nil && c.Action == ledger.Replace && c.Switched {
			return c.To
		}
	}
	if s := app.Services[name]; s != nil {
		return s.Active
	}
	return nil
}

// undoing says that the rollout under way goes back.
func undoing(r *ledger.Rollout) bool {
	return r.Phase == ledger.Discarding || r.Phase == ledger.RollingBack
}
