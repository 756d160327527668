package ambassador

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/ambassador/http2x"
	"github.com/remorahq/remora/internal/traffic"
)

// sessions are the HTTP/2 connections of clients. A worker that drains ends
// them in two steps; a switch of releases leaves them alone (P4).
type sessions struct {
	buffers http2x.Buffers

	mu      sync.Mutex
	open    map[*http2x.Session]struct{}
	leaving <-chan struct{} // set when the worker drains; closed when it stops
}

func (ss *sessions) add(s *http2x.Session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.open == nil {
		ss.open = make(map[*http2x.Session]struct{})
	}
	ss.open[s] = struct{}{}
	if ss.leaving != nil {
		s.Drain(ss.leaving)
	}
}

func (ss *sessions) remove(s *http2x.Session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	delete(ss.open, s)
}

// drain ends all sessions gracefully, those too that begin later.
func (ss *sessions) drain(stopping <-chan struct{}) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.leaving != nil {
		return
	}
	ss.leaving = stopping
	for s := range ss.open {
		s.Drain(stopping)
	}
}

// serveH2 serves HTTP/2 to the connection's end. The client's preface comes
// next, or was read ahead.
func (k *conn) serveH2() {
	_ = k.c.SetDeadline(time.Time{})
	s, err := http2x.NewSession(k.h2Conn(), k.h2Reader(), http2x.Options{Idle: k.wk.view.Load().limits.idle, Write: writeLimit, Log: k.wk.log})
	if err != nil {
		k.wk.log.Error("begin an HTTP/2 session", "err", err)
		return
	}
	k.wk.sessions.add(s)
	defer k.wk.sessions.remove(s)
	s.Serve(http.HandlerFunc(k.serveStream))
}

func (k *conn) h2Conn() net.Conn {
	if k.tls != nil {
		return k.tls
	}
	return k.c
}

func (k *conn) h2Reader() io.Reader {
	first := k.takeRead()
	if k.tls == nil {
		return http2x.NewReader(k.raw, first, &k.wk.sessions.buffers)
	}
	return io.MultiReader(bytes.NewReader(first), k)
}

// prior says whether the client begins with HTTP/2's preface (prior knowledge,
// RFC 9113 §3.3). It waits for no more bytes than agree with that.
func (k *conn) prior() bool {
	for n := 1; n <= len(http2.ClientPreface); n++ {
		if k.br.Buffered() < n {
			k.readBy = k.arrived.Add(k.wk.view.Load().limits.header)
			_ = k.c.SetReadDeadline(k.readBy)
		}
		b, err := k.br.Peek(n)
		if err != nil || b[n-1] != http2.ClientPreface[n-1] {
			return false
		}
	}
	return true
}

// translates says whether a client of HTTP/2 on a detected port can be served
// stream by stream: its container speaks HTTP/2, or HTTP/1. Where it speaks
// neither, the connection is a tunnel.
func (k *conn) translates() bool {
	w := k.want()
	rv, err := w.resolve(k.wk.view.Load())
	if err != nil || rv.spec.Upstream != traffic.UpstreamHTTP1 {
		return true
	}
	d := rv.sv.decide(&w)
	return d.ev == nil || d.ev.ep.speaks(rv.spec.Port) != speaksOther
}

// speech is what a container's port answers to a client of HTTP/2.
type speech int32

const (
	speaksUnknown speech = iota
	speaksHTTP1
	speaksHTTP2
	speaksOther
)

// speechLimit is how long a port may take to answer HTTP/2's preface.
const speechLimit = time.Second

// speaks tells, and finds out once, what the port speaks. A port that cannot be
// reached now is asked again.
func (e *endpoint) speaks(port uint16) speech {
	m := &e.pool(port).shared
	m.asking.Lock()
	defer m.asking.Unlock()
	if m.speech == speaksUnknown {
		m.speech = e.ask(port)
	}
	return m.speech
}

// ask sends the preface and an empty SETTINGS frame, which no server takes for
// a request, and looks at what comes back.
func (e *endpoint) ask(port uint16) speech {
	up, err := e.dial(port)
	if err != nil {
		return speaksUnknown
	}
	defer up.drop()
	_ = up.SetDeadline(time.Now().Add(speechLimit))
	var hello bytes.Buffer
	hello.WriteString(http2.ClientPreface)
	_ = http2.NewFramer(&hello, nil).WriteSettings()
	if _, err := up.Write(hello.Bytes()); err != nil {
		return speaksHTTP1
	}
	b, err := bufio.NewReader(up).Peek(frameHead)
	switch {
	case len(b) == frameHead && http2.FrameType(b[3]) == http2.FrameSettings && bytes.Equal(b[4:], make([]byte, 5)):
		return speaksHTTP2
	case bytes.HasPrefix(b, []byte("HTTP/1.")):
		return speaksHTTP1
	case len(b) == 0 && err != nil && cause(err) != timedOut:
		return speaksHTTP1 // it closes what it does not understand
	}
	return speaksOther
}

// frameHead is the length of a frame's head.
const frameHead = 9

// serveStream serves one request of an HTTP/2 connection.
func (k *conn) serveStream(w http.ResponseWriter, r *http.Request) {
	s := newStream(k, w, r)
	head := new(http1.Request)
	s.req = head
	var err error
	s.arena, err = http2x.Request(head, r, nil)
	s.serve(err)
	s.done()
	if s.aborted {
		panic(http.ErrAbortHandler) // resets the stream
	}
}
