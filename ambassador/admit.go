package ambassador

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/remorahq/remora/ambassador/page"
	"github.com/remorahq/remora/ambassador/sni"
	"github.com/remorahq/remora/internal/traffic"
)

// want is what a request or connection asks for. It is resolved again
// whenever the table changed.
type want struct {
	listener traffic.ListenerKey
	// host and path of a request; a connection has none. target is its target
	// with the query, in origin form.
	host, path, target []byte
	tunnel             bool
	// secure says that the client came over TLS.
	secure bool
	// authority is the certificate of authorities that the client's own one
	// comes from; empty where none was asked for.
	authority string
	// passes is the hello of a connection that is passed through.
	passes  *sni.Hello
	arrived time.Time
	// client is the address that limits go by.
	client netip.Addr
	// tried are endpoints that cannot be reached; they are not chosen again.
	tried []*endpoint
	// slow says that one of them did not refuse but took too long, and since
	// is when the first one failed.
	slow  bool
	since time.Time
	// waited says that it was held.
	waited bool
	// pinned is the endpoint that the client's connection is authenticated
	// with, or nil.
	pinned *endpoint
	by     asker
	// lot is where it falls between releases, and seat the route that it has a
	// place of, until leave.
	lot  lot
	seat *routeRuntime
	// view and route are what the want was resolved with last; see forget.
	view  *view
	route *routeView
}

// asker is who wants: an exchange of HTTP/1 or HTTP/2, or a connection.
type asker interface {
	// gone says whether the client has left.
	gone() bool
	// field returns the first value of a request's header field, its name in
	// lower case, or nil.
	field(lower string) []byte
	// fieldFromEnd returns the value of the i-th last line of a field, from 0,
	// or nil: what stands last was added by who is nearest.
	fieldFromEnd(lower string, i int) []byte
}

// slowLimit is for how long after its first failure a request goes round again
// when endpoints took too long to connect, which may be a busy host's fault.
const slowLimit = 3 * time.Second

// failed notes an endpoint that could not be connected to.
func (w *want) failed(ep *endpoint, err error) {
	if w.since.IsZero() {
		w.since = time.Now()
	}
	w.tried = append(w.tried, ep)
	w.slow = w.slow || cause(err) == timedOut
}

// again says whether all endpoints may be tried once more, after acquire
// failed. Nothing was sent yet.
func (w *want) again(err error) bool {
	if !w.slow || !errors.Is(err, errUnreached) || time.Since(w.since) > slowLimit || w.by.gone() {
		return false
	}
	w.tried, w.slow = w.tried[:0], false
	return true
}

// leftError says that the client has left.
type leftError struct{}

func (leftError) Error() string { return "the client has left" }

// acquire claims a release and an endpoint for w, and waits where the service
// holds. Errors are [*refusal] and leftError.
func (wk *Worker) acquire(w *want) (claim, error) {
	var woken <-chan struct{}
	var h holding
	defer h.end(wk)
	for {
		v := wk.view.Load()
		rv, err := w.resolve(v)
		if err != nil {
			return claim{}, err
		}
		sv := rv.sv
		d := sv.decide(w)
		switch {
		case d.err != nil:
			return claim{}, d.err
		case d.ev != nil:
			cl, ok := wk.claim(d, rv.spec.Port, w.tunnel)
			if !ok {
				continue // closed: another table is in force
			}
			if d.from != nil {
				d.from.rel.spilled.Add(1)
			}
			return cl, nil
		case woken == nil:
			// Decide once more after taking the channel, so that no wake is lost.
			woken = sv.svc.wake.wait()
		default:
			w.waited = true
			if err := h.wait(wk, v, sv, w, woken, d.why); err != nil {
				return claim{}, err
			}
			woken, w.tried = nil, w.tried[:0]
		}
	}
}

// resolve finds the route that the want takes in a view. Errors are [*refusal].
func (w *want) resolve(v *view) (*routeView, error) {
	if w.view == v {
		return w.route, nil
	}
	lv := v.listeners[w.listener]
	if lv == nil {
		return nil, errUnpublished
	}
	if w.passes != nil {
		rv, err := lv.passed(w.passes)
		if err == nil {
			w.view, w.route = v, rv
		}
		return rv, err
	}
	i, err := lv.routeOf(w)
	if err != nil {
		return nil, err
	}
	rv := lv.routes[i]
	if rv.sv == nil {
		return nil, errNoService
	}
	w.view, w.route = v, rv
	return rv, nil
}

// routeOf finds the route of a request or a tunnel, by its index.
func (lv *listenerView) routeOf(w *want) (int, error) {
	if w.path != nil {
		return lv.match(w.host, w.path)
	}
	i, ok := lv.router.Fallback()
	if !ok {
		return 0, errNoRoute
	}
	return i, nil
}

