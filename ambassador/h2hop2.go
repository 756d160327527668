package ambassador

import (
	"context"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/ambassador/http2x"
)

// errUndoneYet is what x/net is told when it would send a request again.
var errUndoneYet = errors.New("the instance did nothing with the request")

// hop2 is one attempt over HTTP/2. It is x/net's pool for this one request: that
// x/net asks it a second time, or asks for the body again, is how x/net tells
// that the request was not processed (GOAWAY, REFUSED_STREAM).
type hop2 struct {
	s     *stream
	sc    *sharedConn
	asked bool
	dead  bool // the connection ended before the stream began
	hints hints
}

// hints are the informational responses of one request. x/net tells them where
// it reads the connection, which must not wait for one client: one that comes
// while another is being written is dropped.
type hints struct {
	mu   sync.Mutex
	over bool
	busy atomic.Bool
	some int
	end  sync.WaitGroup
}

// maxHints is how many informational responses of one request are passed on.
const maxHints = 8

func (h *hints) pass(write func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over || h.some == maxHints || h.busy.Swap(true) {
		return
	}
	h.some++
	h.end.Go(func() { write(); h.busy.Store(false) })
}

// stop lets no more pass, and waits for those that do.
func (h *hints) stop() {
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
	h.end.Wait()
}

// GetClientConn implements x/net's pool.
func (h *hop2) GetClientConn(*http.Request, string) (*http2.ClientConn, error) {
	if h.asked {
		return nil, errUndoneYet
	}
	h.asked = true
	return h.sc.ClientConn, nil
}

// MarkDead implements x/net's pool.
func (h *hop2) MarkDead(*http2.ClientConn) { h.dead = true }

// overHTTP2 sends the request over a shared connection of HTTP/2, or over TLS
// by what the container chooses.
func (s *stream) overHTTP2(secure bool) outcome {
	ep, port := s.claim.ep, s.claim.port
	m := &ep.pool(port).shared
	if secure && m.choosesHTTP1() {
		return s.overTLS(m)
	}
	sc, su, err := ep.stream(port, secure)
	switch {
	case errors.Is(err, errSpeaksHTTP1):
		m.chose(speaksHTTP1)
		return s.overHTTP1(su, false, nil)
	case err != nil:
		return s.unreached(err)
	}
	defer m.done(sc)
	h := &hop2{s: s, sc: sc}
	return h.run()
}

// overTLS sends the request over TLS by HTTP/1.1.
func (s *stream) overTLS(m *shared) outcome {
	if su := m.take(s.idleLimit()); su != nil {
		return s.overHTTP1(su, true, nil)
	}
	su, err := s.claim.ep.dialSecure(s.claim.port)
	if err != nil {
		return s.unreached(err)
	}
	return s.overHTTP1(su, false, nil)
}

func (m *shared) choosesHTTP1() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.chosen == speaksHTTP1
}

func (m *shared) chose(sp speech) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.chosen = sp
}

func (h *hop2) run() outcome {
	s := h.s
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	defer s.delist()
	s.enlist(cancel)
	req, err := h.request(ctx)
	if err != nil {
		return unheard
	}
	s.verdict.sent = time.Now()
	t := &http2.Transport{AllowHTTP: true, ConnPool: h}
	res, err := t.RoundTrip(req) // closed below
	h.hints.stop()
	if err != nil {
		return h.failed(err)
	}
	defer res.Body.Close()
	return h.deliver(res, cancel)
}

