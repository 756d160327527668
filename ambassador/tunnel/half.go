package tunnel

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// half is one direction.
type half struct {
	t        *Tunnel
	dst, src end
	n        *atomic.Uint64
	carried  uint64
	closing  string // what a WebSocket is ended with
	frames   frames
	bulk     bool // much comes at once
	late     bool // the end of a frame was waited for once

	in, out syscall.RawConn
	fill    func(fd uintptr) bool // is (*half).move, made once
	drain   func(fd uintptr) bool // is (*half).pour
	pipe    *pipe                 // while much moves
	inPipe  int
	err     error // of move
	pourErr error // of pour
	small   *[smallSize]byte
}

// errEnded says that End was called and the direction can stop here.
var errEnded = errors.New("tunnel ended")

func (h *half) count(n int) {
	h.carried += uint64(n)
	h.n.Add(uint64(n))
}

func (h *half) run(first []byte) {
	err := h.write(first)
	if err == nil {
		err = h.copy()
	}
	h.freePipe()
	switch {
	case errors.Is(err, errEnded):
		if h.t.WebSocket && h.frames.boundary() {
			_, _ = h.dst.Write([]byte(h.closing))
		}
		_ = h.dst.CloseWrite()
	case errors.Is(err, io.EOF):
		_ = h.dst.CloseWrite()
	default:
		h.dst.reset()
		h.src.reset()
	}
}

// copy copies until src ends (io.EOF), End (errEnded) or an error.
func (h *half) copy() error {
	step, err := h.steps()
	if err != nil {
		return err
	}
	for {
		if h.mayStop() {
			return errEnded
		}
		err := step()
		switch {
		case err == nil:
		case !h.t.ending.Load() || !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case h.late || h.mayStop():
			return errEnded
		default: // within a frame
			h.late = true
			_ = h.src.tcp.SetReadDeadline(time.Now().Add(frameLimit))
		}
	}
}

// steps is how to go on: from socket to socket, or through TLS.
func (h *half) steps() (func() error, error) {
	if h.src.tls != nil || h.dst.tls != nil {
		return h.relay, nil
	}
	var err error
	if h.in, err = h.src.tcp.SyscallConn(); err != nil {
		return nil, err
	}
	if h.out, err = h.dst.tcp.SyscallConn(); err != nil {
		return nil, err
	}
	h.fill, h.drain = h.move, h.pour
	return h.passOn, nil
}

// passOn moves what comes until an end, an error or End.
func (h *half) passOn() error {
	h.err = nil
	err := h.in.Read(h.fill)
	if h.err != nil {
		return h.err
	}
	return err
}

// relay passes one reading on. TLS can be read only into a buffer that is
// there before: a small one, until it is too small.
func (h *half) relay() error {
	if h.small == nil {
		h.small = new([smallSize]byte)
	}
	b := h.small[:]
	if h.bulk {
		buf := h.t.Pools.buffer()
		defer h.t.Pools.putBuffer(buf)
		b = buf[:]
	}
	n, err := h.src.Read(b)
	h.bulk = n >= smallSize
	if werr := h.write(b[:n]); werr != nil {
		return werr
	}
	return err
}

// mayStop says that End was called and that no frame is cut here.
func (h *half) mayStop() bool {
	return h.t.ending.Load() && (!h.t.WebSocket || h.frames.boundary())
}

// move passes on what there is to read. False is to wait for more: all that
// is held then is the connection.
func (h *half) move(fd uintptr) bool {
	for !h.mayStop() {
		step := h.read
		if h.spliceable() {
			step = h.splice
		}
		n, err := step(int(fd))
		switch {
		case err == unix.EAGAIN:
			h.freePipe()
			return false
		case err == nil && n == 0:
			err = io.EOF
		}
		if h.err = err; err != nil {
			return true
		}
	}
	return true
}

// spliceable takes a pipe when much moves and nothing of it has to be seen.
func (h *half) spliceable() bool {
	if !h.bulk || h.unframed() < bufferSize {
		h.freePipe()
		return false
	}
	if h.pipe == nil {
		h.pipe = h.t.Pools.pipe()
	}
	return h.pipe != nil
}

// read moves through a buffer. One that was full is a sign that there is more,
// which goes faster through a pipe.
func (h *half) read(fd int) (int, error) {
	buf := h.t.Pools.buffer()
	defer h.t.Pools.putBuffer(buf)
	n, err := read(fd, buf[:])
	if err != nil || n == 0 {
		return 0, err
	}
	if err := h.write(buf[:n]); err != nil {
		return n, err
	}
	h.bulk = n == len(buf)
	return n, nil
}

func read(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// unframed is how many bytes may pass without a look at them.
func (h *half) unframed() uint64 {
	if h.t.WebSocket {
		return h.frames.left
	}
	return 1 << 62
}

// splice moves through the pipe, which is empty before and after.
func (h *half) splice(fd int) (int, error) {
	limit := min(h.unframed(), pipeSize)
	n, err := splice(fd, h.pipe.w, int(limit))
	if err != nil || n == 0 {
		return n, err
	}
	if h.t.WebSocket {
		h.frames.left -= uint64(n)
	}
	h.bulk = n >= bufferSize
	h.count(n)
	h.inPipe, h.pourErr = n, nil
	if err := h.out.Write(h.drain); err != nil {
		return n, err
	}
	return n, h.pourErr
}

// pour empties the pipe into dst.
func (h *half) pour(fd uintptr) bool {
	for h.inPipe > 0 {
		n, err := splice(h.pipe.r, int(fd), h.inPipe)
		switch {
		case err == unix.EAGAIN:
			return false
		case err == nil && n == 0:
			err = io.ErrUnexpectedEOF
		}
		if h.pourErr = err; err != nil {
			return true
		}
		h.inPipe -= n
	}
	return true
}

func (h *half) freePipe() {
	if h.pipe != nil {
		h.t.Pools.putPipe(h.pipe, h.inPipe == 0)
		h.pipe, h.inPipe = nil, 0
	}
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
	h.count(len(b))
	_, err := h.dst.Write(b)
	return err
}
