package ambassador

import (
	"bufio"
	"errors"
	"os"
	"time"

	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/ambassador/page"
	"github.com/remorahq/remora/ambassador/tunnel"
	"github.com/remorahq/remora/internal/traffic"
)

// An exchange is one request and its response. What may be sent again follows
// notes on races: nothing sent, any method, to another instance; sent and no
// answer, idempotent requests whose whole body so far is at hand; answer
// begun, never.

const (
	// replayLimit is how much of a body is kept to be sent again.
	replayLimit = 64 << 10
	// replayBudget bounds what all requests keep together.
	replayBudget = 64 << 20
	// firstLook is after how long a waiting exchange first looks whether its
	// client left, and lastLook how long it pauses between looks at most.
	firstLook = 20 * time.Millisecond
	lastLook  = 2 * time.Second
	// keptHead is the largest buffer for heads that an idle connection keeps.
	keptHead = 2 << 10
	// copyBuffer is the size of what bodies go through.
	copyBuffer = 32 << 10
	// longAnswer is after how many pieces of a body its exchange is enlisted,
	// however fast they come.
	longAnswer = 16
	// mostInterims is how many informational responses may come before an answer.
	mostInterims = 100
)

var (
	errKicked = errors.New("the drain's deadline has come")
	errBroken = errors.New("the upstream connection broke")
)

// exchange is a conn's present request. It is used again for the next one.
type exchange struct {
	k       *conn
	want    want
	res     http1.Response
	out     []byte     // the head for the next hop, and the body when it is small
	body    http1.Body // of the request
	reply   http1.Body // of the response
	room    []byte     // for the next piece of reply, of which got bytes came
	got     int
	moves   *tunnel.Mover
	charged int64 // of the replay budget
	// streams says that the body is copied while the response is awaited;
	// kept is what of it was sent so far, unless spilled.
	streams bool
	kept    []byte
	lost    bool // kept is not all: the request cannot be sent again
	flight  flight
	up      *upstream
	ubr     *bufio.Reader
	pump    *pump
	listed  bool
	// head holds the request's head when the reader's buffer is needed for the
	// body: the slices of conn.req stay valid until done has returned.
	head []byte
	// extra are raw header lines, each with its CRLF, that the response's head
	// gets; they can be added to from admit to the answer.
	extra    []byte
	verdict  verdict
	borrows  bool // another release was asked for an asset
	pinned   bool // up is for this client only
	declined bool // an answer was dropped already
	burdens  int  // instances that had the request and after which it was sent to another
	fresh    bool // a kept connection was closed already: none is tried again
	claim    claim
}

// outcome is how an attempt ended.
type outcome int

const (
	served   outcome = iota // answered; the connection goes on
	ended                   // answered or broken off; the connection ends
	unsent                  // nothing was sent
	unheard                 // sent, no answer
	kicked                  // no answer by the drain's deadline
	stale                   // a kept connection had been closed
	declined                // the answer is not passed on: another instance is asked
	deserted                // the client left
	invalid                 // the answer was not HTTP
	undone                  // sent, and the instance says that it did nothing
)

// exchange serves the request whose head was read.
func (k *conn) exchange() bool {
	x := &k.x
	x.begin(k)
	defer x.finish()
	admitted := x.admit()
	if err := x.takeSmallBody(); err != nil {
		return x.refuseBody(err)
	}
	if admitted != nil {
		return x.refused(admitted)
	}
	if x.want.route.spec.Upstream != traffic.UpstreamHTTP1 {
		return x.translate()
	}
	for attempt := 1; ; attempt++ {
		cl, err := k.wk.acquire(&x.want)
		if err != nil && x.want.again(err) {
			continue
		}
		if err != nil {
			return x.refused(x.blame(err))
		}
		x.claim = cl
		if attempt > 1 || x.want.waited {
			k.now = time.Now()
		}
		x.verdict.rel, x.verdict.ep, x.verdict.attempts = cl.rel, cl.ep, attempt
		if x.want.route.spec.Upstream != traffic.UpstreamHTTP1 && k.req.Length == 0 {
			cl.end(k.wk.changed.fire) // the table changed while it was held
			return x.translate()
		}
		out := x.attempt()
		cl = x.claim
		cl.end(k.wk.changed.fire)
		switch {
		case out == served:
			return true
		case out == ended:
			k.linger()
			return false
		case out == deserted:
			x.verdict.deserted()
			return false
		case x.repeats(out):
			x.countRepeat(out)
			continue
		}
		return x.giveUp(out)
	}
}

