package tunnel

import (
	"errors"
	"io"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Mover moves a known number of bytes between two plain sockets without looking
// at them. It holds a pipe only while bytes move, and waits for the source
// without one. It belongs to one goroutine; deadlines are those of the sockets,
// and a time-out of the source loses nothing.
type Mover struct {
	// Taken, unless nil, is set when the last byte was taken from the source,
	// before the destination gets it.
	Taken *atomic.Bool
	// Waits, unless nil, is called each time the destination takes no more for
	// now, before it is waited for.
	Waits func()

	pools       *Pools
	in, out     syscall.RawConn
	left        int64
	pipe        *pipe
	inPipe      int
	moved       int64
	err         error
	fill, drain func(fd uintptr) bool
}

// NewMover returns a mover of n bytes from in to out.
func (p *Pools) NewMover(in, out syscall.RawConn, n int64) *Mover {
	m := &Mover{pools: p, in: in, out: out, left: n}
	m.fill, m.drain = m.move, m.pour
	return m
}

// WriteError is a Mover's error of the destination; what was on its way to there
// is lost. It does not unwrap: its time-out is no reason to go on.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return "write: " + e.Err.Error() }

// ErrNoPipe says that all pipes are in use; no byte was taken.
const ErrNoPipe = unix.ENFILE

// Step waits for bytes and moves those that are there. The error is io.EOF when
// all n have been moved, io.ErrUnexpectedEOF when the source ended before,
// [ErrNoPipe], a [*WriteError], or one of the source.
func (m *Mover) Step() (moved int64, err error) {
	if m.left == 0 {
		return 0, io.EOF
	}
	m.moved, m.err = 0, nil
	err = m.in.Read(m.fill)
	if err == nil {
		err = m.err
	}
	if m.inPipe > 0 { // out is waited for outside of in's read, which a Close of in would wait for
		if werr := m.out.Write(m.drain); werr != nil {
			m.err = &WriteError{werr}
		}
		err = m.err
	}
	m.freePipe()
	return m.moved, err
}

// move fills the pipe.
func (m *Mover) move(fd uintptr) bool {
	if m.pipe == nil {
		m.pipe = m.pools.pipe()
	}
	if m.pipe == nil {
		m.err = ErrNoPipe
		return true
	}
	n, err := splice(int(fd), m.pipe.w, int(min(m.left, pipeSize)))
	switch {
	case errors.Is(err, unix.EAGAIN):
		m.freePipe()
		return false
	case err == nil && n == 0:
		err = io.ErrUnexpectedEOF
	}
	if m.err = err; err != nil {
		return true
	}
	m.inPipe = n
	if int64(n) == m.left && m.Taken != nil {
		m.Taken.Store(true)
	}
	return true
}

// pour empties the pipe.
func (m *Mover) pour(fd uintptr) bool {
	for m.inPipe > 0 {
		n, err := splice(m.pipe.r, int(fd), m.inPipe)
		switch {
		case errors.Is(err, unix.EAGAIN):
			if m.Waits != nil {
				m.Waits()
			}
			return false
		case err == nil && n == 0:
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			m.err = &WriteError{err}
			return true
		}
		m.inPipe -= n
		m.moved += int64(n)
		m.left -= int64(n)
	}
	return true
}

func (m *Mover) freePipe() {
	if m.pipe != nil {
		m.pools.putPipe(m.pipe, m.inPipe == 0)
		m.pipe, m.inPipe = nil, 0
	}
}
