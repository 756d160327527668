// Package tunnel carries bytes both ways between two TCP connections: raw TCP,
// WebSocket and CONNECT after their handshake. An end in one direction is
// passed on as such (half-close), a reset as a reset. Of protocols it knows
// one thing: where a WebSocket frame ends, so that a tunnel can be ended with
// a Close frame that both sides understand. It knows no release.
//
// A running tunnel is two goroutines and holds no buffer while nothing moves.
// End may be called from any goroutine.
package tunnel

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// bufferSize is what is moved at once.
	bufferSize = 32 << 10
	// frameLimit is how long a frame under way may take to end after End. A
	// peer that takes no byte for that and lingerLimit is reset.
	frameLimit = 5 * time.Second
	// lingerLimit is how long the peers may take to close after End.
	lingerLimit = time.Second
)

// Buffers is a pool of buffers; the zero value is ready.
type Buffers struct{ p sync.Pool }

func (b *Buffers) get() *[bufferSize]byte {
	if buf, ok := b.p.Get().(*[bufferSize]byte); ok {
		return buf
	}
	return new([bufferSize]byte)
}

// Tunnel joins two connections. All fields are set before Run.
type Tunnel struct {
	// Client and Server are closed by Run.
	Client, Server *net.TCPConn
	Buffers        *Buffers
	// Up counts the client's bytes, Down the server's.
	Up, Down *atomic.Uint64
	// WebSocket says that the bytes are frames (RFC 6455 §5).
	WebSocket bool
	// FromClient and FromServer are bytes that were read already.
	FromClient, FromServer []byte

	ending atomic.Bool
}

// Run copies until both directions have ended, and closes both connections.
func (t *Tunnel) Run() {
	up := half{t: t, dst: t.Server, src: t.Client, n: t.Up, closing: closeMasked}
	down := half{t: t, dst: t.Client, src: t.Server, n: t.Down, closing: closePlain}
	var wg sync.WaitGroup
	wg.Go(func() { up.run(t.FromClient) })
	down.run(t.FromServer)
	wg.Wait()
	if t.ending.Load() {
		linger(t.Client)
		linger(t.Server)
	}
	_ = t.Client.Close()
	_ = t.Server.Close()
}

// End ends the tunnel cleanly: WebSockets get a Close frame with status 1012
// (service restart) at the next frame's end, then both sides get a FIN. It
// does not wait.
func (t *Tunnel) End() {
	if t.ending.Swap(true) {
		return
	}
	past, late := time.Unix(1, 0), time.Now().Add(frameLimit+lingerLimit)
	for _, c := range []*net.TCPConn{t.Client, t.Server} {
		_, _ = c.SetReadDeadline(past), c.SetWriteDeadline(late)
	}
}

// linger reads what still comes, so that closing is no reset.
func linger(c *net.TCPConn) {
	_ = c.SetReadDeadline(time.Now().Add(lingerLimit))
	_, _ = io.CopyN(io.Discard, c, 1<<20)
}

// Close frames of status 1012; a client's is masked, here with zeros.
const (
	closePlain  = "\x88\x02\x03\xf4"
	closeMasked = "\x88\x82\x00\x00\x00\x00\x03\xf4"
)

// half is one direction.
type half struct {
	t        *Tunnel
	dst, src *net.TCPConn
	n        *atomic.Uint64
	closing  string
	frames   frames
}

func (h *half) run(first []byte) {
	err := h.write(first)
	if err == nil {
		err = h.copy()
	}
	switch {
	case errors.Is(err, errEnded):
		if h.t.WebSocket && h.frames.boundary() {
			_, _ = io.WriteString(h.dst, h.closing)
		}
		_ = h.dst.CloseWrite()
	case errors.Is(err, io.EOF):
		_ = h.dst.CloseWrite()
	default:
		reset(h.dst)
		reset(h.src)
	}
}

// errEnded says that End was called and the direction can stop here.
var errEnded = errors.New("tunnel ended")