func (x *exchange) begin(k *conn) {
	r := &k.req
	fw := http1.Forward{Client: k.peer, Secure: k.secure, Trusted: k.wk.view.Load().trusts(k.peer)}
	x.k = k
	x.verdict = verdict{arrived: k.arrived}
	x.extra = x.extra[:0]
	x.out = http1.AppendRequest(x.out[:0], r, fw)
	if r.Length != 0 || r.Upgrade != "" || r.Method == "CONNECT" {
		x.head = r.Move(x.head[:0], k.br)
	}
	x.want = want{
		listener: k.key, host: r.Host, path: r.Path, target: r.Target, secure: k.secure, authority: k.authority, arrived: k.arrived,
		client: k.peer, by: k, pinned: k.pin.ep, tried: x.want.tried[:0],
	}
	x.kept, x.lost, x.streams, x.fresh, x.declined, x.borrows, x.burdens, x.charged = x.kept[:0], false, false, false, false, false, 0, 0
	r.Discard(k.br)
	x.body.Reset(k.br, r.Length)
}

// admit finds the request's route and asks whether it may be taken.
func (x *exchange) admit() error {
	rv, err := x.want.resolve(x.k.wk.view.Load())
	if err != nil {
		return err
	}
	x.verdict.route, x.verdict.svc, x.verdict.timing = rv.rt, rv.sv.svc, rv.spec.ServerTiming
	if x.k.secure {
		x.extra = appendHSTS(x.extra, rv.spec.HSTS)
	}
	err = x.k.wk.admit(&x.want, rv)
	x.extra = x.want.appendCookie(x.extra)
	return err
}

func (x *exchange) finish() {
	x.k.now = time.Now()
	x.verdict.ended = x.k.now
	x.done()
	x.mirror()
	x.want.leave()
	x.want.forget()
	if x.charged > 0 {
		x.k.wk.replay.Add(-x.charged)
	}
	if cap(x.out) > keptHead {
		x.out = nil
	}
	if cap(x.kept) > 0 {
		x.kept = nil
	}
	if cap(x.head) > keptHead {
		x.head = nil
	}
}

// charge takes n bytes of the replay budget.
func (x *exchange) charge(n int64) bool {
	if x.k.wk.replay.Add(n) > replayBudget {
		x.k.wk.replay.Add(-n)
		return false
	}
	x.charged += n
	return true
}

// takeSmallBody reads a body of known and small length, so that it goes out
// with the head and the request can be sent again.
func (x *exchange) takeSmallBody() error {
	r := &x.k.req
	if r.Length == 0 {
		return nil
	}
	if r.Length < 0 || r.Length > replayLimit || r.Expects || !x.charge(r.Length) {
		x.streams = true
		return nil
	}
	have := len(x.out)
	need := int(r.Length)
	if cap(x.out) < have+need {
		x.out = append(make([]byte, 0, have+need), x.out...)
	}
	buf := x.out[have : have+need]
	lim, begun, waited := x.k.wk.view.Load().limits, x.k.now, false
	for n := 0; n < need; {
		if need-n > x.k.br.Buffered() {
			if lim.trickles(int64(n), time.Since(begun)) {
				return &http1.Error{Status: 408, Reason: "the request's body comes too slowly"}
			}
			x.k.readDeadline(bodyGrace)
			waited = true
		}
		m, err := x.body.Read(buf[n:])
		if err != nil {
			return err
		}
		n += m
	}
	x.out = x.out[:have+need]
	if waited {
		x.k.now = time.Now()
	}
	return nil
}

func (x *exchange) refuseBody(err error) bool {
	if bad, ok := errors.AsType[*http1.Error](err); ok {
		x.answer(refuseHTTP(bad), false)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		x.answer(errNoBody, false)
	} else {
		x.verdict.leave()
	}
	return false
}

// refused answers a request that no release takes.
func (x *exchange) refused(err error) bool {
	var r *refusal
	if !errors.As(err, &r) {
		x.verdict.leave()
		return false
	}
	return x.answer(r, x.bodyRead())
}

// bodyRead says that the client's connection stands at the next request.
func (x *exchange) bodyRead() bool { return !x.streams || x.body.Done() }

// keepAlive says whether the client's connection goes on after this exchange.
func (x *exchange) keepAlive() bool {
	return x.k.req.KeepAlive && !x.k.wk.draining.Load()
}

// answer writes a response of our own.
func (x *exchange) answer(r *refusal, keep bool) bool {
	keep = keep && x.keepAlive()
	p := r.page(x.k.field("accept"), page.URL(x.k.secure, x.k.req.Host, x.k.req.Path))
	x.verdict.status, x.verdict.why, x.verdict.ours = p.Status, r.reason(), true
	x.time()
	a := r.http1(p)
	a.Extra, a.KeepAlive, a.Head = x.extra, keep, x.k.req.Method == "HEAD"
	b := http1.AppendAnswer(nil, a)
	x.verdict.bytesOut += int64(len(b))
	if err := x.k.write(b); err != nil {
		return false
	}
	if !keep {
		x.k.linger()
	}
	return keep
}

func (x *exchange) giveUp(out outcome) bool {
	x.claim.rel.errors5xx.Add(1)
	keep := x.bodyRead()
	switch out {
	case kicked:
		return x.answer(errKickedOut, keep)
	case unsent:
		return x.answer(errUnreached, keep)
	case invalid:
		return x.answer(errNotHTTP, keep)
	}
	return x.answer(errNoAnswer, keep)
}
