package ambassador

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/internal/traffic"
)

// endpointKey is an endpoint's identity: an address alone is none, because
// engines give it away again.
type endpointKey struct {
	container string
	started   time.Time
	address   netip.Addr
}

func keyOf(e traffic.Endpoint) endpointKey {
	return endpointKey{e.Container, e.Started.Round(0).UTC(), e.Address}
}

// endpoint is what outlives tables of one container.
type endpoint struct {
	key      endpointKey
	svc      *service
	inflight atomic.Int64
	// refused says that the last connect failed; good that the checks and the
	// connects say nothing against it.
	refused atomic.Bool
	good    atomic.Bool
	// withdrawn says that the table in force has the container down, or not at
	// all: its address may be somebody else's from the table's Ack on.
	withdrawn atomic.Bool
	// ill says that checks fail which had succeeded.
	ill     atomic.Bool
	strikes atomic.Int32 // answers missing in a row
	struck  atomic.Int64 // when the last one was, unix nanoseconds
	// way is how clients' addresses can be kept, and lost until when (unix
	// nanoseconds) that is not tried, in IPv4 and IPv6.
	way  atomic.Pointer[way]
	lost [2]atomic.Int64

	recent atomic.Pointer[pool] // the one used last

	mu     sync.Mutex
	pools  map[uint16]*pool
	health health
	check  *checking
}

func newEndpoint(s *service, e traffic.Endpoint) *endpoint {
	return &endpoint{key: keyOf(e), svc: s, pools: make(map[uint16]*pool)}
}

// maxStrikes connections without an answer in a row eject an endpoint, until a
// check succeeds or for struckFor.
const (
	maxStrikes = 5
	struckFor  = 10 * time.Second
)

// rank orders endpoints for picking: good, not refusing, any.
func (e *endpoint) rank() int {
	switch {
	case e.refused.Load():
		return 0
	case e.good.Load() && !e.ejected():
		return 2
	}
	return 1
}

// ejected says that answers are missing, and were a moment ago.
func (e *endpoint) ejected() bool {
	return e.strikes.Load() >= maxStrikes && time.Since(time.Unix(0, e.struck.Load())) <= struckFor
}

// errWithdrawn says that what was connected to may be another container.
var errWithdrawn = errors.New("the container was withdrawn while it was connected to")

// dial connects to a port. Any error means that nothing was sent.
func (e *endpoint) dial(port uint16) (*upstream, error) {
	addr := netip.AddrPortFrom(e.key.address, port)
	c, err := dialTwice(addr)
	if err != nil {
		return nil, err
	}
	if err := e.keep(c); err != nil {
		return nil, err
	}
	return newUpstream(c, e.pool(port), time.Now())
}

// keep closes a new connection where the endpoint was withdrawn meanwhile. One
// that another container accepted was made after the Ack of the table that
// withdraws this one, so it is always noticed.
func (e *endpoint) keep(c *net.TCPConn) error {
	if !e.withdrawn.Load() {
		return nil
	}
	_ = c.SetLinger(0)
	return errors.Join(errWithdrawn, c.Close())
}

// connectFailed notes that nothing could be sent to the endpoint.
func (e *endpoint) connectFailed(port uint16, err error, changed func()) {
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EMFILE) {
		return // ours, not its
	}
	e.mu.Lock()
	e.health.failure = fmt.Sprintf("connect to port %d: %s", port, cause(err))
	e.health.failures++
	e.mu.Unlock()
	was := e.refused.Swap(true)
	e.good.Store(false)
	e.poke()
	if !was {
		e.svc.ejections.Add(1)
		changed()
	}
}

// answered notes an answer, or its absence, on a fresh connection.
func (e *endpoint) answered(ok bool) {
	if ok {
		if e.strikes.Load() != 0 {
			e.strikes.Store(0)
		}
		return
	}
	was := e.ejected()
	e.struck.Store(time.Now().UnixNano())
	e.strikes.Add(1)
	if !was && e.ejected() {
		e.svc.ejections.Add(1)
	}
}

// timedOut is the cause of what took too long.
const timedOut = "timed out"

// cause is the innermost reason of a network error, as people read it.
func cause(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	var sys interface{ Timeout() bool }
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &sys) && sys.Timeout() {
		return timedOut
	}
	for _, no := range []syscall.Errno{unix.ECONNREFUSED, unix.ECONNRESET, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EPIPE} {
		if errors.Is(err, no) {
			return no.Error()
		}
	}
	return err.Error()
}