// reset ends a connection so that its peer knows that something is missing.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// copy copies until src ends (io.EOF), End (errEnded) or an error.
func (h *half) copy() error {
	raw, err := h.src.SyscallConn()
	if err != nil {
		return err
	}
	for {
		if h.t.ending.Load() && (!h.t.WebSocket || h.frames.boundary()) {
			return errEnded
		}
		buf, m, err := readSome(raw, h.t.Buffers)
		var lost error
		if m > 0 {
			lost = h.write(buf[:m])
		}
		if buf != nil {
			h.t.Buffers.p.Put(buf)
		}
		switch {
		case lost != nil:
			return lost
		case err == nil:
		case h.t.ending.Load() && errors.Is(err, os.ErrDeadlineExceeded) && !h.waited():
			_ = h.src.SetReadDeadline(time.Now().Add(frameLimit))
		case h.t.ending.Load() && errors.Is(err, os.ErrDeadlineExceeded):
			return errEnded
		default:
			return err
		}
	}
}

// waited says whether the end of a frame was waited for already.
func (h *half) waited() bool {
	if !h.t.WebSocket || h.frames.boundary() || h.frames.late {
		return true
	}
	h.frames.late = true
	return false
}

// write passes bytes on; after End only to the end of the present frame.
func (h *half) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if h.t.WebSocket {
		ending := h.t.ending.Load()
		if n := h.frames.scan(b, ending); n < len(b) {
			if _, err := h.dst.Write(b[:n]); err != nil {
				return err
			}
			return errEnded
		}
	}
	h.n.Add(uint64(len(b)))
	_, err := h.dst.Write(b)
	return err
}

// frames follows the frames of one direction.
type frames struct {
	head [10]byte // the header as far as it tells lengths
	got  int      // bytes of the header
	need int      // of the header, 0 until known
	left uint64   // of the payload
	late bool
}

// boundary says whether the next byte begins a frame.
func (f *frames) boundary() bool { return f.got == 0 && f.left == 0 }

// scan goes over b, and with stop only to the first frame's end. It returns
// how far it went.
func (f *frames) scan(b []byte, stop bool) int {
	i := 0
	for i < len(b) {
		if f.left > 0 {
			n := min(f.left, uint64(len(b)-i))
			f.left -= n
			i += int(n)
		} else {
			f.header(b[i])
			i++
		}
		if stop && f.boundary() {
			return i
		}
	}
	return i
}

// header takes the next byte of a header.
func (f *frames) header(c byte) {
	if f.got < len(f.head) {
		f.head[f.got] = c
	}
	f.got++
	if f.got < 2 {
		return
	}
	short := f.head[1] & 0x7f
	if f.got == 2 {
		f.need = 2
		switch short {
		case 126:
			f.need = 4
		case 127:
			f.need = 10
		}
		if f.head[1]&0x80 != 0 {
			f.need += 4
		}
	}
	if f.got < f.need {
		return
	}
	size := 0
	switch short {
	case 126:
		size = 2
	case 127:
		size = 8
	default:
		f.left = uint64(short)
	}
	for _, d := range f.head[2 : 2+size] {
		f.left = f.left<<8 | uint64(d)
	}
	f.got, f.need = 0, 0
}

// readSome waits for bytes and takes a buffer only when there are some.
func readSome(raw syscall.RawConn, bufs *Buffers) (buf *[bufferSize]byte, n int, err error) {
	rerr := raw.Read(func(fd uintptr) bool {
		buf = bufs.get()
		for {
			if n, err = syscall.Read(int(fd), buf[:]); err != syscall.EINTR {
				break
			}
		}
		if err == syscall.EAGAIN {
			bufs.p.Put(buf)
			buf, n, err = nil, 0, nil
			return false
		}
		return true
	})
	switch {
	case rerr != nil:
		return buf, 0, rerr
	case err != nil:
		return buf, 0, err
	case n == 0:
		return buf, 0, io.EOF
	}
	return buf, n, nil
}
