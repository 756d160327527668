package ambassador

import (
	"errors"

	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/ambassador/tunnel"
)

// spliceLeast is how much of a body has to be left for it to be moved from
// socket to socket: a smaller rest costs less through a buffer.
const spliceLeast = 64 << 10

// mover moves the rest of a body from one plain socket to another, if that is
// worth it.
func (x *exchange) mover(body *http1.Body, toClient bool) *tunnel.Mover {
	left, ok := body.Direct()
	if !ok || left < spliceLeast || x.k.tls != nil {
		return nil
	}
	in, out := x.k.raw, x.up.raw
	if toClient {
		in, out = out, in
	}
	return x.k.wk.tunnels.NewMover(in, out, left)
}

// spliceReply moves the rest of the response; errNotSpliced is to go on through
// a buffer.
func (x *exchange) spliceReply() error {
	x.moves = x.mover(&x.reply, true)
	if x.moves == nil {
		return errNotSpliced
	}
	defer func() { x.moves = nil }()
	x.enlist()
	x.moves.Waits = x.k.slowClient
	for !x.reply.Done() {
		x.k.writeDeadline()
		x.got = 0
		err := x.patiently((*exchange).moveSome)
		x.claim.rel.bytesOut.Add(uint64(x.got))
		x.verdict.bytesOut += int64(x.got)
		switch {
		case err == nil:
		case errors.Is(err, tunnel.ErrNoPipe):
			return errNotSpliced
		case errors.Is(err, errKicked), errors.As(err, &leftError{}):
			return err
		case errors.As(err, new(*tunnel.WriteError)):
			return leftError{}
		default:
			return errBroken
		}
	}
	return nil
}

var errNotSpliced = errors.New("to be copied")

// moveSome moves what has come of the reply.
func (x *exchange) moveSome() error {
	n, err := x.moves.Step()
	x.got += int(n)
	x.reply.Took(n)
	return err
}
