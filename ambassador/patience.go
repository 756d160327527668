package ambassador

import (
	"sync/atomic"
	"time"
)

// impatient is the idle time of servers that close connections so early that
// none is safe for what cannot be sent again.
const impatient = time.Second

// patience is what was learnt of how long a server keeps an idle connection. It
// decides which connections are young enough for a request that cannot be sent
// again. It is safe for concurrent use.
type patience struct {
	// proven is the longest idle time after which a connection was still open,
	// or the server said it would be; negative when it was seen to close early.
	proven atomic.Int64
}

// hasty marks a server that closes early.
const hasty = -1

// open says that a connection was open after idle.
func (p *patience) open(idle time.Duration) {
	was := p.proven.Load()
	if was == hasty && idle < impatient || int64(idle) <= was {
		return
	}
	p.proven.CompareAndSwap(was, int64(idle))
}

// told is what the server says.
func (p *patience) told(idle time.Duration) {
	if p.proven.Load() != hasty {
		p.open(idle)
	}
}

// closed says that a connection was found closed after idle.
func (p *patience) closed(idle time.Duration) {
	if idle < impatient {
		p.proven.Store(hasty)
	} else if p.proven.Load() > int64(idle) {
		p.proven.Store(0)
	}
}

// young is up to which idle time a connection is safe for what cannot be sent
// again: a quarter of what was proven, so that a busy machine on either side does
// not make it late. None is while nothing is known: some servers close after
// each answer without a word.
func (p *patience) young() time.Duration {
	return max(time.Duration(p.proven.Load())/4, 0)
}
