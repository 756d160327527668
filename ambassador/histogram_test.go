package ambassador

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestHistogramCountsEachOnce(t *testing.T) {
	var h histogram
	const each, workers = 2000, 8
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for n := range each {
				h.observe(uint32(w), time.Duration(n)*time.Millisecond)
			}
		})
	}
	wg.Wait()
	d := h.read()
	for i, bound := range bounds {
		want := workers * min(each, uint64(bound/time.Millisecond)+1)
		if d.upTo[i] != want {
			t.Errorf("up to %s: %d, want %d", bound, d.upTo[i], want)
		}
	}
	if last := d.upTo[len(bounds)]; last != each*workers {
		t.Errorf("all: %d", last)
	}
	if want := workers * each * (each - 1) / 2 * time.Millisecond; d.sum != want {
		t.Errorf("sum %s, want %s", d.sum, want)
	}
}

func TestHistogramExtremes(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{0, -time.Second, math.MaxInt64 / 4} {
		h.observe(rand.Uint32(), d)
	}
	if d := h.read(); d.upTo[0] != 2 || d.upTo[len(bounds)] != 3 {
		t.Errorf("%+v", d)
	}
}

func BenchmarkHistogram(b *testing.B) {
	var h histogram
	b.ReportAllocs()
	var last atomic.Uint32
	b.RunParallel(func(pb *testing.PB) {
		shard := last.Add(1)
		for pb.Next() {
			h.observe(shard, 3*time.Millisecond)
		}
	})
}

func BenchmarkHistogramAlone(b *testing.B) {
	var h histogram
	b.ReportAllocs()
	for b.Loop() {
		h.observe(0, 3*time.Millisecond)
	}
}
