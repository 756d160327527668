package ambassador

import (
	"time"

	"github.com/remorahq/remora/ambassador/page"
)

// Who may use a route, and how much. A refused request gets an answer, a
// refused tunnel a reset before anything is dialled.

var (
	errDenied = refuse(page.Denied)
	errBusy   = refuse(page.Busy)
)

// enter asks whether the want may use its route. What it takes of the route is
// given back by leave.
func (w *want) enter(rv *routeView, started time.Time) error {
	w.findClient()
	if !rv.allows(w) {
		return errDenied
	}
	if rv.limiter != nil {
		if wait := rv.limiter.take(keyOfClient(w.client), w.arrived.Sub(started), rv.spec.Rate); wait > 0 {
			return tooMany(wait)
		}
	}
	if !w.sit(rv) {
		return errBusy
	}
	if rv.sv.split != nil {
		rv.sv.split.draw(w)
	}
	return nil
}

// allows says whether the client is one of the route's.
func (rv *routeView) allows(w *want) bool {
	if len(rv.spec.Allow) == 0 {
		return true
	}
	for _, p := range rv.spec.Allow {
		if p.Contains(w.client) {
			return true
		}
	}
	return false
}

func tooMany(wait time.Duration) *refusal {
	return &refusal{code: page.RateLimited, retryAfter: int((wait + time.Second - 1) / time.Second)}
}

// sit takes one of the places of a route that has a limited number of them.
func (w *want) sit(rv *routeView) bool {
	most := rv.spec.MaxConns
	if most == 0 {
		return true
	}
	if rv.rt.seats.Add(1) > int64(most) {
		rv.rt.seats.Add(-1)
		return false
	}
	w.seat = rv.rt
	return true
}

// leave gives back what the want took of its route. It may be called twice.
func (w *want) leave() {
	if w.seat != nil {
		w.seat.seats.Add(-1)
		w.seat = nil
	}
}
