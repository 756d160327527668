package ambassador

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/ambassador/http2x"
)

// line is a connection of HTTP/1.1 to a container, plain or over TLS.
type line interface {
	net.Conn
	put(now time.Time, idle time.Duration)
	drop()
}

// hop1 is one attempt over HTTP/1.1.
type hop1 struct {
	s        *stream
	c        line
	reused   bool
	br       *bufio.Reader
	res      http1.Response
	body     http1.Body
	sender   chan struct{} // closed when the upload has ended
	attempt  *http2x.Attempt
	uploaded atomic.Bool
	unwatch  func() bool
}

// connect takes an idle connection, or dials one, as exchange.connect does.
func (s *stream) connect() (line, bool, error) {
	p := s.claim.ep.pool(s.claim.port)
	limit := s.idleLimit()
	if up := p.get(time.Now(), limit); up != nil {
		return up, true, nil
	}
	up, err := s.claim.ep.dial(s.claim.port)
	return up, false, err
}

// idleLimit is how long a connection that the request may go over was idle.
func (s *stream) idleLimit() time.Duration {
	switch {
	case s.fresh || s.req.Pins:
		return 0
	case !s.replayable() || s.upload != nil:
		return s.claim.ep.pool(s.claim.port).patience.young()
	}
	return maxIdle
}

// overHTTP1 sends the request over a connection that connect returned.
func (s *stream) overHTTP1(c line, reused bool, err error) outcome {
	if err != nil {
		return s.unreached(err)
	}
	h := &hop1{s: s, c: c, reused: reused, br: s.k.wk.readers.get(c)}
	out := h.run()
	h.release(out)
	switch {
	case out == unheard && reused:
		s.fresh = true
		return stale
	case out == unsent && !reused:
		s.want.tried = append(s.want.tried, s.claim.ep)
	}
	return out
}

func (h *hop1) run() outcome {
	s := h.s
	_ = h.c.SetWriteDeadline(time.Now().Add(writeLimit))
	n, err := h.c.Write(s.forHTTP1())
	s.claim.rel.bytesIn.Add(uint64(n))
	s.verdict.bytesIn += int64(n)
	s.verdict.sent = time.Now()
	switch {
	case err != nil && n == 0:
		return unsent
	case err != nil:
		return unheard
	}
	if s.upload != nil {
		if h.attempt, err = s.upload.Attempt(); err != nil {
			return unheard
		}
		h.sender = make(chan struct{})
		go h.send()
	}
	for range mostInterims + 1 {
		if out, ok := h.readHead(); !ok {
			return out
		}
		if h.res.Status >= 200 || h.res.Status == 101 {
			return h.deliver()
		}
		h.interim()
	}
	return invalid
}

// forHTTP1 is the request's head, and its body when that is small, for HTTP/1.1.
func (s *stream) forHTTP1() []byte {
	if s.out == nil {
		s.out = append(http1.AppendRequest(nil, s.req, s.k.forward()), s.small...)
	}
	return s.out
}

// forward is what the next hop is told about the client.
func (k *conn) forward() http1.Forward {
	return http1.Forward{Client: k.peer, Secure: k.secure, Trusted: k.wk.view.Load().trusts(k.peer)}
}

// send copies the upload.
func (h *hop1) send() {
	defer close(h.sender)
	s := h.s
	lent := s.k.wk.buffers.get()
	defer s.k.wk.buffers.put(lent)
	buf := lent.b[:]
	const room, after = http1.ChunkRoom, http1.ChunkAfter
	chunked := s.req.Length < 0
	for {
		n, err := h.attempt.Read(buf[room : len(buf)-after])
		_ = h.c.SetWriteDeadline(time.Now().Add(writeLimit))
		switch {
		case errors.Is(err, io.EOF):
			if chunked {
				_, err = h.c.Write(http1.AppendEnd(nil, http2x.Fields(s.r.Trailer)))
			}
			h.uploaded.Store(err == nil || errors.Is(err, io.EOF))
			return
		case err != nil:
			if s.upload.Ended() != nil {
				s.left.Store(true)
				h.stop()
			}
			return
		}
		piece := buf[room : room+n]
		if chunked {
			piece = http1.FrameChunk(buf, n)
		}
		if _, err := h.c.Write(piece); err != nil {
			return
		}
		s.claim.rel.bytesIn.Add(uint64(n))
		s.sent.Add(int64(n))
	}
}