// request is the request for the next hop.
func (h *hop2) request(ctx context.Context) (*http.Request, error) {
	s := h.s
	s.fields = http1.ForwardFields(s.fields[:0], s.req, s.k.forward())
	header := http2x.Header(s.fields)
	if te := s.r.Header["Te"]; len(te) == 1 && te[0] == "trailers" {
		header["Te"] = te
	}
	delete(header, "Expect") // the client was told to go on
	if _, ok := header["User-Agent"]; !ok {
		header["User-Agent"] = nil // or x/net says its own
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: h.interim})
	req := (&http.Request{
		Method: s.req.Method, Host: string(s.req.Host), Header: header, Proto: "HTTP/2.0", ProtoMajor: 2,
		URL: http2x.Target("http", string(s.req.Host), string(s.req.Target)),
	}).WithContext(ctx)
	s.verdict.bytesIn += int64(len(s.small))
	s.claim.rel.bytesIn.Add(uint64(len(s.small)))
	switch {
	case s.small != nil:
		req.Body, req.ContentLength = http2x.Whole(s.small), int64(len(s.small))
	case s.upload != nil:
		body, err := s.upload.Attempt()
		if err != nil {
			return nil, err
		}
		req.ContentLength = s.req.Length
		if len(s.declared) > 0 {
			req.Trailer = make(http.Header, len(s.declared))
		}
		for _, name := range s.declared {
			req.Trailer[name] = nil
		}
		req.Body = &sentBody{body, s, req.Trailer}
	}
	req.GetBody = func() (io.ReadCloser, error) { return nil, errUndoneYet }
	return req, nil
}

// sentBody counts what goes to the instance, and has the trailers at the end.
type sentBody struct {
	*http2x.Attempt
	s       *stream
	trailer http.Header
}

// Read implements [io.Reader].
func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.Attempt.Read(p)
	b.s.claim.rel.bytesIn.Add(uint64(n))
	b.s.sent.Add(int64(n))
	if errors.Is(err, io.EOF) {
		for name := range b.trailer {
			b.trailer[name] = b.s.r.Trailer[name]
		}
	}
	return n, err
}

// interim passes an informational response on. A 100 the client has had when
// its body was begun to be read; a 101 there is not in HTTP/2, and a client of
// HTTP/1 would leave HTTP.
func (h *hop2) interim(status int, fields textproto.MIMEHeader) error {
	if status != http.StatusContinue && status != http.StatusSwitchingProtocols {
		http2x.DropConnectionFields(http.Header(fields))
		h.hints.pass(func() { h.s.interim(status, http.Header(fields)) })
	}
	return nil
}

func (h *hop2) failed(err error) outcome {
	s := h.s
	var stream http2.StreamError
	switch {
	case errors.Is(err, errUndoneYet):
		return undone
	case h.dead:
		s.want.tried = append(s.want.tried, s.claim.ep)
		return unsent
	case s.why() != unheard:
		return s.why()
	case s.upload != nil && s.upload.Ended() != nil && !errors.Is(s.upload.Ended(), io.EOF):
		return deserted
	case errors.As(err, &stream):
		return invalid // the instance reset it
	}
	return unheard
}

func (h *hop2) deliver(res *http.Response, cancel func()) outcome {
	s := h.s
	if res.StatusCode < 200 || res.StatusCode > 999 {
		return invalid // x/net takes any number
	}
	if s.asksElsewhere(res.StatusCode) || s.asksLender(res.StatusCode) {
		return declined
	}
	http2x.DropConnectionFields(res.Header)
	header := s.w.Header()
	maps.Copy(header, res.Header)
	if s.r.ProtoMajor == 1 && s.req.Trailers && len(res.Trailer) > 0 {
		// In HTTP/1.1 only a body in chunks can have them.
		delete(header, "Content-Length")
		header["Trailer"] = slices.Sorted(maps.Keys(res.Trailer))
	}
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	s.events = media == "text/event-stream"
	read := func(b []byte) (int, error) {
		n, err := res.Body.Read(b)
		if err == nil || errors.Is(err, io.EOF) {
			return n, err
		}
		switch s.why() {
		case kicked:
			return n, errKicked
		case deserted:
			return n, leftError{}
		}
		return n, errBroken
	}
	return s.deliver(&response{
		status: res.StatusCode, read: read, ready: func() bool { return false }, stop: cancel,
		empty:   res.Body == http.NoBody || res.ContentLength == 0,
		trailer: func() http.Header { return res.Trailer },
	})
}
