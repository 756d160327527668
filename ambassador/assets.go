package ambassador

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/internal/traffic"
)

const (
	// assetBody is how much of the body of a 404 is read so that its connection
	// can be kept.
	assetBody = 64 << 10
	// assetLimit is how long another release may take to answer.
	assetLimit = 5 * time.Second
)

// isAsset says whether a path is one of the patterns: a path, or a beginning
// with "*" after it.
func isAsset(patterns []string, path []byte) bool {
	for _, p := range patterns {
		before, isPrefix := strings.CutSuffix(p, "*")
		if string(path) == before || isPrefix && len(path) > len(before) && string(path[:len(before)]) == before {
			return true
		}
	}
	return false
}

// lender is another release that may still have what an old page, or a new one,
// asks for: the active one, the canary, a standby that runs, or one that drains.
func (sv *serviceView) lender(not *release) *releaseView {
	var best *releaseView
	for _, rv := range sv.releases {
		if rv.rel == not || !rv.open && !rv.lends || !rv.fit(nil) {
			continue
		}
		if best == nil || rank(rv) > rank(best) {
			best = rv
		}
	}
	return best
}

// rank orders releases by how likely they are to have an asset.
func rank(rv *releaseView) int {
	switch rv.spec.State {
	case traffic.Active:
		return 4
	case traffic.Canary:
		return 3
	case traffic.Standby:
		return 2
	case traffic.Draining:
		return 1
	case traffic.Warming:
	}
	return 0
}

// lend counts a request in on a release that is open, or that drains and has
// not been reported drained. With the claim protocol's order, either the report
// sees the count or the borrower that the release is shut.
func (r *release) lend() bool {
	r.requests.Add(1)
	if r.closed.Load() && r.shut.Load() {
		r.requests.Add(-1)
		return false
	}
	return true
}

// isAsset says that the request is for an asset of its route.
func (w *want) isAsset(r *http1.Request) bool {
	return w.route != nil && len(w.route.spec.Assets) > 0 && (r.Method == "GET" || r.Method == "HEAD") &&
		r.Length == 0 && isAsset(w.route.spec.Assets, r.Path)
}

// borrow claims another release than one that does not have an asset. As claim,
// one that backs off tells so.
func (wk *Worker) borrow(rv *routeView, not *release) (claim, bool) {
	from := rv.sv.lender(not)
	if from == nil {
		return claim{}, false
	}
	ev := from.pick(nil, rand.Uint32())
	if ev == nil {
		return claim{}, false
	}
	if !from.rel.lend() {
		wk.changed.fire()
		return claim{}, false
	}
	ev.ep.inflight.Add(1)
	return claim{rel: from.rel, ep: ev.ep, port: rv.spec.Port}, true
}

// borrowed asks the other release for an asset that this one does not have
// (404), once. If the other has it, the exchange goes on with its answer;
// else with the one that it has, whose body is not read before that is known.
func (x *exchange) borrowed() {
	if x.res.Status != 404 || x.borrows || x.pinned || !x.want.isAsset(&x.k.req) {
		return
	}
	cl, ok := x.k.wk.borrow(x.want.route, x.claim.rel)
	if !ok {
		return
	}
	first := x.putAside()
	x.claim, x.borrows = cl, true
	if x.ask() && x.res.Status < 400 {
		first.end(x)
		x.verdict.rel, x.verdict.ep = x.claim.rel, x.claim.ep
		x.claim.rel.lent.Add(1)
		return
	}
	if x.up != nil {
		x.unlist()
		_ = x.up.Close()
		x.k.wk.readers.put(x.ubr)
	}
	x.claim.end(x.k.wk.changed.fire)
	first.takeBack(x)
}

// aside is an answer that waits until it is known whether there is a better one.
type aside struct {
	claim claim
	up    *upstream
	ubr   *bufio.Reader
	res   http1.Response
}

func (x *exchange) putAside() aside {
	x.unlist()
	a := aside{x.claim, x.up, x.ubr, x.res}
	x.up, x.ubr, x.res, x.flight = nil, nil, http1.Response{}, flight{}
	return a
}

// takeBack goes on with the answer.
func (a *aside) takeBack(x *exchange) {
	x.claim, x.up, x.ubr, x.res, x.flight = a.claim, a.up, a.ubr, a.res, flight{}
}

// end gives the answer up, and keeps its connection if little is left of it.
func (a *aside) end(x *exchange) {
	a.claim.rel.total.Add(1)
	a.res.Discard(a.ubr)
	var body http1.Body
	body.Reset(a.ubr, a.res.Length)
	a.up.readDeadline(time.Now(), firstLook)
	small := a.res.Length <= assetBody && drops(&body)
	if small && a.res.KeepAlive && a.ubr.Buffered() == 0 && !a.claim.rel.closed.Load() {
		a.up.put(x.k.now, a.res.Idle)
	} else {
		_ = a.up.Close()
	}
	x.k.wk.readers.put(a.ubr)
	a.claim.end(x.k.wk.changed.fire)
}

// drops reads a body to its end, if that comes soon.
func drops(body *http1.Body) bool {
	n, err := io.CopyN(io.Discard, body, assetBody)
	return n < assetBody && errors.Is(err, io.EOF)
}

// ask sends the request to the claimed release, on a kept connection or, when
// that had been closed, on a new one; it says whether there is an answer.
func (x *exchange) ask() bool {
	ep := x.claim.ep
	for _, kept := range []bool{true, false} {
		if kept {
			x.up = ep.pool(x.claim.port).get(x.k.now, maxIdle)
		} else {
			x.up, _ = ep.dial(x.claim.port)
		}
		if x.up == nil {
			continue
		}
		x.ubr = x.k.wk.readers.get(x.up)
		if x.asks() {
			return true
		}
		x.unlist()
		_ = x.up.Close()
		x.k.wk.readers.put(x.ubr)
		x.up, x.ubr = nil, nil
	}
	return false
}

// asks sends the head and reads an answer's. The client waits no longer than
// assetLimit for what it may get a 404 for.
func (x *exchange) asks() bool {
	x.up.writeDeadline(x.k.now)
	n, err := x.up.Write(x.out)
	x.claim.rel.bytesIn.Add(uint64(n))
	by := time.Now().Add(assetLimit)
	for err == nil {
		err = x.patiently(func(x *exchange) error {
			if time.Now().After(by) {
				return errBroken
			}
			return x.res.Read(x.ubr, x.k.req.Method)
		})
		switch {
		case err != nil, x.res.Status == 101:
			return false
		case x.res.Status >= 200:
			return true
		}
		x.res.Discard(x.ubr)
	}
	return false
}

// unlist takes the exchange from its release's flights.
func (x *exchange) unlist() {
	if x.listed {
		x.claim.rel.delist(&x.flight)
		x.listed = false
		if x.flight.kicked.Load() {
			x.k.writeBy = time.Time{} // stop may have moved it
		}
	}
}