// stop makes a read that waits return.
func (h *hop1) stop() { _ = h.c.SetReadDeadline(time.Unix(1, 0)) }

// patiently repeats a read of the upstream until it ends, the client leaves or
// the drain's deadline comes. What lasts is enlisted, and woken at once.
func (h *hop1) patiently(read func() error) error {
	s := h.s
	for look := firstLook; ; look = min(4*look, lastLook) {
		_ = h.c.SetReadDeadline(time.Now().Add(look))
		if s.flight.kicked.Load() {
			return errKicked
		}
		err := read()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		switch s.why() {
		case kicked:
			return errKicked
		case deserted:
			return leftError{}
		}
		if h.unwatch == nil {
			h.unwatch = context.AfterFunc(s.ctx, h.stop)
		}
		s.enlist(h.stop)
	}
}

func (h *hop1) readHead() (outcome, bool) {
	err := h.patiently(func() error { return h.res.Read(h.br, h.s.req.Method) })
	var bad *http1.Error
	switch {
	case err == nil:
		return served, true
	case errors.Is(err, errKicked):
		return kicked, false
	case errors.As(err, &leftError{}):
		return deserted, false
	case errors.As(err, &bad), errors.Is(err, io.ErrUnexpectedEOF):
		return invalid, false
	}
	return unheard, false
}

// interim passes an informational response on. A 100 the client has had when
// its body was begun to be read.
func (h *hop1) interim() {
	if h.res.Status != http.StatusContinue {
		h.s.interim(h.res.Status, http2x.Header(http1.DeliverFields(nil, &h.res)))
	}
	h.res.Discard(h.br)
}

// interim writes an informational response.
func (s *stream) interim(status int, fields http.Header) {
	h := s.w.Header()
	maps.Copy(h, fields)
	s.w.WriteHeader(status)
	clear(h)
}

func (h *hop1) deliver() outcome {
	s := h.s
	switch {
	case h.res.Status == 101 && s.req.Upgrade != "":
		return h.upgrade()
	case h.res.Status == 101:
		return invalid // nobody asked for it
	case s.req.Upgrade != "" && h.res.Status < 300:
		return invalid // in HTTP/2 that would be the agreement (RFC 8441 §5)
	}
	if s.asksElsewhere(h.res.Status) || s.asksLender(h.res.Status) {
		return declined
	}
	s.fields = http1.DeliverFields(s.fields[:0], &h.res)
	header := s.w.Header()
	http2x.Add(header, s.fields)
	if h.res.Status == http.StatusNoContent {
		delete(header, "Content-Length")
	}
	s.events = h.res.Events
	h.res.Discard(h.br)
	h.body.Reset(h.br, h.res.Length)
	return s.deliver(&response{
		status: h.res.Status, read: h.read, ready: h.body.Ready, stop: h.stop, empty: h.body.Done(),
		trailer: func() http.Header { return http2x.Header(h.body.Trailer()) },
	})
}

func (h *hop1) read(b []byte) (n int, err error) {
	if h.body.Done() {
		return 0, io.EOF
	}
	err = h.patiently(func() error {
		n, err = h.body.Read(b)
		return err
	})
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, errKicked), errors.As(err, &leftError{}):
		return n, err
	case err != nil:
		return n, errBroken
	case h.body.Done():
		return n, io.EOF
	}
	return n, nil
}

// release gives the connection back, or ends it.
func (h *hop1) release(out outcome) {
	s := h.s
	uploaded := h.finishUpload()
	s.delist()
	stops := h.unwatch != nil && !h.unwatch() // stop may come at any time
	clean := h.br.Buffered() == 0 && h.body.Done()
	s.k.wk.readers.put(h.br)
	if out == served && clean && !stops && h.res.KeepAlive && uploaded && !s.req.Pins && !s.claim.rel.closed.Load() {
		if up, ok := h.c.(*upstream); ok {
			up.readBy, up.writeBy = time.Time{}, time.Time{} // they were moved
		}
		h.c.put(time.Now(), h.res.Idle)
		return
	}
	h.c.drop()
}

// finishUpload ends the upload, and says whether it was sent whole. A server may
// answer the last byte before we come to know that it was written.
func (h *hop1) finishUpload() bool {
	if h.sender == nil {
		return true
	}
	if !h.attempt.Done() {
		_ = h.attempt.Close()
		_ = h.c.SetWriteDeadline(time.Unix(1, 0))
	}
	<-h.sender
	return h.uploaded.Load()
}
