package ambassador

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// upstream is a connection to an endpoint's port. It belongs to whoever took it
// from its pool or dialled it; Read to one goroutine, Write to one.
type upstream struct {
	*net.TCPConn
	raw  syscall.RawConn
	pool *pool
	used time.Time     // when it was last given out
	back time.Time     // when it last came back
	idle time.Duration // how long after used it may be kept

	readBy  time.Time // the read deadline that is set
	writeBy time.Time

	// posted goes out with the next Read, which then waits before it reads.
	posted []byte
	wrote  int   // of what was posted last
	failed error // of its writing
	into   []byte
	n      int
	err    error
	step   func(fd uintptr) bool // exchangeBytes, bound once
	look   func(fd uintptr)      // at what waits to be read
}

func newUpstream(c *net.TCPConn, p *pool, now time.Time) (*upstream, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	u := &upstream{TCPConn: c, raw: raw, pool: p, used: now, idle: maxIdle}
	u.step = u.exchangeBytes
	u.look = func(fd uintptr) { u.err = peek(fd) }
	return u, nil
}

// post has b written by the next Read, in one call of RawConn.Read with the wait
// for the answer: what the poller told before is forgotten when the call begins
// (poll.FD.RawRead), and the answer comes after what was written, so the read
// that would find nothing is spared. An end that came before the call is not
// told again, but a server that has closed answers what was written with a
// reset, and one that has not is seen at the next look: after a time-out Read
// reads before it waits.
func (u *upstream) post(b []byte) { u.posted, u.wrote, u.failed = b, 0, nil }

// Read reads from the server. A time-out loses nothing.
func (u *upstream) Read(p []byte) (int, error) {
	u.into, u.n, u.err = p, 0, nil
	err := u.raw.Read(u.step)
	u.into = nil
	if err != nil {
		return 0, err
	}
	return u.n, u.err
}

// exchangeBytes writes what was posted, or reads.
func (u *upstream) exchangeBytes(fd uintptr) bool {
	if len(u.posted) > 0 {
		n, err := send(fd, u.posted)
		u.wrote += n
		u.posted = u.posted[n:]
		if err == nil && len(u.posted) > 0 {
			err = u.writeRest()
		}
		u.posted = nil
		u.failed, u.err = err, err
		return err != nil
	}
	u.n, u.err = recv(fd, u.into)
	return !errors.Is(u.err, errAgain)
}

// flush writes what was posted now.
func (u *upstream) flush() error {
	u.failed = u.writeRest()
	u.posted = nil
	return u.failed
}

// writeRest writes what does not fit at once.
func (u *upstream) writeRest() error {
	u.writeDeadline(time.Now())
	n, err := u.Write(u.posted)
	u.wrote += n
	return err
}

// quiet says that nothing waits to be read, not even an end.
func (u *upstream) quiet() bool {
	err := u.raw.Control(u.look)
	return err == nil && errors.Is(u.err, errAgain)
}

// readDeadline bounds reads to between least and five times as long from now:
// moving it costs more than most answers take to come.
func (u *upstream) readDeadline(now time.Time, least time.Duration) {
	if left := u.readBy.Sub(now); left >= least && left <= 5*least {
		return
	}
	u.readBy = now.Add(5 * least)
	_ = u.SetReadDeadline(u.readBy)
}

// writeDeadline bounds writes to between half of writeLimit and all of it.
func (u *upstream) writeDeadline(now time.Time) {
	if u.writeBy.Sub(now) > writeLimit/2 {
		return
	}
	u.writeBy = now.Add(writeLimit)
	_ = u.SetWriteDeadline(u.writeBy)
}
