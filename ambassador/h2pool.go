package ambassador

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"
)

const (
	// sharedIdle is how long a connection of HTTP/2 to a container is kept
	// without a stream.
	sharedIdle = 60 * time.Second
	// upstreamHandshake is how long a container may take for TLS.
	upstreamHandshake = 2 * time.Second
	// answerWindow is how much of one answer is taken before the client has.
	answerWindow = 256 << 10
	// answerHead is the longest list of header fields of an answer, in bytes.
	answerHead = 64 << 10
)

// shared holds the HTTP/2 connections to one port of an endpoint, each of which
// carries many requests, and over TLS those of HTTP/1.1 too.
type shared struct {
	asking sync.Mutex
	speech speech // guarded by asking

	mu      sync.Mutex
	chosen  speech // by ALPN
	conns   []*sharedConn
	dialing chan struct{} // closed when the dial that runs has ended
	closed  bool
	idle    []*secureUpstream
}

// sharedConn is a connection of HTTP/2. Its counts belong to its shared; x/net's
// own would be had only by waiting for a write that may take long.
type sharedConn struct {
	*http2.ClientConn
	wire    *watched
	streams int
	leaving bool // takes no more streams, and is closed after the last one
}

// watched tells when a connection was closed.
type watched struct {
	*net.TCPConn
	ended atomic.Bool
}

// Close implements [net.Conn].
func (c *watched) Close() error {
	c.ended.Store(true)
	return c.TCPConn.Close()
}

// over says that the container has ended the connection, although there may be
// something before its end that was not read yet: a call that is sent on it has
// no answer.
func (c *watched) over() bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	over := false
	err = raw.Control(func(fd uintptr) {
		const established = 1
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		over = err != nil || info.State != established
	})
	return err != nil || over
}

// errSpeaksHTTP1 says that a container chose HTTP/1.1 by ALPN.
var errSpeaksHTTP1 = errors.New("the container speaks HTTP/1.1")

// stream reserves a stream on a connection of HTTP/2, which is dialled if there
// is none with room; done gives it back. Any error means that nothing was sent;
// errSpeaksHTTP1 comes with a connection of that.
func (e *endpoint) stream(port uint16, secure bool) (*sharedConn, *secureUpstream, error) {
	m := &e.pool(port).shared
	for {
		sc, wait := m.reserve()
		switch {
		case sc != nil:
			return sc, nil, nil
		case wait != nil:
			<-wait
			continue
		}
		sc, su, err := e.dialShared(port, secure)
		if !m.dialled(sc) && err == nil {
			err = errTakesNone
		}
		return sc, su, err
	}
}

// errTakesNone says that a new connection takes no stream.
var errTakesNone = errors.New("the container takes no stream")

// reserve takes a stream, or tells what to wait for; with neither the caller
// dials, and calls dialled afterwards.
func (m *shared) reserve() (*sharedConn, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, sc := range m.conns {
		if !sc.leaving && !sc.wire.over() && sc.ReserveNewRequest() {
			sc.streams++
			return sc, nil
		}
	}
	if m.dialing != nil {
		return nil, m.dialing
	}
	m.dialing = make(chan struct{})
	return nil, nil
}

// dialled keeps a new connection and takes its first stream, unless it has
// ended again.
func (m *shared) dialled(sc *sharedConn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.dialing)
	m.dialing = nil
	if sc == nil || !sc.ReserveNewRequest() {
		return false
	}
	sc.streams++
	sc.leaving = m.closed
	m.conns = append(m.conns, sc)
	return true
}

// done gives a stream back.
func (m *shared) done(sc *sharedConn) {
	m.mu.Lock()
	sc.streams--
	last := sc.leaving && sc.streams == 0
	m.mu.Unlock()
	if last {
		_ = sc.Close()
	}
}

// dialShared dials a connection of HTTP/2, with prior knowledge or over TLS.
func (e *endpoint) dialShared(port uint16, secure bool) (*sharedConn, *secureUpstream, error) {
	up, err := e.dial(port)
	if err != nil {
		return nil, nil, err
	}
	if !secure {
		w := &watched{TCPConn: up.TCPConn}
		sc, err := newSharedConn(w, w)
		return sc, nil, err
	}
	su, err := handshake(up, "h2", "http/1.1")
	if err != nil {
		return nil, nil, err
	}
	if su.ConnectionState().NegotiatedProtocol != http2.NextProtoTLS {
		return nil, su, errSpeaksHTTP1
	}
	sc, err := newSharedConn(su.Conn, su.watched)
	return sc, nil, err
}

