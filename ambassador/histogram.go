package ambassador

import (
	"sync/atomic"
	"time"
)

// bounds are the upper bounds of a histogram's buckets, the last one without.
var bounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, 60 * time.Second,
}

// cells is a power of two: how many goroutines count without disturbing each
// other.
const cells = 4

// histogram counts durations. Its zero value is ready; it may be used from any
// goroutine.
type histogram struct {
	cells [cells]struct {
		counts [len(bounds) + 1]atomic.Uint64
		sum    atomic.Int64 // nanoseconds
		_      [56]byte     // three whole cache lines
	}
}

// observe counts d. Callers with different shards count in different places.
func (h *histogram) observe(shard uint32, d time.Duration) {
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	c := &h.cells[shard%cells]
	c.counts[i].Add(1)
	c.sum.Add(int64(d))
}

// distribution is a histogram read at a moment.
type distribution struct {
	// upTo[i] counts what was at most bounds[i], the last one all.
	upTo [len(bounds) + 1]uint64
	sum  time.Duration
}

func (h *histogram) read() distribution {
	var d distribution
	for c := range h.cells {
		d.sum += time.Duration(h.cells[c].sum.Load())
		for i := range d.upTo {
			d.upTo[i] += h.cells[c].counts[i].Load()
		}
	}
	for i := range bounds {
		d.upTo[i+1] += d.upTo[i]
	}
	return d
}

// add adds another one's counts.
func (d *distribution) add(o distribution) {
	d.sum += o.sum
	for i := range d.upTo {
		d.upTo[i] += o.upTo[i]
	}
}
