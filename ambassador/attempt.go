package ambassador

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/remorahq/remora/ambassador/http1"
)

// attempt sends the request to the claimed endpoint and serves its response.
func (x *exchange) attempt() outcome {
	ep := x.claim.ep
	up, reused, err := x.connect(ep)
	if err != nil {
		x.claim.rel.connectErrors.Add(1)
		ep.connectFailed(x.claim.port, err, func() { x.k.wk.healthChanged(ep) })
		x.want.failed(ep, err)
		return unsent
	}
	x.up = up
	x.ubr = x.k.wk.readers.get(up)
	x.flight = flight{}
	out := x.send(reused)
	x.release(out)
	switch {
	case out == unheard && reused:
		x.fresh = true // where one was closed, the others are as old
		return stale
	case out == unheard:
		ep.answered(false)
		if x.replayable() {
			x.want.tried = append(x.want.tried, ep)
		}
	}
	return out
}

// connect takes an idle connection, or dials one where the request could not
// be sent again if the idle one turned out to be closed.
func (x *exchange) connect(ep *endpoint) (up *upstream, reused bool, err error) {
	if up := x.k.pin.take(ep); up != nil {
		x.pinned = true
		return up, true, nil
	}
	p, limit := ep.pool(x.claim.port), maxIdle
	if x.pinned = x.k.req.Pins; x.pinned || x.fresh {
		limit = 0 // authentication begins on a connection of its own
	} else if !x.replayable() || x.streams {
		limit = p.patience.young()
	}
	if up := p.get(x.k.now, limit); up != nil {
		return up, true, nil
	}
	begun := time.Now()
	up, err = ep.dial(x.claim.port)
	x.verdict.connect = time.Since(begun)
	return up, false, err
}

// release gives the upstream connection back, or ends it.
func (x *exchange) release(out outcome) {
	uploaded := true
	if x.pump != nil {
		x.pump.halt(x.k)
		uploaded = x.endPump()
	}
	x.unlist()
	if x.up == nil {
		return // it became a tunnel, which has ended
	}
	clean := x.ubr.Buffered() == 0
	x.k.wk.readers.put(x.ubr)
	keep := out == served || out == ended
	if keep && clean && x.res.KeepAlive && x.res.Status >= 200 && x.reply.Done() && uploaded && !x.claim.rel.closed.Load() {
		x.keepUpstream()
	} else {
		_ = x.up.Close()
	}
	x.up, x.ubr = nil, nil
}

// keepUpstream keeps the connection for all clients, or for this one only.
func (x *exchange) keepUpstream() {
	if x.pinned {
		x.k.pin = pin{up: x.up, ep: x.claim.ep}
		return
	}
	x.up.put(x.k.now, x.res.Idle)
}

// send writes the request and serves the response.
func (x *exchange) send(reused bool) outcome {
	x.verdict.sent = x.k.now
	x.up.post(x.out)
	if x.streams {
		if err := x.up.flush(); err != nil && x.up.wrote == 0 {
			return x.notSent(reused)
		} else if err != nil || !x.startPump() {
			return unheard
		}
	}
	for interims := 0; ; interims++ {
		out, ok := x.readResponse()
		nothing := x.up.failed != nil && x.up.wrote == 0
		x.countSent()
		switch {
		case !ok && nothing:
			return x.notSent(reused)
		case !ok:
			return out
		}
		if x.res.Status >= 200 || x.res.Status == 101 {
			break
		}
		if interims == mostInterims {
			return invalid
		}
		if err := x.interim(); err != nil {
			return deserted
		}
	}
	x.borrowed()
	rel := x.claim.rel // may be a lender's
	x.k.now = time.Now()
	x.verdict.answered = x.k.now
	x.verdict.status = x.res.Status
	rel.total.Add(1)
	if x.res.Status >= 500 {
		rel.errors5xx.Add(1)
	}
	x.claim.ep.answered(true)
	if x.pump != nil {
		x.pump.answered.Store(true)
	}
	if x.asksElsewhere() {
		x.want.tried = append(x.want.tried, x.claim.ep)
		return declined
	}
	x.time()
	return x.respond()
}

// countSent counts what of the request has gone out.
func (x *exchange) countSent() {
	n := x.up.wrote
	x.up.wrote = 0
	if n > 0 {
		x.claim.rel.bytesIn.Add(uint64(n))
		x.verdict.bytesIn += int64(n)
	}
}

// notSent is a write of which nothing left: a kept connection was closed, or
// the endpoint is gone.
func (x *exchange) notSent(reused bool) outcome {
	if !reused {
		x.want.tried = append(x.want.tried, x.claim.ep)
	}
	return unsent
}

// patiently repeats a read of the upstream that loses nothing when it times
// out, until it ends, the client leaves or the drain's deadline comes. An
// exchange that lasts is enlisted, so that the deadline finds it.
func (x *exchange) patiently(read func(*exchange) error) error {
	for look := firstLook; ; look = min(4*look, lastLook) {
		x.up.readDeadline(x.k.now, look)
		if x.flight.kicked.Load() {
			return errKicked
		}
		err := read(x)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if x.flight.kicked.Load() {
			return errKicked
		}
		if x.left() {
			return leftError{}
		}
		x.k.now = time.Now()
		x.enlist()
	}
}

// left says whether the client has left: while it uploads, the pump notices.
func (x *exchange) left() bool {
	if x.pump != nil && !x.pump.read.Load() {
		return x.pump.left.Load()
	}
	return x.k.gone()
}

// enlist makes the exchange known to its release's drain.
func (x *exchange) enlist() {
	if x.listed {
		return
	}
	x.listed = true
	up := x.up
	again, client := false, x.k.c
	x.flight.stop = func() {
		_ = up.SetReadDeadline(time.Unix(1, 0))
		if again { // it waits for a client that does not read
			_ = client.SetWriteDeadline(time.Unix(1, 0))
		}
		again = true
	}
	up.readBy = time.Time{} // stop may hide it
	x.claim.rel.enlist(&x.flight)
}

func (x *exchange) readResponse() (outcome, bool) {
	err := x.patiently((*exchange).readHead)
	if err == nil {
		return served, true
	}
	return failure(err), false
}

func (x *exchange) readHead() error { return x.res.Read(x.ubr, x.k.req.Method) }

// failure is what an error before the answer means.
func failure(err error) outcome {
	var bad *http1.Error
	switch {
	case errors.Is(err, errKicked):
		return kicked
	case errors.As(err, &leftError{}):
		return deserted
	case errors.As(err, &bad), errors.Is(err, io.ErrUnexpectedEOF):
		return invalid
	}
	return unheard
}

// interim passes an informational response on; HTTP/1.0 knows none.
func (x *exchange) interim() error {
	var err error
	if x.k.req.Minor == 1 {
		err = x.k.write(http1.AppendResponse(nil, &x.res, http1.Delivery{Minor: 1}))
	}
	x.res.Discard(x.ubr)
	return err
}
