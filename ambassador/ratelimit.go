package ambassador

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

const (
	// limiterShards keeps clients from waiting for each other's bucket.
	limiterShards = 16
	// limiterClients is how many clients one shard remembers: about 65,000 a
	// route in all, some 3 MB.
	limiterClients = 4096
	// limiterSample is how many buckets are looked at for the one to forget.
	limiterSample = 8
)

// limiter holds a token bucket for every client of a route that asked of late.
// A bucket is kept as the moment at which it is full again (GCRA), so that it
// is a number, and one that is full is the same as none.
type limiter struct {
	seed   uint64
	shards [limiterShards]limiterShard
}

type limiterShard struct {
	mu    sync.Mutex
	full  map[clientKey]time.Duration
	swept time.Duration
	_     [32]byte // no two shards in one cache line
}

func newLimiter() *limiter {
	l := &limiter{seed: rand.Uint64()}
	for i := range l.shards {
		l.shards[i].full = make(map[clientKey]time.Duration)
	}
	return l
}

// take takes a token of the client's bucket at a moment, counted from any fixed
// one. It returns 0, or after how long there is a token again.
func (l *limiter) take(c clientKey, now time.Duration, rate traffic.Rate) time.Duration {
	each := time.Duration(float64(time.Second) / rate.PerSecond)
	s := &l.shards[c.mixed(l.seed)%limiterShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	full, known := s.full[c]
	next := max(full, now) + each
	if wait := next - now - each*time.Duration(max(rate.Burst, 1)); wait > 0 {
		return wait
	}
	if !known && len(s.full) >= limiterClients {
		s.forget(now)
	}
	s.full[c] = next
	return 0
}

// forget makes room: all buckets that are full go, at most once a second, else
// the fullest of some.
func (s *limiterShard) forget(now time.Duration) {
	if now-s.swept >= time.Second {
		s.swept = now
		for c, full := range s.full {
			if full <= now {
				delete(s.full, c)
			}
		}
		if len(s.full) < limiterClients {
			return
		}
	}
	var victim clientKey
	least, seen := time.Duration(0), 0
	for c, full := range s.full {
		if seen == 0 || full < least {
			victim, least = c, full
		}
		if seen++; seen == limiterSample {
			break
		}
	}
	delete(s.full, victim)
}
