package ambassador

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/internal/traffic"
)

const (
	// maxMirrors bounds the copies under way; what comes beyond is dropped and
	// counted.
	maxMirrors = 64
	// mirrorLimit is how long a copy may take, and mirrorBody how much of its
	// answer is read.
	mirrorLimit = 30 * time.Second
	mirrorBody  = 1 << 20
)

// mirrorField marks a copy, so that who gets it can tell.
const mirrorField = "Remora-Mirror: 1\r\n"

// mirrorView is where copies of requests go.
type mirrorView struct {
	rv    *releaseView
	share int
}

func newMirror(s *traffic.Service, releases []*releaseView) *mirrorView {
	if s.Mirror == nil || s.Mirror.Share <= 0 {
		return nil
	}
	rv := canaryNamed(s.Mirror.Release, releases)
	if rv == nil {
		return nil
	}
	return &mirrorView{rv: rv, share: s.Mirror.Share}
}

// mirror sends a copy of a request that was served by another release. Only
// what changes nothing is copied: a copy comes later than the request, and a
// PUT that is repeated late may undo another. Its whole body must be at hand. A
// copy of what authenticates a connection would lend the client's name to
// others' copies.
func (x *exchange) mirror() {
	if rv := x.want.route; rv == nil || rv.sv.mirror == nil || rv.spec.Upstream != traffic.UpstreamHTTP1 {
		return
	}
	m, r := x.want.route.sv.mirror, &x.k.req
	safe := r.Method == "GET" || r.Method == "HEAD" || r.Method == "OPTIONS"
	if !safe || x.streams || r.Upgrade != "" || r.Pins || x.verdict.sent.IsZero() || x.verdict.rel == m.rv.rel {
		return
	}
	if rand.IntN(wholeShare) < m.share {
		x.k.wk.shadow(m, x.want.route.spec.Port, r.Method, x.out)
	}
}

// shadow sends a copy in a goroutine of its own, if there is room for one more.
// It never waits.
func (wk *Worker) shadow(m *mirrorView, port uint16, method string, request []byte) {
	rel := m.rv.rel
	ev := m.rv.pick(nil, rand.Uint32())
	if ev == nil || wk.mirrors.Add(1) > maxMirrors {
		if ev != nil {
			wk.mirrors.Add(-1)
		}
		rel.unmirrored.Add(1)
		return
	}
	cl, ok := wk.claim(decision{rv: m.rv, ev: ev}, port, false)
	if !ok {
		wk.mirrors.Add(-1)
		return
	}
	s := &shadow{wk: wk, claim: cl, method: method, request: marked(request)}
	wk.background.Go(s.run)
}

// marked copies a request and marks it.
func marked(request []byte) []byte {
	line := bytes.Index(request, []byte("\r\n")) + 2
	b := make([]byte, 0, len(request)+len(mirrorField))
	b = append(append(b, request[:line]...), mirrorField...)
	return append(b, request[line:]...)
}

// shadow is a copy under way.
type shadow struct {
	wk      *Worker
	claim   claim
	method  string
	request []byte
	flight  flight
	up      *upstream
	res     http1.Response
	by      time.Time
}

func (s *shadow) run() {
	defer s.wk.mirrors.Add(-1)
	defer s.claim.end(s.wk.changed.fire)
	rel := s.claim.rel
	if err := s.exchange(); err != nil || s.res.Status >= 500 {
		rel.mirrorErrors.Add(1)
	}
	rel.mirrored.Add(1)
}

func (s *shadow) exchange() error {
	s.by = time.Now().Add(mirrorLimit)
	if s.up = s.claim.ep.pool(s.claim.port).get(time.Now(), maxIdle); s.up == nil {
		up, err := s.claim.ep.dial(s.claim.port)
		if err != nil {
			return err
		}
		s.up = up
	}
	up := s.up
	s.flight.stop = func() { _ = up.SetReadDeadline(time.Unix(1, 0)) }
	up.readBy = time.Time{} // stop may hide it
	s.claim.rel.enlist(&s.flight)
	br := s.wk.readers.get(up)
	defer s.wk.readers.put(br)
	up.writeDeadline(time.Now())
	_, err := up.Write(s.request)
	if err == nil {
		err = s.answer(br)
	}
	s.claim.rel.delist(&s.flight) // before another exchange has the connection
	up.readBy = time.Time{}
	if err != nil || !s.res.KeepAlive || br.Buffered() > 0 || s.claim.rel.closed.Load() {
		return errors.Join(err, up.Close())
	}
	up.put(time.Now(), s.res.Idle)
	return nil
}

// answer reads the answer and drops it.
func (s *shadow) answer(br *bufio.Reader) error {
	for s.res.Status < 200 {
		if err := s.patiently(func() error { return s.res.Read(br, s.method) }); err != nil {
			return err
		}
		s.res.Discard(br)
		if s.res.Status == 101 {
			return errBroken
		}
	}
	var body http1.Body
	body.Reset(br, s.res.Length)
	buf := s.wk.buffers.get()
	defer s.wk.buffers.put(buf)
	for n := 0; n < mirrorBody; {
		m := 0
		err := s.patiently(func() (err error) {
			m, err = body.Read(buf.b[:])
			return err
		})
		n += m
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
	return errBroken
}

// patiently repeats a read that loses nothing when it times out, until the
// copy's time is over, the release's drain ends it, or the worker stops.
func (s *shadow) patiently(read func() error) error {
	for {
		s.up.readDeadline(time.Now(), goneEvery)
		switch {
		case s.flight.kicked.Load():
			return errKicked
		case time.Now().After(s.by):
			return os.ErrDeadlineExceeded
		}
		err := read()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		select {
		case <-s.wk.stopping:
			return err
		default:
		}
	}
}
