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
	fill    func(fd uintptr) bool // is (*half).take, made once
	drain   func(fd uintptr) bool // is (*half).pour
	buf     *[bufferSize]byte     // what was taken, or
	pipe    *pipe                 // while much moves
	got     int                   // how much take took
	err     error                 // of take
	inPipe  int
	pourErr error            // of pour
	small   *[smallSize]byte // over TLS
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
		h.t.abort()
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
	h.fill, h.drain = h.take, h.pour
	return h.passOn, nil
}

// passOn waits for bytes and passes those on that are there. It waits for dst
// outside of src's read, which a Close of src would have to wait for.
func (h *half) passOn() error {
	h.got, h.err = 0, nil
	if err := h.in.Read(h.fill); err != nil {
		return err
	}
	defer h.freeBuffer()
	switch {
	case h.err != nil:
		return h.err
	case h.got == 0:
		return io.EOF
	case h.pipe != nil:
		return h.empty()
	}
	h.bulk = h.got == bufferSize // a sign that there is more, which goes faster through a pipe
	return h.write(h.buf[:h.got])
}

// take reads what there is, into the pipe or a buffer. False is to wait for
// more: all that is held then is the connection.
func (h *half) take(fd uintptr) bool {
	if h.spliceable() {
		h.got, h.err = splice(int(fd), h.pipe.w, int(min(h.unframed(), pipeSize)))
	} else {
		h.buf = h.t.Pools.buffer()
		h.got, h.err = read(int(fd), h.buf[:])
	}
	if errors.Is(h.err, unix.EAGAIN) {
		h.freePipe()
		h.freeBuffer()
		return false
	}
	return true
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

// empty passes the pipe's bytes on.
func (h *half) empty() error {
	if h.t.WebSocket {
		h.frames.left -= uint64(h.got)
	}
	h.bulk = h.got >= bufferSize
	h.count(h.got)
	h.inPipe, h.pourErr = h.got, nil
	if err := h.out.Write(h.drain); err != nil {
		return &WriteError{err}
	}
	return h.lost(0, h.pourErr)
}

// pour empties the pipe into dst.
func (h *half) pour(fd uintptr) bool {
	for h.inPipe > 0 {
		n, err := splice(h.pipe.r, int(fd), h.inPipe)
		switch {
		case errors.Is(err, unix.EAGAIN):
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

func (h *half) freeBuffer() {
	if h.buf != nil {
		h.t.Pools.putBuffer(h.buf)
		h.buf = nil
	}
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
			h.count(n)
			if err := h.lost(h.dst.Write(b[:n])); err != nil {
				return err
			}
			return errEnded
		}
	}
	h.count(len(b))
	return h.lost(h.dst.Write(b))
}

// lost makes an error of dst, to which some bytes did not come, one that no
// time-out excuses.
func (h *half) lost(_ int, err error) error {
	if err != nil {
		return &WriteError{err}
	}
	return nil
}
