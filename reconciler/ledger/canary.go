package ledger

import (
	"time"

	"github.com/remorahq/remora/manifests"
)

// Trial is how far the canary of a change has come.
type Trial struct {
	// Stage counts the mirroring, where there is any, and the steps after it,
	// from 0. At [Stages] the canary is over and keeps its last share until the
	// switch.
	Stage int `json:"stage"`
	// Since is when the ambassador was first seen to serve the stage; zero
	// before.
	Since time.Time `json:"since,omitzero"`
}

// Canaried says that a change has another release than what serves and asks for
// a canary.
func (c *Change) Canaried() bool {
	if c.Action != Replace || c.FromStandby || c.From == nil || c.To == nil || c.To.Service.Canary == nil {
		return false
	}
	return c.From.ID != c.To.ID || c.From.Hostrev != c.To.Hostrev
}

// Stages is how many stages a canary has.
func Stages(c *manifests.Canary) int {
	n := len(c.Steps)
	if c.Mirror > 0 {
		n++
	}
	return n
}

// Stage returns the shares of a stage, in ten-thousandths: of new requests, and
// of requests that are mirrored.
func Stage(c *manifests.Canary, stage int) (share, mirror int) {
	if c.Mirror > 0 {
		if stage == 0 {
			return 0, c.Mirror
		}
		stage--
	}
	if len(c.Steps) == 0 {
		return 0, 0
	}
	return c.Steps[min(stage, len(c.Steps)-1)], 0
}
