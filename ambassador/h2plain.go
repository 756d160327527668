package ambassador

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/ambassador/http2x"
	"github.com/remorahq/remora/ambassador/page"
)

// translate serves a request of HTTP/1 whose container is spoken to by HTTP/2
// or over TLS, and says whether the client's connection goes on.
func (x *exchange) translate() bool {
	k := x.k
	if k.req.Upgrade != "" || k.req.Method == http.MethodConnect {
		return x.answer(errNoUpgrade, x.bodyRead())
	}
	w := &plainWriter{x: x, header: make(http.Header)}
	body := &plainBody{w: w}
	r := (&http.Request{
		Method: k.req.Method, ProtoMajor: 1, ProtoMinor: k.req.Minor, Header: make(http.Header),
		Body: body, ContentLength: k.req.Length,
	}).WithContext(context.Background())
	for _, name := range [...]string{"te", "content-type", "grpc-timeout"} {
		if v := k.req.Field(name); v != nil {
			r.Header.Set(name, string(v))
		}
	}
	for name := range strings.SplitSeq(string(k.req.Field("trailer")), ",") {
		if name = strings.TrimSpace(name); name != "" && k.req.Length < 0 {
			r.Trailer = setNil(r.Trailer, http.CanonicalHeaderKey(name))
		}
	}
	s := newStream(k, w, r)
	w.s, s.req = s, &k.req
	s.begin()
	s.want, s.want.by, s.want.seat = x.want, s, nil // the exchange leaves it
	s.verdict, s.extra = x.verdict, x.extra
	watch := k.watch(s)
	s.run()
	s.finish()
	watch()
	x.verdict = s.verdict
	return w.finish(s.aborted)
}

// errNoUpgrade answers a request that wants to leave HTTP where the container
// is spoken to by HTTP/2 or over TLS.
var errNoUpgrade = &refusal{code: page.Unsupported, text: "Upgrades are not carried to containers that are spoken to by HTTP/2 or TLS."}

// watch looks now and then whether a client of HTTP/1 has left, once the stream
// has lasted. The function that it returns ends that.
func (k *conn) watch(s *stream) (stop func()) {
	done := make(chan struct{})
	over := make(chan struct{})
	go func() {
		defer close(over)
		t := time.NewTimer(firstLook)
		defer t.Stop()
		for look := firstLook; ; look = min(4*look, lastLook) {
			select {
			case <-done:
				return
			case <-t.C:
			}
			if k.gone() {
				s.cancel(errLeft)
				return
			}
			t.Reset(look)
		}
	}()
	return func() { close(done); <-over }
}

// plainBody is the body of a request of HTTP/1.
type plainBody struct {
	w      *plainWriter
	asked  bool
	closed atomic.Bool
}

// Read implements [io.Reader]. The first one lets a client that waits for it go
// on.
func (b *plainBody) Read(p []byte) (int, error) {
	x := b.w.x
	if !b.asked {
		b.asked = true
		b.w.goOn()
	}
	_ = x.k.c.SetReadDeadline(time.Now().Add(writeLimit))
	if b.closed.Load() {
		return 0, net.ErrClosed
	}
	n, err := x.body.Read(p)
	if errors.Is(err, io.EOF) {
		b.w.s.endTrailers(x.body.Trailer())
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = &http1.Error{Status: 408, Reason: "the request's body did not come"}
	}
	return n, err
}

// Close implements [io.Closer]: a read that waits returns.
func (b *plainBody) Close() error {
	b.closed.Store(true)
	return b.w.x.k.c.SetReadDeadline(time.Unix(1, 0))
}

// plainWriter writes the answer of a stream to a client of HTTP/1.
type plainWriter struct {
	x       *exchange
	s       *stream
	header  http.Header
	mu      sync.Mutex // guards what is written, until wrote
	wrote   bool
	chunked bool
	keep    bool
	none    bool // there is no body
	left    int64
	buf     []byte
	err     error
}

// Header implements [http.ResponseWriter].
func (w *plainWriter) Header() http.Header { return w.header }

