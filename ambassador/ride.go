package ambassador

import (
	"errors"
	"os"
	"time"
)

// A ride serves one request of a plain connection after the other inside one
// call of RawConn.Read, which waits each time turn returns false. What it saves
// is a read without result for every request, and that it is right rests on
// three facts:
//
//   - RawConn.Read forgets what the poller has told only when it begins
//     (poll.FD.RawRead), and a wait returns at once when the poller told
//     something since the wait before (runtime.netpollblock). So between two
//     waits no edge is lost.
//   - The poller tells edges. After a read that left nothing, neither bytes nor
//     a FIN, the next arrival is an edge; recvRest says so. Where the kernel
//     cannot tell, turn reads until there is nothing (EAGAIN).
//   - A reset that came behind bytes and before they were read may go unnoticed
//     until the idle limit: then nobody waits for an answer of ours.
//
// While it rides, the goroutine holds the descriptor's read lock: nothing may
// read the client's connection but through ride's fd, nor close it (that would
// wait for itself). So what needs more than one look at the client, such as a
// head or a body in pieces, an upgrade, or the end's lingering, gets off first.
// Deadlines, writes and TCP_INFO do not need the lock.
type ride struct {
	on      bool
	fd      uintptr
	drained bool                  // nothing is left in the socket
	tells   bool                  // recvRest does
	asked   bool                  // tells is known
	over    bool                  // the connection ends
	turn    func(fd uintptr) bool // conn.turn, bound once
}

// ride serves whole small requests until one needs more. False is the
// connection's end.
func (k *conn) ride() bool {
	r := &k.rd
	if r.turn == nil {
		r.turn = k.turn
	}
	k.now = time.Now() // what was read already is not looked at again
	k.idleDeadline(k.now)
	r.over, r.on = false, true
	err := k.raw.Read(r.turn)
	r.on = false
	if errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(k.readBy) {
		k.readBy = time.Time{} // somebody's deadline, but not ours
		return true
	}
	return err == nil && !r.over
}

// turn serves what is there. It returns false to wait for more, and true to
// get off.
func (k *conn) turn(fd uintptr) bool {
	r := &k.rd
	r.fd = fd
	if !r.asked {
		r.asked, r.tells = true, tellsRest(fd)
	}
	r.drained = false
	for {
		if k.br == nil || k.br.Buffered() == 0 {
			if r.drained || !k.hasMore() {
				k.rest()
				return r.over
			}
		}
		if err := k.req.Read(k.br); err != nil || !k.req.Whole(k.br) {
			return true
		}
		if !k.exchange() {
			r.over = true
			return true
		}
		k.first = false
	}
}

// hasMore reads the beginning of the next request; false is nothing, or the end
// (over).
func (k *conn) hasMore() bool {
	k.sit()
	_, err := k.br.Peek(1)
	if err != nil && !errors.Is(err, errAgain) {
		k.rd.over = true
	}
	k.arrived = time.Now()
	k.now = k.arrived
	return err == nil
}

// rest makes ready to wait.
func (k *conn) rest() {
	k.rise()
	k.idleDeadline(k.now)
}

// readRiding is Read while riding.
func (k *conn) readRiding(b []byte) (n int, err error) {
	r := &k.rd
	if !r.tells {
		return recv(r.fd, b)
	}
	n, r.drained, err = recvRest(r.fd, b)
	return n, err
}