// forget lets go of the view: what lasts must not keep a former table.
func (w *want) forget() { w.view, w.route = nil, nil }

// admit is asked once for every request and tunnel, after its route was found
// and before a release is claimed for it; an error is a [*refusal].
func (wk *Worker) admit(w *want, rv *routeView) error {
	if err := w.barred(); err != nil {
		return err
	}
	return w.enter(rv, wk.started)
}

// barred is the part of admit that takes nothing of the route.
func (w *want) barred() error {
	if err := w.misdirected(w.view.listeners[w.listener]); err != nil {
		return err
	}
	return w.redirected(w.route, w.view.trusts(w.client))
}

// decision is to send (ev is set), to refuse (err), or to wait.
type decision struct {
	rv *releaseView
	ev *endpointView
	// from is the release that would have got it, was it well.
	from *releaseView
	err  error
	why  string
}

func (sv *serviceView) decide(w *want) decision {
	chosen, from := sv.choose(w)
	switch {
	case sv.spec.Maintenance:
		return decision{err: sv.maintenance(time.Now())}
	case chosen == nil:
		return decision{err: refuse(page.NoRelease)}
	case sv.spec.Hold:
		return decision{why: "the service is being replaced"}
	}
	ev := chosen.endpointView(w.pinned)
	if ev == nil || wasTried(w.tried, w.pinned) {
		ev = chosen.pick(w.tried, rand.Uint32())
	}
	crashed := chosen.refusing()
	switch {
	case crashed && sv.standby != nil:
		return sv.spill(w.tried)
	case crashed && sv.former:
		return decision{why: "the active release has crashed"}
	case ev != nil:
		return decision{rv: chosen, ev: ev, from: from}
	case len(w.tried) > 0 && sv.standby != nil && sv.standby.open:
		return sv.spill(w.tried) // it dies, and a check has yet to tell
	case chosen.anyUnverified():
		return decision{why: "the host was restarted and its containers are not confirmed yet"}
	}
	if len(w.tried) > 0 {
		return decision{err: errUnreached}
	}
	return decision{err: refuse(page.NoInstance)}
}

// spill leads to the standby, or waits until it runs.
func (sv *serviceView) spill(tried []*endpoint) decision {
	if !sv.standby.open {
		return decision{why: "the active release has crashed"}
	}
	if ev := sv.standby.pick(tried, rand.Uint32()); ev != nil {
		return decision{rv: sv.standby, ev: ev, from: sv.active}
	}
	return decision{why: "the active release and its standby have crashed"}
}

// holding is the waiting of one request.
type holding struct {
	svc   *service
	timer *time.Timer
}

// goneEvery is how often a held request looks whether its client has left.
const goneEvery = 250 * time.Millisecond

// wait waits for a change, at most until the service's HoldFor after arrival.
func (h *holding) wait(wk *Worker, v *view, sv *serviceView, w *want, woken <-chan struct{}, why string) error {
	left := sv.spec.HoldFor - time.Since(w.arrived)
	if left <= 0 {
		return &refusal{code: page.Held, text: "This service did not answer within " + sv.spec.HoldFor.String() + "."}
	}
	if h.svc == nil {
		if sv.svc.held.Add(1) > maxHeld(sv.spec) {
			sv.svc.held.Add(-1)
			return refuse(page.TooManyHeld)
		}
		h.svc = sv.svc
		if sv.svc.held.Load() == 1 {
			wk.changed.fire()
		}
	}
	if h.timer == nil {
		h.timer = time.NewTimer(min(left, goneEvery))
	} else {
		h.timer.Reset(min(left, goneEvery))
	}
	select {
	case <-woken:
	case <-v.superseded:
	case <-wk.stopping:
		return refuse(page.Stopping)
	case <-h.timer.C:
		if w.by.gone() {
			return leftError{}
		}
	}
	return nil
}

func (h *holding) end(wk *Worker) {
	if h.timer != nil {
		h.timer.Stop()
	}
	if h.svc != nil && h.svc.held.Add(-1) == 0 {
		wk.changed.fire()
	}
}

// claim counts a request or tunnel in where it was decided to send it, unless
// the release is closed. One that backs off tells so: a report may have counted
// it.
func (wk *Worker) claim(d decision, port uint16, tunnel bool) (claim, bool) {
	if !d.rv.rel.claim(tunnel) {
		wk.changed.fire()
		return claim{}, false
	}
	d.ev.ep.inflight.Add(1)
	return claim{rel: d.rv.rel, ep: d.ev.ep, port: port, tunnel: tunnel}, true
}
