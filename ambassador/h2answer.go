package ambassador

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/ambassador/http2x"
	"github.com/remorahq/remora/ambassador/page"
)

// refused answers a request that no release takes.
func (s *stream) refused(err error) {
	var r *refusal
	switch {
	case errors.Is(context.Cause(s.ctx), errDeadline):
		s.answer(errOverdue)
	case errors.As(err, &r):
		s.answer(r)
	default:
		s.leave()
	}
}

// leave ends a stream whose client is not there any more.
func (s *stream) leave() {
	if errors.Is(context.Cause(s.ctx), errDeadline) && !s.begun {
		s.answer(errOverdue)
		return
	}
	s.verdict.deserted()
	s.aborted = true
}

// answer writes a response of our own. Clients of gRPC get it as a status.
func (s *stream) answer(r *refusal) {
	p := r.page(s.req.Field("accept"), page.URL(s.k.secure, s.req.Host, s.req.Path))
	s.verdict.status, s.verdict.why, s.verdict.ours = p.Status, r.reason(), true
	h := s.w.Header()
	http2x.Add(h, http1.ParseLines(r.fields))
	if s.grpc {
		status := http2x.GRPCStatus(p.Status)
		if r == errOverdue {
			status = http2x.StatusDeadline
		}
		h.Set("Content-Type", "application/grpc")
		h["Content-Length"] = nil
		h.Set("Grpc-Status", strconv.Itoa(status))
		h.Set("Grpc-Message", http2x.GRPCMessage("remora: "+r.Error()))
		s.head(http.StatusOK)
		return
	}
	for _, f := range p.Fields {
		h.Set(f.Name, f.Value)
	}
	h.Set("Content-Length", strconv.Itoa(len(p.Body)))
	s.head(p.Status)
	if s.r.Method != http.MethodHead {
		s.verdict.bytesOut += int64(len(p.Body))
		_, _ = s.w.Write(p.Body) // who left is gone
	}
}

func (s *stream) giveUp(out outcome) {
	s.claim.rel.errors5xx.Add(1)
	switch out {
	case kicked:
		s.answer(errKickedOut)
	case unsent:
		s.answer(errUnreached)
	case invalid:
		s.answer(errNotHTTP)
	case undone:
		s.answer(errUndone)
	default:
		s.answer(errNoAnswer)
	}
}

// errUndone answers a request that instances refuse to begin, and that cannot
// be sent once more.
var errUndone = &refusal{code: page.NoAnswer, text: "The service refused the request before it did anything with it."}

// head writes the answer's head. Nothing is added that the container did not
// say.
func (s *stream) head(status int) {
	h := s.w.Header()
	if s.verdict.timing {
		s.extra = s.verdict.appendTiming(s.extra)
	}
	http2x.Add(h, http1.ParseLines(s.extra))
	for _, name := range [...]string{"Content-Type", "Content-Length", "Date"} {
		if _, ok := h[name]; !ok {
			h[name] = nil
		}
	}
	if s.k.wk.draining.Load() && s.r.ProtoMajor != 2 {
		h.Set("Connection", "close")
	}
	s.begun = true
	s.w.WriteHeader(status)
}

// response is the answer of an instance, ready to be passed on; its fields are
// in the writer's header already.
type response struct {
	status int
	// read reads the body; io.EOF is its end, errKicked, leftError or any other
	// error another end.
	read func([]byte) (int, error)
	// ready says that the next read does not wait.
	ready func() bool
	// stop makes a read that waits return.
	stop func()
	// empty says that there is no body.
	empty bool
	// trailer are the fields after the body, when it was read.
	trailer func() http.Header
}

// deliver passes a response on.
func (s *stream) deliver(res *response) outcome {
	rel := s.claim.rel
	s.verdict.answered, s.verdict.status = time.Now(), res.status
	rel.total.Add(1)
	if res.status >= 500 {
		rel.errors5xx.Add(1)
	}
	s.claim.ep.answered(true)
	s.head(res.status)
	if res.empty {
		s.trailers(res)
		return served
	}
	if s.events {
		s.becomeStream(res.stop)
	}
	err := s.copyBody(res)
	switch {
	case err == nil:
		s.trailers(res)
		return served
	case errors.As(err, &leftError{}):
		return deserted
	case errors.Is(err, errKicked) && s.events:
		return served
	}
	rel.errors5xx.Add(1)
	s.breakOff(err)
	return ended
}

// breakOff ends an answer that is not whole: with a status where the client
// knows one, else so that it cannot take it for the whole.
func (s *stream) breakOff(err error) {
	code, text := page.BrokenOff, "remora: the instance broke off its answer"
	if errors.Is(err, errKicked) {
		code, text = page.Kicked, "remora: the release ended before its answer did"
	}
	s.verdict.why = code
	if !s.grpc {
		s.aborted = true
		return
	}
	s.trailer("Grpc-Status", strconv.Itoa(http2x.StatusUnavailable))
	s.trailer("Grpc-Message", http2x.GRPCMessage(text))
}

func (s *stream) trailer(name string, values ...string) {
	s.w.Header()[http.TrailerPrefix+name] = values
}

func (s *stream) trailers(res *response) {
	if res.trailer == nil {
		return
	}
	for name, values := range res.trailer() {
		s.trailer(name, values...)
	}
}

// copyBody copies the body; what has come goes out before more is waited for.
func (s *stream) copyBody(res *response) error {
	lent := s.k.wk.buffers.get()
	defer s.k.wk.buffers.put(lent)
	buf := lent.b[:]
	for piece := 0; ; piece++ {
		if !res.ready() {
			if err := s.w.FlushError(); err != nil {
				return s.unwritten()
			}
		}
		if piece == longAnswer {
			s.enlist(res.stop)
		}
		n, err := res.read(buf)
		if n > 0 {
			if werr := s.write(buf[:n]); werr != nil {
				return werr
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// write writes a piece of body. A client that takes nothing for long is given
// up.
func (s *stream) write(b []byte) error {
	s.claim.rel.bytesOut.Add(uint64(len(b)))
	s.verdict.bytesOut += int64(len(b))
	if s.flight.kicked.Load() {
		return errKicked
	}
	if len(b) > 4<<10 {
		s.arm(writeLimit, s.reset)
		defer s.disarm()
	}
	if _, err := s.w.Write(b); err != nil {
		return s.unwritten()
	}
	return nil
}

func (s *stream) unwritten() error {
	if s.flight.kicked.Load() {
		return errKicked
	}
	return leftError{}
}
