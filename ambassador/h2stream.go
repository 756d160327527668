package ambassador

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remorahq/remora/ambassador/accesslog"
	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/ambassador/http2x"
	"github.com/remorahq/remora/ambassador/page"
	"github.com/remorahq/remora/internal/traffic"
)

// A stream is one request and its response where HTTP/2 is on either side. It
// goes by the same claims and rules as an exchange, on the types of net/http.
//
// One goroutine owns it, x/net's handler or the connection's own; flights,
// timers and uploads reach it only through its atomics, its context and reset.
type stream struct {
	k       *conn
	w       writer
	r       *http.Request
	req     *http1.Request
	arena   []byte // what the slices of req point into
	ctx     context.Context
	cancel  context.CancelCauseFunc
	over    context.CancelFunc
	want    want
	verdict verdict
	extra   []byte // raw header lines, each with its CRLF, that the answer gets
	claim   claim
	grpc    bool
	events  bool
	body    io.ReadCloser
	small   []byte         // the whole body, with a known length
	upload  *http2x.Upload // or the body as it comes
	out     []byte         // the request for HTTP/1.1, made when it is needed
	fields  []http1.Field
	// declared are the trailers that the request announced. Their values come
	// with the body's end.
	declared []string
	charged  atomic.Int64
	sent     atomic.Int64 // of the upload
	flight   flight
	listed   bool
	begun    bool // the answer's head was written
	fresh    bool // a kept connection was closed already
	undone   bool // an instance refused to begin
	declined bool // an answer was dropped already
	asset    borrowing
	aborted  bool // the client must see that the answer is not whole
	left     atomic.Bool

	mu    sync.Mutex
	ended bool // no reset any more
	guard *time.Timer
	haste *time.Timer // runs since the drain's deadline
}

// writer is where an answer goes: x/net's, or a client of HTTP/1.
type writer interface {
	http.ResponseWriter
	FlushError() error
	SetWriteDeadline(time.Time) error
}

var (
	errLeft     = errors.New("the client has left")
	errDeadline = errors.New("the client's deadline has passed")
)

// errOverdue answers a call whose own deadline has passed.
var errOverdue = &refusal{code: page.Ended, text: "The request's own deadline has passed."}

func newStream(k *conn, w http.ResponseWriter, r *http.Request) *stream {
	s := &stream{k: k, r: r, body: r.Body}
	s.w, _ = w.(writer)
	s.verdict.arrived = time.Now()
	return s
}

// serve serves the request; bad is why its head is refused, or nil.
func (s *stream) serve(bad error) {
	s.begin()
	defer s.finish()
	if err := s.admit(bad); err != nil {
		s.refused(err)
		return
	}
	s.run()
}

// run serves a request that was admitted.
func (s *stream) run() {
	if !s.takeBody() {
		return
	}
	for attempt := 1; ; attempt++ {
		cl, err := s.acquire()
		if err != nil && (s.want.again(err) || s.againUndone(err, attempt)) {
			continue
		}
		if err != nil {
			s.refused(s.blame(err))
			return
		}
		s.claim = cl
		s.verdict.rel, s.verdict.ep, s.verdict.attempts = cl.rel, cl.ep, attempt
		out := s.attempt()
		cl = s.claim
		cl.end(s.k.wk.changed.fire)
		switch {
		case out == served, out == ended:
			return
		case out == deserted:
			s.leave()
			return
		case s.repeats(out, attempt):
			s.countRepeat(out)
			continue
		}
		s.giveUp(out)
		return
	}
}

func (s *stream) begin() {
	for name := range s.r.Trailer {
		s.declared = append(s.declared, name)
	}
	s.grpc = http2x.IsGRPC(s.r.Header.Get("Content-Type"))
	s.ctx, s.cancel = context.WithCancelCause(s.r.Context())
	s.over = func() {}
	if d, ok := http2x.GRPCTimeout(s.r.Header.Get("Grpc-Timeout")); ok && s.grpc {
		s.ctx, s.over = context.WithTimeoutCause(s.ctx, d, errDeadline)
	}
	s.want = want{
		listener: s.k.key, host: s.req.Host, path: s.req.Path, target: s.req.Target, secure: s.k.secure, authority: s.k.authority,
		arrived: s.verdict.arrived, client: s.k.peer, by: s,
	}
}