// WriteHeader implements [http.ResponseWriter].
func (w *plainWriter) WriteHeader(status int) {
	x := w.x
	minor := x.k.req.Minor
	if status < 200 {
		if minor == 1 {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.flush(http1.AppendResponse(nil, w.head(status), http1.Delivery{Minor: 1}))
		}
		return
	}
	w.mu.Lock()
	w.wrote = true
	w.mu.Unlock()
	length := w.length()
	res := w.head(status)
	w.none = x.k.req.Method == http.MethodHead || status == 204 || status == 304
	w.chunked = !w.none && length < 0 && minor == 1
	w.left = length
	w.keep = x.keepAlive() && w.s.bodyRead() && (w.none || length >= 0 || w.chunked) && w.header.Get("Connection") != "close"
	w.buf = http1.AppendResponse(w.buf, res, http1.Delivery{Minor: minor, KeepAlive: w.keep, Chunked: w.chunked})
}

// length is what the header says of the body's, or -1. What it says twice, or is
// no number, is taken out: the body is then framed by us alone.
func (w *plainWriter) length() int64 {
	if v := w.header["Content-Length"]; len(v) == 1 {
		if n, err := strconv.ParseUint(v[0], 10, 63); err == nil {
			return int64(n)
		}
	}
	delete(w.header, "Content-Length")
	return -1
}

// head makes the header a head of package http1.
func (w *plainWriter) head(status int) *http1.Response {
	return &http1.Response{Status: status, Reason: []byte(http.StatusText(status)), Fields: http2x.Fields(w.header)}
}

// Write implements [http.ResponseWriter].
func (w *plainWriter) Write(b []byte) (int, error) {
	if !w.none && len(b) > 0 {
		if w.left >= 0 {
			w.left -= int64(len(b))
		}
		w.frame(b)
	}
	if len(w.buf) >= copyBuffer {
		w.flush(nil)
	}
	return len(b), w.err
}

func (w *plainWriter) frame(b []byte) {
	if !w.chunked {
		w.buf = append(w.buf, b...)
		return
	}
	piece := make([]byte, http1.ChunkRoom+len(b)+http1.ChunkAfter)
	copy(piece[http1.ChunkRoom:], b)
	w.buf = append(w.buf, http1.FrameChunk(piece, len(b))...)
}

// FlushError sends what was written.
func (w *plainWriter) FlushError() error {
	w.flush(nil)
	return w.err
}

// SetWriteDeadline makes writes fail from then on.
func (w *plainWriter) SetWriteDeadline(t time.Time) error {
	return w.x.k.c.SetWriteDeadline(t)
}

func (w *plainWriter) flush(more []byte) {
	b := append(w.buf, more...)
	w.buf = w.buf[:0]
	if len(b) == 0 || w.err != nil {
		return
	}
	w.err = w.x.k.write(b)
}

// finish ends the answer, and says whether the connection goes on.
func (w *plainWriter) finish(aborted bool) bool {
	k := w.x.k
	k.readBy, k.writeBy = time.Time{}, time.Time{}
	if aborted || !w.wrote || w.left > 0 && !w.none {
		w.flush(nil)
		k.reset()
		return false
	}
	if w.chunked {
		w.flush(w.lastChunk())
	}
	w.flush(nil)
	if w.err == nil && !w.keep {
		k.linger()
	}
	return w.err == nil && w.keep
}

// lastChunk ends the body; trailers go along.
func (w *plainWriter) lastChunk() []byte {
	trailer := make(http.Header)
	for key, values := range w.header {
		if name, ok := strings.CutPrefix(key, http.TrailerPrefix); ok {
			trailer[name] = values
		}
	}
	return http1.AppendEnd(nil, http2x.Fields(trailer))
}

func setNil(h http.Header, name string) http.Header {
	if h == nil {
		h = make(http.Header)
	}
	h[name] = nil
	return h
}

// endTrailers has the values of the trailers that were announced, as x/net has
// them for clients of HTTP/2.
func (s *stream) endTrailers(fields []http1.Field) {
	for name, values := range http2x.Header(fields) {
		if _, ok := s.r.Trailer[name]; ok {
			s.r.Trailer[name] = values
		}
	}
}

// goOn tells a client that waits with its body to send it.
func (w *plainWriter) goOn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.wrote && w.x.k.req.Expects && w.x.k.req.Minor == 1 {
		_ = w.x.k.write([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	}
}
