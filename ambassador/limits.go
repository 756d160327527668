package ambassador

import (
	"cmp"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// bodyGrace is how long the bytes of a body are waited for before their rate
// matters.
const bodyGrace = 10 * time.Second

// limits are those of a table, with their defaults.
type limits struct {
	// header is how long a request's head may take from its first byte.
	header time.Duration
	// bodyRate is how many bytes a second of a body have to come on average,
	// after the first bodyGrace of waiting for them.
	bodyRate float64
	// idle is about how long a client connection may be idle: never less than
	// half of it.
	idle time.Duration
}

func newLimits(l traffic.Limits) limits {
	return limits{
		header:   cmp.Or(l.Header, 10*time.Second),
		bodyRate: float64(cmp.Or(l.BodyRate, 240)),
		idle:     cmp.Or(l.Idle, 120*time.Second),
	}
}

// trickles says that a body of which n bytes came while we waited for them comes
// too slowly.
func (l limits) trickles(n int64, waited time.Duration) bool {
	return waited > bodyGrace && float64(n) < waited.Seconds()*l.bodyRate
}
