package ambassador

import (
	"slices"
	"sync"
	"time"
)

// When a request is sent again:
//
//	nothing was sent            any method, to another instance
//	a kept connection was       once, on a fresh connection, if the request is
//	closed meanwhile            replayable
//	sent, no answer             replayable ones, to another instance, within
//	                            maxRepeats, repeatFor and the service's budget
//	502, 503, 504               the same, where the route wants it, once
//	the drain's deadline        replayable ones, on the active release
//	the answer has begun        never
//
// and only while all of its body so far is at hand.
const (
	maxRepeats = 2
	repeatFor  = 10 * time.Second
)

// repeats says whether the request is sent again after an attempt.
func (x *exchange) repeats(out outcome) bool {
	if x.lost {
		return false
	}
	switch out {
	case unsent:
		return true
	case stale, kicked:
		return x.replayable()
	case declined:
		return true // as asksElsewhere decided
	case unheard:
		return x.replayable() && x.mayBurden()
	}
	return false
}

// replayable says that the request may reach an instance twice: its method is
// idempotent, or it says itself that it is recognised, or its route says so.
func (x *exchange) replayable() bool {
	r := &x.k.req
	if r.Upgrade != "" {
		return false
	}
	return r.Idempotent() || x.route().spec.Replay || len(r.Field("idempotency-key")) > 0
}

// route is the one that the request was claimed by. It is there from admit
// until the exchange is forgotten as a tunnel or stream.
func (x *exchange) route() *routeView { return x.want.route }

// mayBurden says whether another instance may be burdened with what one has
// had already. Neither a kept connection that was closed nor a drain's deadline
// counts: when a release dies, its instances' connections are lost first.
func (x *exchange) mayBurden() bool {
	if x.burdens >= maxRepeats || time.Since(x.verdict.arrived) >= repeatFor || !x.claim.rel.svc.repeats.take(x.k.now, x.route().sv) {
		return false
	}
	x.burdens++
	return true
}

// asksElsewhere says that the answer at hand is dropped and another instance is
// asked.
func (x *exchange) asksElsewhere() bool {
	switch x.res.Status {
	case 502, 503, 504:
	default:
		return false
	}
	rv := x.route()
	if rv == nil || !rv.spec.Retry5xx || x.declined || x.streams || x.lost || !x.replayable() {
		return false
	}
	w := x.want
	w.tried = append(slices.Clone(w.tried), x.claim.ep)
	if rv.sv.decide(&w).ev == nil || !x.mayBurden() {
		return false
	}
	x.declined = true
	return true
}

// repeatBudget bounds the repeated requests of a service to ten a second, saved
// up for ten seconds, and a fifth of its requests, which lapse over ten seconds.
type repeatBudget struct {
	mu     sync.Mutex
	saved  float64 // of the ten a second
	earned float64 // by requests
	seen   uint64  // requests until then
	at     time.Time
}

const (
	repeatShare    = 0.2
	repeatsASecond = 10
	repeatWindow   = 10 * time.Second
)

// take takes one repetition out of the budget, if there is one.
func (b *repeatBudget) take(now time.Time, sv *serviceView) bool {
	var total uint64
	for _, rv := range sv.releases {
		total += rv.rel.total.Load()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(now, total)
	switch {
	case b.earned >= 1:
		b.earned--
	case b.saved >= 1:
		b.saved--
	default:
		return false
	}
	return true
}

func (b *repeatBudget) refill(now time.Time, total uint64) {
	past := repeatWindow
	if !b.at.IsZero() {
		past = min(max(now.Sub(b.at), 0), repeatWindow)
	}
	b.saved = min(b.saved+past.Seconds()*repeatsASecond, repeatWindow.Seconds()*repeatsASecond)
	b.earned *= 1 - float64(past)/float64(repeatWindow)
	if total > b.seen { // releases that left took their counts along
		b.earned += repeatShare * float64(total-b.seen)
	}
	b.seen, b.at = total, now
}
