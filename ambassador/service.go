package ambassador

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/remorahq/remora/internal/traffic"
)

// defaultMaxHeld is how many requests of a service wait at once.
const defaultMaxHeld = 10_000

// service is what outlives tables of one service. The maps below it are
// changed only while a table is put.
type service struct {
	name    string
	held    atomic.Int64
	reasons reasonCounts
	// retries count what was sent again that had not been sent whole, replays
	// what had; ejections endpoints that were put last for a while.
	retries, replays, ejections atomic.Uint64
	releases                    map[string]*release
	wake                        broadcast
	repeats                     repeatBudget

	mu          sync.Mutex
	serverFirst []uint16 // learnt
	clientFirst []uint16 // learnt: silence does not dial these
}

func newService(name string) *service {
	return &service{name: name, releases: make(map[string]*release)}
}

// learn remembers who speaks first on a port, and says whether it is news.
func (s *service) learn(port uint16, server bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := &s.clientFirst
	if server {
		list = &s.serverFirst
	}
	if slices.Contains(*list, port) {
		return false
	}
	*list = append(*list, port)
	return true
}

func (s *service) speaksFirst(port uint16) (server, client bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.serverFirst, port), slices.Contains(s.clientFirst, port)
}

// release counts what runs on one release. requests and tunnels are claims;
// closed tells that there can be no new one (P1).
type release struct {
	svc      *service
	name     string
	requests atomic.Int64
	tunnels  atomic.Int64
	closed   atomic.Bool
	// shut says that a closed release lends nothing any more, see lend.
	shut      atomic.Bool
	endpoints map[endpointKey]*endpoint

	total         atomic.Uint64
	errors5xx     atomic.Uint64
	connectErrors atomic.Uint64
	bytesIn       atomic.Uint64
	bytesOut      atomic.Uint64
	spilled       atomic.Uint64
	// mirrored are copies sent to it, mirrorErrors those without a good answer,
	// unmirrored those that there was no room for; lent are assets that it gave
	// in place of another release.
	mirrored, mirrorErrors, unmirrored, lent atomic.Uint64

	mu      sync.Mutex
	flights map[*flight]struct{}
	drain   func() // ends the drain's timers
}

func newRelease(s *service, name string) *release {
	r := &release{svc: s, name: name, flights: make(map[*flight]struct{}), endpoints: make(map[endpointKey]*endpoint)}
	r.closed.Store(true)
	r.shut.Store(true)
	return r
}

func (r *release) setEndpoints(list []*endpointView) {
	r.endpoints = make(map[endpointKey]*endpoint, len(list))
	for _, ev := range list {
		r.endpoints[ev.ep.key] = ev.ep
		ev.ep.way.Store(wayOf(ev.spec))
		ev.ep.lost[0].Store(0)
		ev.ep.lost[1].Store(0)
	}
}

// claim counts a request or tunnel in, unless the release is closed.
func (r *release) claim(tunnel bool) bool {
	n := &r.requests
	if tunnel {
		n = &r.tunnels
	}
	n.Add(1)
	if r.closed.Load() {
		n.Add(-1)
		return false
	}
	return true
}

// drained says that nothing runs and nothing can begin; requests is the same
// without regard to tunnels. A request that becomes a tunnel is counted there
// before it is counted out here, so this order of reading misses none. A release
// that is told to be drained lends nothing from then on.
func (r *release) drained() (all, requests bool) {
	if !r.closed.Load() || r.requests.Load() != 0 {
		return false, false
	}
	if r.tunnels.Load() != 0 {
		return false, true
	}
	if !r.shut.Swap(true) && r.requests.Load() != 0 {
		return false, false // lent in this moment, for the last time
	}
	return true, true
}

// flight is a claim that takes its time and can be ended from outside.
type flight struct {
	tunnel bool
	kicked atomic.Bool
	// stop wakes the goroutine that owns the flight, which then sees kicked.
	// It is called with the release's lock held and must not block.
	stop func()
}

func (f *flight) kick() {
	f.kicked.Store(true)
	f.stop()
}

func (r *release) enlist(f *flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flights[f] = struct{}{}
}

func (r *release) delist(f *flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.flights, f)
}

// kick ends up to n flights of the kind (0 is all) and says how many there
// were.
func (r *release) kick(tunnels bool, n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := 0
	for f := range r.flights {
		if f.tunnel != tunnels {
			continue
		}
		if found++; n == 0 || found <= n {
			f.kick()
		}
	}
	return found
}

// claim is a counted right to use a release, with the endpoint chosen. It
// keeps no view: a connection may hold it long after its table is replaced.
type claim struct {
	rel    *release
	ep     *endpoint
	port   uint16
	tunnel bool
}

// end counts the claim out.
func (c *claim) end(changed func()) {
	r := c.rel
	if c.tunnel {
		r.tunnels.Add(-1)
	} else {
		r.requests.Add(-1)
	}
	c.ep.inflight.Add(-1)
	if r.closed.Load() {
		changed()
	}
}

// becomeTunnel counts a request as a tunnel from here on.
func (c *claim) becomeTunnel(changed func()) {
	if c.tunnel {
		return
	}
	c.tunnel = true
	c.rel.tunnels.Add(1)
	c.rel.requests.Add(-1)
	if c.rel.closed.Load() {
		changed()
	}
}

// broadcast is a signal to many: wait returns a channel that the next fire closes.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

func (s *broadcast) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *broadcast) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

// maxHeld is the service's bound on waiting requests.
func maxHeld(s *traffic.Service) int64 {
	if s.MaxHeld > 0 {
		return int64(s.MaxHeld)
	}
	return defaultMaxHeld
}
