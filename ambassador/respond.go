package ambassador

import (
	"errors"
	"io"
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
	if errors.Is(err, errBroken) || errors.Is(err, errKicked) || x.flight.kicked.Load() {
		x.claim.rel.errors5xx.Add(1)
		x.verdict.why = page.BrokenOff
		if errors.Is(err, errKicked) {
			x.verdict.why = page.Kicked
		}
		x.k.reset()
	}
	return deserted
}

// copyResponse writes the head and the body. What of the body has arrived goes
// out with the head in one write. head is in buf, unless it was too long.
func (x *exchange) copyResponse(head []byte, buf *buffer, chunked bool) error {
	x.reply.Reset(x.ubr, x.res.Length)
	out, err := x.gather(head, chunked)
	if err == nil || len(out) > len(head) {
		if werr := x.toClient(out); werr != nil {
			return werr
		}
	}
	if err != nil || x.reply.Done() {
		return err
	}
	if x.res.Events {
		x.becomeStream()
	}
	if err := x.spliceReply(); !errors.Is(err, errNotSpliced) {
		return err
	}
	return x.copyBody(buf.b[:], chunked)
}

// gather appends what of the body has arrived and fits, and its end.
func (x *exchange) gather(out []byte, chunked bool) ([]byte, error) {
	const frame, least = http1.ChunkRoom + http1.ChunkAfter, 256
	for !x.reply.Done() && cap(out)-len(out) > frame+least && x.reply.Ready() {
		free := out[len(out):cap(out)]
		n, err := x.reply.Read(free[http1.ChunkRoom : len(free)-http1.ChunkAfter])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return out, errBroken
		}
		piece := free[http1.ChunkRoom : http1.ChunkRoom+n]
		if chunked {
			piece = http1.FrameChunk(free, n)
		}
		out = out[:len(out)+copy(free, piece)]
	}
	if chunked && x.reply.Done() {
		out = x.reply.AppendLast(out)
	}
	return out, nil
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
	return x.endPump()
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
			return x.toClient(x.reply.AppendLast(x.room[:0]))
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
	x.unlist() // as a request: the tunnel has its own deadline
	_ = x.up.SetDeadline(time.Time{})
	up, ubr := x.up, x.ubr
	x.up, x.ubr = nil, nil
	x.verdict.lasting, x.verdict.protocol = true, protocolOf(x.k.req.Upgrade)
	x.k.upgraded(&x.claim, up, ubr, &x.verdict)
	return ended
}
