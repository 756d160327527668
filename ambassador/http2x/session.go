package http2x

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// Limits of a session. x/net brings its own against floods of resets, pings,
// settings and continuations.
const (
	// MaxStreams is how many streams a client may have open at once.
	MaxStreams = 250
	// maxHead is the longest list of header fields, and maxFrame the longest
	// frame that is read, in bytes.
	maxHead  = 16 << 10
	maxFrame = 16 << 10
	// streamWindow and connWindow are how much of the bodies of one stream and
	// of all of a connection is taken before it is passed on. One stream whose
	// container is slow leaves room for others.
	streamWindow = 256 << 10
	connWindow   = 1 << 20
	// pingAfter is how long a client may say nothing before it is asked whether
	// it lives, and pingLimit how long it may take to answer. Together they also
	// bound how long a frame may take.
	pingAfter = 45 * time.Second
	pingLimit = 15 * time.Second
	// settle is how long new streams are still taken after the first GOAWAY. It
	// is longer than any round trip.
	settle = time.Second
)

// Options of a session; zero durations are none.
type Options struct {
	// Idle is how long the client may have no stream open, Write how long a
	// write may make no progress.
	Idle, Write time.Duration
	Log         *slog.Logger
}

// Session is one HTTP/2 connection of a client.
type Session struct {
	conn  *conn
	outer net.Conn
	http1 *http.Server
	http2 *http2.Server
	ended chan struct{}

	draining sync.WaitGroup

	mu       sync.Mutex
	handlers int
	over     bool
	none     sync.Cond
}

// NewSession makes a session of a connection, a [*tls.Conn] whose handshake is
// done or a plain one. What the client sends, its preface first, is read from
// in; the session writes to c and closes it.
func NewSession(c net.Conn, in io.Reader, opt Options) (*Session, error) {
	s := &Session{conn: newConn(c, in), ended: make(chan struct{})}
	s.none.L = &s.mu
	s.outer = s.conn
	if t, ok := c.(*tls.Conn); ok {
		s.outer = &secureConn{s.conn, t}
	}
	s.http1 = &http.Server{MaxHeaderBytes: maxHead, ErrorLog: slog.NewLogLogger(opt.Log.Handler(), slog.LevelDebug)}
	s.http2 = &http2.Server{
		MaxConcurrentStreams: MaxStreams, MaxReadFrameSize: maxFrame,
		MaxUploadBufferPerStream: streamWindow, MaxUploadBufferPerConnection: connWindow,
		IdleTimeout: opt.Idle, WriteByteTimeout: opt.Write,
		ReadIdleTimeout: pingAfter, PingTimeout: pingLimit,
	}
	// Only a configured server can be shut down; one for each connection, so
	// that none can be missed between its accept and its first request.
	if err := http2.ConfigureServer(s.http1, s.http2); err != nil {
		return nil, err
	}
	return s, nil
}

// Serve serves the connection to its end. When it returns, all handlers have.
// It is called once.
func (s *Session) Serve(h http.Handler) {
	s.http2.ServeConn(s.outer, &http2.ServeConnOpts{BaseConfig: s.http1, Handler: s.counted(h)})
	close(s.ended)
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.draining.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.handlers > 0 {
		s.none.Wait()
	}
}

// counted counts the handlers that run. One that x/net starts when the
// connection has ended already does nothing.
func (s *Session) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if s.over {
			s.mu.Unlock()
			return
		}
		s.handlers++
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.handlers--; s.handlers == 0 {
				s.none.Broadcast()
			}
		}()
		h.ServeHTTP(w, r)
	})
}

// Drain ends the session gracefully: a GOAWAY that still takes every stream,
// after more than a round trip one with the last stream taken, and the
// connection's end when the streams have ended. It does not wait, and takes
// the second step at once when stop is closed.
func (s *Session) Drain(stop <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.draining.Go(func() { s.drain(stop) })
	}
}

func (s *Session) drain(stop <-chan struct{}) {
	select {
	case <-s.conn.begun:
	case <-s.ended:
		return
	case <-stop:
		return
	}
	s.conn.announce()
	timer := time.NewTimer(settle)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ended:
	case <-stop:
	}
	// It has no connections of its own to wait for.
	_ = s.http1.Shutdown(context.Background())
}

// conn lets frames be put between those that the server writes.
type conn struct {
	net.Conn
	in    io.Reader
	begun chan struct{} // closed when the server has written

	mu      sync.Mutex
	started bool
	frames  frames
	pending []byte // to be put in at the next boundary
}

func newConn(c net.Conn, in io.Reader) *conn {
	return &conn{Conn: c, in: in, begun: make(chan struct{})}
}

// secureConn tells x/net that, and how, the connection is secure.
type secureConn struct {
	*conn
	tls *tls.Conn
}

// ConnectionState implements what x/net looks for.
func (c *secureConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// Read implements [net.Conn].
func (c *conn) Read(b []byte) (int, error) { return c.in.Read(b) }

// Write implements [net.Conn].
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	if c.pending != nil && !c.frames.boundary() {
		m, err := c.pass(b, true)
		if n = m; err != nil {
			return n, err
		}
	}
	if c.started && c.frames.boundary() {
		if err := c.putPending(); err != nil {
			return n, err
		}
	}
	m, err := c.pass(b[n:], false)
	if !c.started {
		c.started = true
		close(c.begun)
	}
	return n + m, err
}

// pass writes b, with stop only to the first boundary.
func (c *conn) pass(b []byte, stop bool) (int, error) {
	n, resets := c.frames.scan(b, stop)
	if n == 0 {
		return 0, nil
	}
	return c.Conn.Write(cancelled(b[:n], resets))
}

func (c *conn) putPending() error {
	if c.pending == nil {
		return nil
	}
	b := c.pending
	c.pending = nil
	_, err := c.Conn.Write(b)
	return err
}

// announce puts the first GOAWAY in, now or at the present frame's end. It
// follows the server's first write.
func (c *conn) announce() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = goAwayLater()
	if c.frames.boundary() {
		_ = c.putPending() // the next write fails as well
	}
}