func (s *stream) finish() {
	s.mu.Lock()
	s.ended = true
	if s.guard != nil {
		s.guard.Stop()
	}
	s.mu.Unlock()
	s.over()
	s.cancel(nil)
	if s.upload != nil {
		s.upload.Close()
	}
	if n := s.charged.Load(); n > 0 {
		s.k.wk.replay.Add(-n)
	}
	s.verdict.bytesIn += s.sent.Load()
	s.verdict.ended = time.Now()
	s.mirror()
	s.want.leave()
	s.want.forget()
}

// done is called once at the end of every stream of HTTP/2, as exchange.done is
// for requests of HTTP/1.
func (s *stream) done() {
	var e accesslog.Entry
	if s.k.wk.access.On() {
		e = s.k.entry()
		e.Protocol, e.Method, e.Host, e.Path = "h2", s.req.Method, s.req.Host, s.req.Path
		e.Referer, e.UserAgent = s.req.Field("referer"), s.req.Field("user-agent")
	}
	s.k.wk.account(s.k.shard, &s.verdict, &e)
}

// gone implements asker.
func (s *stream) gone() bool { return s.ctx.Err() != nil || s.left.Load() }

// field implements asker.
func (s *stream) field(lower string) []byte { return s.req.Field(lower) }

// fieldFromEnd implements asker.
func (s *stream) fieldFromEnd(lower string, i int) []byte { return s.req.FieldFromEnd(lower, i) }

func (s *stream) admit(bad error) error {
	if e, ok := errors.AsType[*http1.Error](bad); ok {
		return refuseHTTP(e)
	}
	if s.r.Method == http.MethodConnect && s.req.Upgrade == "" {
		return errNoConnect
	}
	rv, err := s.want.resolve(s.k.wk.view.Load())
	if err != nil {
		return err
	}
	s.verdict.route, s.verdict.svc, s.verdict.timing = rv.rt, rv.sv.svc, rv.spec.ServerTiming
	if s.k.secure {
		s.extra = appendHSTS(s.extra, rv.spec.HSTS)
	}
	if s.req.Upgrade != "" && rv.spec.Upstream != traffic.UpstreamHTTP1 {
		return errNoUpgrade
	}
	err = s.k.wk.admit(&s.want, rv)
	s.extra = s.want.appendCookie(s.extra)
	return err
}

// errNoConnect answers CONNECT of HTTP/2, which would tunnel one stream.
var errNoConnect = &refusal{code: page.Unsupported, text: "Over HTTP/2, CONNECT is served for WebSockets only."}

// charge takes n bytes of the replay budget.
func (s *stream) charge(n int64) bool {
	if s.k.wk.replay.Add(n) > replayBudget {
		s.k.wk.replay.Add(-n)
		return false
	}
	s.charged.Add(n)
	return true
}

// takeBody reads a body of known and small length whole, and begins to read any
// other. False says that it did not come.
func (s *stream) takeBody() bool {
	n := s.req.Length
	switch {
	case n == 0:
		return true
	case n > 0 && n <= replayLimit && s.charge(n):
		buf := make([]byte, n)
		s.arm(writeLimit, s.hangUp)
		_, err := io.ReadFull(s.body, buf)
		s.disarm()
		if err == nil {
			_, err = io.ReadFull(s.body, make([]byte, 1))
		}
		if !errors.Is(err, io.EOF) {
			s.noBody(err)
			return false
		}
		s.small = buf
		return true
	}
	s.upload = http2x.NewUpload(s.body, n, replayLimit, s.charge, s.slow)
	return true
}

