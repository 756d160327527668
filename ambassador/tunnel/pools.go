package tunnel

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// bufferSize is what is read at once.
	bufferSize = 32 << 10
	// smallSize is what a quiet direction over TLS keeps.
	smallSize = 1 << 10
	// pipeSize is what is spliced at once.
	pipeSize = 1024 << 10
	// maxPipes bounds the pipes of a pool: more tunnels than that which move
	// much at the same time go through buffers.
	maxPipes = 32
)

// Pools lends what bytes go through while they move: buffers, and pipes for
// splice(2). The zero value is ready.
type Pools struct {
	buffers sync.Pool

	mu    sync.Mutex
	pipes int // that exist
	free  []*pipe
}

func (p *Pools) buffer() *[bufferSize]byte {
	if buf, ok := p.buffers.Get().(*[bufferSize]byte); ok {
		return buf
	}
	return new([bufferSize]byte)
}

func (p *Pools) putBuffer(buf *[bufferSize]byte) { p.buffers.Put(buf) }

// pipe is an empty pipe. Bytes in it belong to one direction of one tunnel.
type pipe struct{ r, w int }

// pipe returns an empty pipe, or nil when there are enough of them.
func (p *Pools) pipe() *pipe {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		pp := p.free[n-1]
		p.free = p.free[:n-1]
		return pp
	}
	if p.pipes >= maxPipes {
		return nil
	}
	pp, err := newPipe()
	if err != nil {
		return nil
	}
	p.pipes++
	return pp
}

// putPipe takes a pipe back; one that still holds bytes is closed.
func (p *Pools) putPipe(pp *pipe, empty bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if empty {
		p.free = append(p.free, pp)
		return
	}
	p.pipes--
	pp.close()
}

// Close closes the pipes that are not in use. The pools can be used on.
func (p *Pools) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pp := range p.free {
		pp.close()
	}
	p.pipes -= len(p.free)
	p.free = nil
}

func newPipe() (*pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	// A user has so many pages for pipes; a smaller pipe only is a slower one.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	return &pipe{r: fds[0], w: fds[1]}, nil
}

func (p *pipe) close() {
	_ = unix.Close(p.r)
	_ = unix.Close(p.w)
}

const spliceFlags = unix.SPLICE_F_NONBLOCK | unix.SPLICE_F_MOVE

// splice moves up to n bytes between a pipe's end and a socket.
func splice(from, to, n int) (int, error) {
	for {
		m, err := unix.Splice(from, nil, to, nil, n, spliceFlags)
		if err != unix.EINTR {
			return int(m), err
		}
	}
}
