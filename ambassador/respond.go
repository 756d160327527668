package ambassador

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/ambassador/page"
)

// respond passes the response on, or begins a tunnel.
func (x *exchange) respond() outcome {
	r, s := &x.k.req, &x.res
	switch {
	case s.Status == 101 && (r.Upgrade == "" || !x.uploaded()):
		return invalid
	case r.Method == "CONNECT" && s.Status < 300 && s.Framed:
		return invalid // the server did not understand: it answered a request
	case s.Status == 101, r.Method == "CONNECT" && s.Status < 300:
		return x.switchProtocols()
	}
	// An answer before the upload's end closes the connection (RFC 9112 §9.6).
	keep := x.keepAlive() && (x.pump == nil || x.pump.read.Load())
	chunked := s.Length < 0 && r.Minor == 1
	if s.Length < 0 && r.Minor == 0 {
		keep = false
	}
	d := http1.Delivery{Minor: r.Minor, KeepAlive: keep, Chunked: chunked, Extra: x.extra}
	buf := x.k.wk.buffers.get()
	defer x.k.wk.buffers.put(buf)
	head := http1.AppendResponse(buf.b[:0], s, d)
	s.Discard(x.ubr)
	err := x.copyResponse(head, buf, chunked)
	switch {
	case err == nil && keep:
		return served
	case err == nil:
		return ended
	}
	// The client must see that the answer is not whole: no last chunk, and a
	// reset where only the connection's end tells.
	if errors.Is(err, errBroken) || errors.Is(err, errKicked) {
		x.claim.rel.errors5xx.Add(1)
		x.verdict.why = page.BrokenOff
		if errors.Is(err, errKicked) {
			x.verdict.why = page.Kicked
		}
		x.k.reset()
	}
	return deserted
}

// copyResponse writes the head and the body. A small body that has arrived
// goes out with the head in one write. head is in buf, unless it was too long.
func (x *exchange) copyResponse(head []byte, buf *buffer, chunked bool) error {
	body := &x.reply
	body.Reset(x.ubr, x.res.Length)
	if n := int(x.res.Length); n > 0 && n <= x.ubr.Buffered() && len(head)+n <= cap(head) {
		have := len(head)
		head = head[:have+n]
		if _, err := io.ReadFull(body, head[have:]); err != nil {
			return errBroken
		}
	}
	if err := x.toClient(head); err != nil {
		return err
	}
	if body.Done() {
		return nil
	}
	if x.res.Events {
		x.becomeStream()
	}
	return x.copyBody(buf.b[:], chunked)
}

func (x *exchange) toClient(b []byte) error {
	x.claim.rel.bytesOut.Add(uint64(len(b)))
	x.verdict.bytesOut += int64(len(b))
	if err := x.k.write(b); err != nil {
		return leftError{}
	}
	return nil
}

// uploaded ends the pump of a body that has come to its end; false says that
// more is to come.
func (x *exchange) uploaded() bool {
	p := x.pump
	if p == nil {
		return true
	}
	if !p.read.Load() {
		return false
	}
	<-p.end
	x.verdict.bytesIn += p.sent
	x.pump = nil
	return p.written.Load()
}

// becomeStream counts a stream of events as a tunnel: it may go on until the
// deadline of tunnels.
func (x *exchange) becomeStream() {
	x.verdict.lasting = true
	x.want.forget()
	x.claim.becomeTunnel(x.k.wk.changed.fire)
	rel := x.claim.rel
	if x.listed {
		rel.delist(&x.flight)
	}
	x.flight.tunnel = true
	x.listed = false
	x.enlist()
}

// readPiece reads a piece of the reply.
func (x *exchange) readPiece() (err error) {
	x.got, err = x.reply.Read(x.room)
	return err
}

func (x *exchange) copyBody(buf []byte, chunked bool) error {
	x.room = buf[http1.ChunkRoom : len(buf)-http1.ChunkAfter]
	defer func() { x.room = nil }()
	for piece := 0; ; piece++ {
		if piece == longAnswer {
			x.enlist()
		}
		x.got = 0
		err := x.patiently((*exchange).readPiece)
		if n := x.got; n > 0 {
			b := x.room[:n]
			if chunked {
				b = http1.FrameChunk(buf, n)
			}
			if err := x.toClient(b); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF) && chunked, errors.Is(err, errKicked) && x.res.Events && chunked:
			return x.toClient([]byte(http1.LastChunk))
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errKicked), errors.As(err, &leftError{}):
			return err
		case err != nil:
			return errBroken
		}
	}
}