// bodyRead says that nothing of the request is left to be read.
func (s *stream) bodyRead() bool {
	if s.upload != nil {
		return errors.Is(s.upload.Ended(), io.EOF)
	}
	return s.req.Length == 0 || s.small != nil
}

func (s *stream) noBody(err error) {
	if bad, ok := errors.AsType[*http1.Error](err); ok {
		s.refused(refuseHTTP(bad))
		return
	}
	s.leave()
}

// hangUp gives up a body that does not come.
func (s *stream) hangUp() { _ = s.body.Close() }

// slow says that a body of known length comes too slowly.
func (s *stream) slow(n int64, waited time.Duration) bool {
	return s.req.Length > 0 && n < s.req.Length && s.k.wk.view.Load().limits.trickles(n, waited)
}

// attempt sends the request to the claimed endpoint, by what its port speaks,
// and serves the response.
func (s *stream) attempt() outcome {
	s.flight = flight{}
	ep, port := s.claim.ep, s.claim.port
	var out outcome
	switch s.want.route.spec.Upstream {
	case traffic.UpstreamH2C:
		out = s.overHTTP2(false)
	case traffic.UpstreamTLS:
		out = s.overHTTP2(true)
	default:
		if s.k.protocol == traffic.Detect && s.r.ProtoMajor == 2 && s.req.Upgrade == "" && ep.speaks(port) == speaksHTTP2 {
			out = s.overHTTP2(false)
		} else {
			out = s.overHTTP1(s.connect())
		}
	}
	if out == undone {
		s.undone = true
		s.want.tried = append(s.want.tried, ep)
	}
	if out == unheard {
		ep.answered(false)
		if s.replayable() {
			s.want.tried = append(s.want.tried, ep)
		}
	}
	return out
}

// unreached notes that nothing could be sent.
func (s *stream) unreached(err error) outcome {
	ep := s.claim.ep
	s.claim.rel.connectErrors.Add(1)
	ep.connectFailed(s.claim.port, err, func() { s.k.wk.healthChanged(ep) })
	s.want.failed(ep, err)
	return unsent
}

// enlist makes the stream known to its release's drain.
func (s *stream) enlist(stop func()) {
	if s.listed {
		return
	}
	s.listed = true
	s.flight.stop = func() {
		stop()
		s.hurry()
	}
	s.claim.rel.enlist(&s.flight)
}

func (s *stream) delist() {
	if s.listed {
		s.claim.rel.delist(&s.flight)
		s.listed = false
		s.calm()
	}
}

// hurry resets the stream unless the attempt ends soon, and calm says that it
// has.
func (s *stream) hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.haste == nil && !s.ended {
		s.haste = time.AfterFunc(kickGrace, s.reset)
	}
}

func (s *stream) calm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.haste != nil {
		s.haste.Stop()
		s.haste = nil
	}
}

// becomeStream counts a stream of events as a tunnel: it may go on until the
// deadline of tunnels.
func (s *stream) becomeStream(stop func()) {
	s.want.forget()
	s.verdict.lasting = true
	s.claim.becomeTunnel(s.k.wk.changed.fire)
	s.delist()
	s.flight.tunnel = true
	s.enlist(stop)
}

// kickGrace is how long a stream that was told to end may wait for its client
// before it is reset.
const kickGrace = time.Second

// arm lets f be called after d, unless the stream has ended or is armed anew.
func (s *stream) arm(d time.Duration, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guard != nil {
		s.guard.Stop()
	}
	if !s.ended {
		s.guard = time.AfterFunc(d, f)
	}
}

func (s *stream) disarm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guard != nil {
		s.guard.Stop()
		s.guard = nil
	}
}

// reset ends the answer under way; who waits for the client to take it returns.
func (s *stream) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		_ = s.w.SetWriteDeadline(time.Unix(1, 0))
	}
}

// why tells an end of the stream's own from one of the upstream.
func (s *stream) why() outcome {
	switch {
	case s.flight.kicked.Load():
		return kicked
	case s.ctx.Err() != nil || s.left.Load():
		return deserted
	}
	return unheard
}