// dialSecure dials a connection of HTTP/1.1 over TLS.
func (e *endpoint) dialSecure(port uint16) (*secureUpstream, error) {
	up, err := e.dial(port)
	if err != nil {
		return nil, err
	}
	return handshake(up, "http/1.1")
}

// handshake begins TLS. The certificate is not verified: the container is known
// by its identity, and sends no name since many host names share a connection.
func handshake(up *upstream, protocols ...string) (*secureUpstream, error) {
	ctx, cancel := context.WithTimeout(context.Background(), upstreamHandshake)
	defer cancel()
	w := &watched{TCPConn: up.TCPConn}
	c := tls.Client(w, &tls.Config{InsecureSkipVerify: true, NextProtos: protocols, MinVersion: tls.VersionTLS12}) // see above
	if err := c.HandshakeContext(ctx); err != nil {
		up.drop()
		return nil, err
	}
	return &secureUpstream{Conn: c, m: &up.pool.shared, watched: w, tcp: up, used: up.used, idle: maxIdle}, nil
}

func newSharedConn(c net.Conn, w *watched) (*sharedConn, error) {
	// Only through net/http's transport can windows be set.
	t1 := &http.Transport{
		DisableCompression: true, IdleConnTimeout: sharedIdle, MaxResponseHeaderBytes: answerHead,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: answerWindow, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second,
			WriteByteTimeout: writeLimit,
		},
	}
	t2, err := http2.ConfigureTransports(t1)
	if err != nil {
		return nil, err
	}
	cc, err := t2.NewClientConn(c)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return &sharedConn{ClientConn: cc, wire: w}, nil
}

// secureUpstream is a connection of HTTP/1.1 over TLS.
type secureUpstream struct {
	*tls.Conn
	m       *shared
	watched *watched
	tcp     *upstream
	used    time.Time
	idle    time.Duration
}

// put keeps the connection after an exchange, or closes it.
func (u *secureUpstream) put(_ time.Time, idle time.Duration) {
	if idle > 0 {
		u.idle = min(maxIdle, max(idle-time.Second, 0))
	}
	u.m.mu.Lock()
	defer u.m.mu.Unlock()
	if u.m.closed || len(u.m.idle) >= perPool {
		u.drop()
		return
	}
	u.m.idle = append(u.m.idle, u)
}

func (u *secureUpstream) drop() { u.tcp.drop() }

// take takes an idle connection of HTTP/1.1 over TLS. Whether the server has
// closed it cannot be seen below TLS.
func (m *shared) take(limit time.Duration) *secureUpstream {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for n := len(m.idle); n > 0; n = len(m.idle) {
		u := m.idle[n-1]
		age := now.Sub(u.used)
		if age >= u.idle {
			m.idle = m.idle[:n-1]
			u.drop()
			continue
		}
		if age > limit {
			return nil
		}
		m.idle = m.idle[:n-1]
		u.used = now
		return u
	}
	return nil
}

// shut lets no connection take another stream; those without one are closed,
// the others when their last stream ends. With forever it is so for later ones.
func (m *shared) shut(forever bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = m.closed || forever
	for _, u := range m.idle {
		u.drop()
	}
	m.idle = nil
	for _, sc := range m.conns {
		sc.leaving = true
		if sc.streams == 0 {
			_ = sc.Close()
		}
	}
	m.forget()
}

// expire forgets connections that have ended, and closes those of HTTP/1.1 that
// were idle for too long.
func (m *shared) expire(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget()
	for len(m.idle) > 0 && now.Sub(m.idle[0].used) >= m.idle[0].idle {
		m.idle[0].drop()
		m.idle = m.idle[1:]
	}
}

func (m *shared) forget() {
	m.conns = slices.DeleteFunc(m.conns, func(sc *sharedConn) bool { return sc.wire.ended.Load() })
}
