package plan

import (
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// canaryNote says in which steps a change gets the traffic, or why it gets it at
// once though the file asks for a canary.
func canaryNote(s manifests.Service, c *ledger.Change) string {
	switch {
	case s.Canary == nil || c.From == nil:
		return ""
	case c.Order == manifests.StopFirst:
		return "! no canary: " + orderText(s.Order, s.OrderWhy)
	case c.FromStandby || !c.Canaried():
		return ""
	}
	return "canary: " + s.Canary.String()
}