// switchProtocols passes a 101 or the answer to CONNECT on and tunnels.
func (x *exchange) switchProtocols() outcome {
	d := http1.Delivery{Minor: 1, KeepAlive: true, Switching: x.res.Status == 101, Extra: x.extra}
	head := http1.AppendResponse(nil, &x.res, d)
	x.res.Discard(x.ubr)
	if err := x.toClient(head); err != nil {
		return deserted
	}
	x.want.forget()
	x.claim.becomeTunnel(x.k.wk.changed.fire)
	_ = x.up.SetDeadline(time.Time{})
	up, ubr := x.up, x.ubr
	x.up, x.ubr = nil, nil
	x.verdict.lasting, x.verdict.protocol = true, protocolOf(x.k.req.Upgrade)
	x.k.upgraded(&x.claim, up, ubr, &x.verdict)
	return ended
}

// pump copies an upload while the response is awaited.
type pump struct {
	up      *upstream
	halting atomic.Bool
	left    atomic.Bool // the client broke off
	read    atomic.Bool // the client's body was read to its end
	written atomic.Bool // and written
	end     chan struct{}
	sent    int64 // bytes, once it has ended
}

// halt ends the pump and waits for it. The client's bytes that it has not read
// stay unread.
func (p *pump) halt(k *conn) {
	p.halting.Store(true)
	_ = k.c.SetReadDeadline(time.Unix(1, 0))
	k.readBy = time.Time{}
	_ = p.up.SetWriteDeadline(time.Unix(1, 0))
	<-p.end
}

// deadlines lets the client and the upstream take their time, unless the pump
// is being halted: then false, and no deadline of ours hides halt's.
func (p *pump) deadlines(k *conn) bool {
	by := time.Now().Add(writeLimit)
	_, _ = k.c.SetReadDeadline(by), p.up.SetWriteDeadline(by)
	return !p.halting.Load()
}

// startPump sends what was kept of the body before, then the rest as it comes.
func (x *exchange) startPump() bool {
	for piece := x.kept; len(piece) > 0; {
		n := min(len(piece), copyBuffer)
		if _, err := x.up.Write(x.frame(piece[:n])); err != nil {
			return false
		}
		piece = piece[n:]
	}
	p := &pump{up: x.up, end: make(chan struct{})}
	p.read.Store(x.body.Done())
	x.pump = p
	x.k.readBy = time.Time{}
	go func() {
		defer close(p.end)
		if x.upload(p) {
			p.left.Store(true)
			_ = p.up.SetReadDeadline(time.Unix(1, 0))
		}
	}()
	return true
}

// frame gives a piece of body the request's framing.
func (x *exchange) frame(piece []byte) []byte {
	if x.k.req.Length >= 0 {
		return piece
	}
	buf := make([]byte, http1.ChunkRoom+len(piece)+http1.ChunkAfter)
	copy(buf[http1.ChunkRoom:], piece)
	return http1.FrameChunk(buf, len(piece))
}

// upload copies the body and says whether the client broke off. What is read
// is kept while it fits, so that the request can be sent again.
func (x *exchange) upload(p *pump) (left bool) {
	pooled := x.k.wk.buffers.get()
	defer x.k.wk.buffers.put(pooled)
	buf := pooled.b[:]
	const room, after = http1.ChunkRoom, http1.ChunkAfter
	chunked := x.k.req.Length < 0
	lim := x.k.wk.view.Load().limits
	got, waited := int64(0), time.Duration(0)
	for p.deadlines(x.k) {
		begun := time.Now()
		n, err := x.body.Read(buf[room : len(buf)-after])
		got, waited = got+int64(n), waited+time.Since(begun)
		switch {
		case errors.Is(err, io.EOF):
			p.read.Store(true)
			if chunked {
				_, err = io.WriteString(p.up, http1.LastChunk)
			}
			p.written.Store(err == nil || errors.Is(err, io.EOF))
			return false
		case err != nil:
			return !p.halting.Load()
		case !chunked && !x.body.Done() && lim.trickles(got, waited):
			return true
		}
		// A server may answer the last byte before we come to know that it was
		// written.
		p.read.Store(x.body.Done())
		x.keep(buf[room : room+n])
		piece := buf[room : room+n]
		if chunked {
			piece = http1.FrameChunk(buf, n)
		}
		if _, err := p.up.Write(piece); err != nil {
			return false
		}
		x.claim.rel.bytesIn.Add(uint64(n))
		p.sent += int64(n)
	}
	return false
}

func (x *exchange) keep(piece []byte) {
	if x.lost {
		return
	}
	if len(x.kept)+len(piece) > replayLimit || !x.charge(int64(len(piece))) {
		x.lost, x.kept = true, nil
		return
	}
	x.kept = append(x.kept, piece...)
}
