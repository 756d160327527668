package http2x

import (
	"errors"
	"io"
	"sync"
	"syscall"
)

const readBuffer = 8 << 10

// Buffers lends what is read ahead. The zero value is ready.
type Buffers struct{ p sync.Pool }

func (b *Buffers) get() *[readBuffer]byte {
	if buf, ok := b.p.Get().(*[readBuffer]byte); ok {
		return buf
	}
	return new([readBuffer]byte)
}

// Reader reads a plain connection ahead, so that many small frames cost one
// system call, and holds no buffer while there is nothing to read.
type Reader struct {
	raw   syscall.RawConn
	lend  *Buffers
	first []byte
	buf   *[readBuffer]byte
	r, w  int
}

// NewReader returns a reader of first, then of what raw reads.
func NewReader(raw syscall.RawConn, first []byte, lend *Buffers) *Reader {
	return &Reader{raw: raw, first: first, lend: lend}
}

// Read implements [io.Reader].
func (r *Reader) Read(p []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(p, r.first)
		if r.first = r.first[n:]; len(r.first) == 0 {
			r.first = nil
		}
		return n, nil
	}
	if r.buf == nil {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf[r.r:r.w])
	if r.r += n; r.r == r.w {
		r.release()
	}
	return n, nil
}

func (r *Reader) release() {
	r.lend.p.Put(r.buf)
	r.buf, r.r, r.w = nil, 0, 0
}

// fill waits for bytes. The buffer is taken when there are some.
func (r *Reader) fill() error {
	var n int
	var err error
	rerr := r.raw.Read(func(fd uintptr) bool {
		r.buf = r.lend.get()
		for {
			if n, err = syscall.Read(int(fd), r.buf[:]); !errors.Is(err, syscall.EINTR) {
				break
			}
		}
		if errors.Is(err, syscall.EAGAIN) {
			r.release()
			n, err = 0, nil
			return false
		}
		return true
	})
	switch {
	case rerr != nil:
		err = rerr
	case err == nil && n <= 0:
		err = io.EOF
	}
	if err != nil {
		if r.buf != nil {
			r.release()
		}
		return err
	}
	r.w = n
	return nil
}
