package ambassador

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/ambassador/tunnel"
)

// pump copies an upload while the response is awaited.
type pump struct {
	up      *upstream
	halting atomic.Bool
	left    atomic.Bool // the client broke off
	read    atomic.Bool // the client's body was read to its end
	written atomic.Bool // and written
	// answered says that the response has begun: the client may wait for more of
	// it before it sends on.
	answered atomic.Bool
	pace     pace
	sent     int64 // bytes of the body; read it after end
	end      chan struct{}
}

// pace is how fast a body comes.
type pace struct {
	got    int64
	waited time.Duration
}

// since counts n bytes that came since begun.
func (p *pace) since(begun time.Time, n int) {
	p.got += int64(n)
	p.waited += time.Since(begun)
}

// halt ends the pump and waits for it. The client's bytes that it has not read
// stay unread.
func (p *pump) halt(k *conn) {
	p.halting.Store(true)
	_ = k.c.SetReadDeadline(time.Unix(1, 0))
	k.readBy = time.Time{}
	_ = p.up.SetWriteDeadline(time.Unix(1, 0))
	<-p.end
	p.up.writeBy = time.Time{}
}

// deadlines lets the client and the upstream take their time, unless the pump
// is being halted: then false, and no deadline of ours hides halt's.
func (p *pump) deadlines(k *conn) bool {
	by := time.Now().Add(writeLimit)
	_, _ = k.c.SetReadDeadline(by), p.up.SetWriteDeadline(by)
	return !p.halting.Load()
}

// endPump lets go of a pump that has ended, and says whether the body was sent.
func (x *exchange) endPump() bool {
	p := x.pump
	x.pump = nil
	p.up.writeBy = time.Time{}
	x.verdict.bytesIn += p.sent
	return p.written.Load()
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
// is kept while it fits, so that the request can be sent again; after that the
// rest moves from socket to socket where it can.
func (x *exchange) upload(p *pump) (left bool) {
	pooled := x.k.wk.buffers.get()
	defer x.k.wk.buffers.put(pooled)
	lim, copies := x.k.wk.view.Load().limits, false
	for p.deadlines(x.k) {
		if m := x.uploadMover(copies); m != nil {
			end, left := x.moveUpload(p, m)
			if end {
				return left
			}
			copies = true
			continue
		}
		begun := time.Now()
		n, err := x.body.Read(pooled.b[http1.ChunkRoom : len(pooled.b)-http1.ChunkAfter])
		p.pace.since(begun, n)
		switch {
		case errors.Is(err, io.EOF):
			x.endUpload(p, pooled)
			return false
		case err != nil:
			return !p.halting.Load()
		case !x.body.Done() && !p.answered.Load() && lim.trickles(p.pace.got, p.pace.waited):
			return true
		case !x.sendPiece(p, pooled, n):
			return false
		}
	}
	return false
}

// endUpload sends the end of a body that was read to its end.
func (x *exchange) endUpload(p *pump, buf *buffer) {
	p.read.Store(true)
	if x.k.req.Length < 0 {
		if _, err := p.up.Write(x.body.AppendLast(buf.b[:0])); err != nil {
			return
		}
	}
	p.written.Store(true)
}

// sendPiece sends the n bytes of the body in buf; false is the connection's end.
func (x *exchange) sendPiece(p *pump, buf *buffer, n int) bool {
	// A server may answer the last byte before we come to know that it was
	// written.
	p.read.Store(x.body.Done())
	piece := buf.b[http1.ChunkRoom : http1.ChunkRoom+n]
	x.keep(piece)
	if x.k.req.Length < 0 {
		piece = http1.FrameChunk(buf.b[:], n)
	}
	if _, err := p.up.Write(piece); err != nil {
		return false
	}
	x.sentOn(p, n)
	return true
}

func (x *exchange) sentOn(p *pump, n int) {
	p.sent += int64(n)
	x.claim.rel.bytesIn.Add(uint64(n))
}

// uploadMover is what moves the rest of a body of which nothing is kept any
// more, or nil.
func (x *exchange) uploadMover(copies bool) *tunnel.Mover {
	if !x.lost || copies {
		return nil
	}
	return x.mover(&x.body, false)
}

// moveUpload moves the rest of the body; end is false when it has to be copied.
func (x *exchange) moveUpload(p *pump, m *tunnel.Mover) (end, left bool) {
	lim := x.k.wk.view.Load().limits
	m.Taken = &p.read // a server may answer the last byte before we know it written
	for p.deadlines(x.k) {
		begun := time.Now()
		n, err := m.Step()
		p.pace.since(begun, int(n))
		x.body.Took(n)
		x.sentOn(p, int(n))
		switch {
		case x.body.Done():
			p.written.Store(true)
			return true, false
		case errors.Is(err, tunnel.ErrNoPipe):
			return false, false
		case errors.As(err, new(*tunnel.WriteError)):
			return true, false
		case err != nil:
			return true, !p.halting.Load()
		case !p.answered.Load() && lim.trickles(p.pace.got, p.pace.waited):
			return true, true
		}
	}
	return true, false
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
