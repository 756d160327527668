// Package tunnel carries bytes both ways between two TCP connections: raw TCP,
// WebSocket and CONNECT after their handshake. An end in one direction is
// passed on as such (half-close), a reset as a reset. It knows no protocol and
// no release.
//
// Join uses two goroutines and holds no buffer while nothing moves.
package tunnel

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// bufferSize is what is moved at once.
const bufferSize = 32 << 10

// Buffers is a pool of buffers; the zero value is ready.
type Buffers struct{ p sync.Pool }

func (b *Buffers) get() *[bufferSize]byte {
	if buf, ok := b.p.Get().(*[bufferSize]byte); ok {
		return buf
	}
	return new([bufferSize]byte)
}

// Counts are the bytes that went each way; they grow while Join runs.
type Counts struct {
	// Up counts a's bytes, Down those of b.
	Up, Down *atomic.Uint64
}

// Join copies between a and b until both directions have ended, and closes
// both. Closing them from outside ends it too.
func Join(a, b *net.TCPConn, bufs *Buffers, n Counts) {
	var wg sync.WaitGroup
	wg.Go(func() { half(b, a, bufs, n.Up) })
	half(a, b, bufs, n.Down)
	wg.Wait()
	_ = a.Close()
	_ = b.Close()
}

// half copies src to dst until src ends.
func half(dst, src *net.TCPConn, bufs *Buffers, n *atomic.Uint64) {
	if err := copyBytes(dst, src, bufs, n); err != nil {
		reset(dst)
		reset(src)
		return
	}
	_ = dst.CloseWrite()
}

// reset ends a connection so that its peer knows that something is missing.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

func copyBytes(dst, src *net.TCPConn, bufs *Buffers, n *atomic.Uint64) error {
	raw, err := src.SyscallConn()
	if err != nil {
		return err
	}
	for {
		buf, m, err := readSome(raw, bufs)
		if m > 0 {
			n.Add(uint64(m))
			_, err = dst.Write(buf[:m])
		}
		if buf != nil {
			bufs.p.Put(buf)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// readSome waits for bytes and takes a buffer only when there are some.
func readSome(raw syscall.RawConn, bufs *Buffers) (buf *[bufferSize]byte, n int, err error) {
	rerr := raw.Read(func(fd uintptr) bool {
		buf = bufs.get()
		for {
			if n, err = syscall.Read(int(fd), buf[:]); err != syscall.EINTR { //nolint:errorlint // a system call's own result
				break
			}
		}
		if err == syscall.EAGAIN { //nolint:errorlint // a system call's own result
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
