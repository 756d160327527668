package ambassador

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/ambassador/proxyproto"
	"github.com/remorahq/remora/ambassador/sni"
	"github.com/remorahq/remora/internal/traffic"
)

// writeLimit is how long a write to a client may make no progress.
const writeLimit = 60 * time.Second

// conn is one client connection. It belongs to one goroutine.
type conn struct {
	wk       *Worker
	key      traffic.ListenerKey
	protocol traffic.Protocol
	// c is the socket, for deadlines and ends whatever goes over it; bytes go
	// through Read and Write.
	c   *net.TCPConn
	raw syscall.RawConn
	// tls is what goes over c, nil where that is plain; it is set before
	// serveHTTP, its handshake done.
	tls *tls.Conn
	// secure says that the client came over TLS, and serverName what name it
	// asked for.
	secure     bool
	serverName string
	tlsVersion string
	// authority is the certificate of authorities that the client's own one
	// comes from; empty where none was asked for.
	authority string
	passes    *sni.Hello // of a connection that is passed through
	// peer is the client's address: the connection's peer, or who that says by a
	// PROXY header, which is proxied.
	peer    netip.Addr
	proxied *proxyproto.Header
	counted bool          // among its client's connections
	br      *bufio.Reader // nil while idle, as desk is
	*desk
	rd      ride
	readBy  time.Time // the read deadline that is set
	writeBy time.Time
	now     time.Time // as last looked at
	first   bool      // no request was served yet
	early   [1]byte   // read ahead while idle over TLS
	isEarly bool
	broken  bool // to end by a reset
	isSlow  bool // see slowClient
	lingers bool // to end so that what was written is read
	arrived time.Time
	shard   uint32 // of counters
	pin     pin
}

// desk is what a connection needs for a request, and has only from the
// request's first byte to the wait for the next one.
type desk struct {
	req http1.Request
	x   exchange
}

// desks is a pool of them.
type desks struct{ p sync.Pool }

func (d *desks) get() *desk {
	if k, ok := d.p.Get().(*desk); ok {
		return k
	}
	return new(desk)
}

// sit takes what a request needs.
func (k *conn) sit() {
	if k.br == nil {
		k.br = k.wk.readers.get(k)
	}
	if k.desk == nil {
		k.desk = k.wk.desks.get()
	}
}

// rise gives it back, once all that was read is used.
func (k *conn) rise() {
	if k.br != nil {
		k.wk.readers.put(k.br)
		k.br = nil
	}
	if k.desk != nil {
		k.wk.desks.p.Put(k.desk)
		k.desk = nil
	}
}

// pin is the upstream connection of a client that authenticates connections
// rather than requests (NTLM, Negotiate): no other client may use it, and the
// client's next request has to.
type pin struct {
	up *upstream
	ep *endpoint
}

// take returns the pinned connection to an endpoint, if it still stands.
func (p *pin) take(ep *endpoint) *upstream {
	up := p.up
	same := p.ep == ep
	*p = pin{}
	switch {
	case up == nil:
		return nil
	case !same || !up.quiet():
		up.drop()
		return nil
	}
	return up
}

// readers is a pool of buffers for heads.
type readers struct{ p sync.Pool }

func (r *readers) get(c io.Reader) *bufio.Reader {
	if br, ok := r.p.Get().(*bufio.Reader); ok {
		br.Reset(c)
		return br
	}
	return bufio.NewReaderSize(c, http1.MaxHead)
}

func (r *readers) put(br *bufio.Reader) {
	br.Reset(nil)
	r.p.Put(br)
}

func (wk *Worker) newConn(c *net.TCPConn, key traffic.ListenerKey, protocol traffic.Protocol) (*conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	k := &conn{wk: wk, key: key, protocol: protocol, c: c, raw: raw, first: true, arrived: time.Now(), shard: rand.Uint32()}
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		k.peer = a.AddrPort().Addr().Unmap().WithZone("")
	}
	return k, nil
}

// serve serves the connection to its end.
func (k *conn) serve() {
	defer k.close()
	if !k.unwrap() {
		return
	}
	if !k.enter() {
		k.reset()
		return
	}
	defer k.leave()
	switch k.protocol {
	case traffic.TCP:
		k.tunnel()
	case traffic.HTTP:
		k.serveHTTP()
	case traffic.TLS:
		k.serveTLS()
	default:
		k.detect()
	}
}

func (k *conn) close() {
	if k.lingers {
		k.drain()
	}
	k.end()
	k.pin.take(nil)
	k.rise()
}

func (k *conn) serveHTTP() {
	if k.tls != nil {
		for k.await() && k.one() {
			k.first = false
		}
		return
	}
	for k.ride() {
		if k.br == nil || k.br.Buffered() == 0 {
			continue
		}
		if k.first && k.prior() {
			k.serveH2()
			return
		}
		if !k.one() {
			return
		}
		k.first = false
	}
}

// idleDeadline bounds the wait for the next request.
func (k *conn) idleDeadline(now time.Time) { k.readDeadlineAt(now, k.wk.view.Load().limits.idle) }

// readDeadline sets the read deadline to about d from now: it is moved only
// when it would come in less than half of d, or later than d.
func (k *conn) readDeadline(d time.Duration) { k.readDeadlineAt(time.Now(), d) }

func (k *conn) readDeadlineAt(now time.Time, d time.Duration) {
	if left := k.readBy.Sub(now); left > d/2 && left <= d {
		return
	}
	k.readBy = now.Add(d)
	_ = k.c.SetReadDeadline(k.readBy)
}

func (k *conn) writeDeadline() {
	now := time.Now()
	if k.writeBy.Sub(now) > writeLimit/2 {
		return
	}
	k.writeBy = now.Add(writeLimit)
	_ = k.c.SetWriteDeadline(k.writeBy)
}

// unsentMost is how much of what a slow client gets the kernel takes before the
// client has room for it.
const unsentMost = 256 << 10

// slowClient gives a client that takes no more for now another writeLimit. The
// kernel is told to call a part of its buffer progress, and not a third of all
// that it would hold, for which a slow client takes minutes.
func (k *conn) slowClient() {
	if !k.isSlow {
		k.isSlow = true
		_ = k.raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentMost)
		})
	}
	k.writeBy = time.Time{}
	k.writeDeadline()
}

// write writes to the client.
func (k *conn) write(b []byte) error {
	if k.rd.on {
		n, err := send(k.rd.fd, b)
		if n == len(b) || err != nil {
			return err
		}
		b = b[n:]
		k.slowClient()
	}
	k.writeDeadline()
	_, err := k.Write(b)
	return err
}

// Write writes to the client as it is, without a deadline of its own.
func (k *conn) Write(b []byte) (int, error) {
	if k.tls != nil {
		return k.tls.Write(b)
	}
	return k.c.Write(b)
}

// Read reads from the client. Deadlines are those of c.
func (k *conn) Read(b []byte) (int, error) {
	switch {
	case k.rd.on:
		return k.readRiding(b)
	case k.tls == nil:
		return k.c.Read(b)
	case k.isEarly && len(b) > 0:
		k.isEarly = false
		return copy(b, k.early[:]), nil
	}
	return k.tls.Read(b)
}

// end closes the connection; over TLS the client is told that this is the end,
// unless what it got is not whole.
func (k *conn) end() {
	if k.tls != nil && !k.broken {
		_ = k.tls.Close()
	}
	_ = k.c.Close()
}

// reset makes the connection end by a reset, so that the client does not take
// what it got for the whole.
func (k *conn) reset() {
	k.broken = true
	_ = k.c.SetLinger(0)
}

// becomesReadable waits for the client's next byte, or an end. Over TLS the
// byte is read: bytes of the socket need not be bytes of the client.
func (k *conn) becomesReadable() bool {
	if k.tls == nil {
		return readable(k.raw)
	}
	n, err := k.tls.Read(k.early[:])
	k.isEarly = n > 0
	return err == nil
}

// await waits for the first byte of a request. False is the connection's end.
func (k *conn) await() bool {
	if k.br != nil && k.br.Buffered() > 0 {
		k.arrived = time.Now()
		return true
	}
	k.rise()
	k.idleDeadline(time.Now())
	if !k.becomesReadable() {
		return false
	}
	k.sit()
	_, err := k.br.Peek(1)
	k.arrived = time.Now()
	return err == nil
}

// readable waits until there is something to read, or an end; false is a
// time-out or an error. No byte is consumed.
func readable(raw syscall.RawConn) bool {
	tried := false
	err := raw.Read(func(fd uintptr) bool {
		if tried {
			return true // the poller says so
		}
		tried = true
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	return err == nil
}

// hasBytes says whether there are bytes to read now.
func hasBytes(raw syscall.RawConn) bool {
	n := 0
	err := raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, _ = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return true
	})
	return err == nil && n > 0
}

// readHead reads the request's head within its limit. What has arrived whole
// needs no deadline.
func (k *conn) readHead() error {
	k.sit()
	limit := k.wk.view.Load().limits.header
	if b, _ := k.br.Peek(k.br.Buffered()); !bytes.Contains(b, []byte("\r\n\r\n")) {
		k.readBy = k.arrived.Add(limit)
		_ = k.c.SetReadDeadline(k.readBy)
	}
	for {
		err := k.req.Read(k.br)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		left := limit - time.Since(k.arrived)
		if left <= 0 {
			return &http1.Error{Status: 408, Reason: "head took longer than " + limit.String()}
		}
		k.readBy = time.Now().Add(left)
		_ = k.c.SetReadDeadline(k.readBy)
	}
}

// one serves one request and says whether the connection goes on.
func (k *conn) one() bool {
	err := k.readHead()
	k.now = time.Now()
	var bad *http1.Error
	switch {
	case err == nil:
		return k.exchange()
	case !errors.As(err, &bad):
		return false
	case k.first && k.protocol == traffic.Detect && bad.Status != 408:
		k.tunnel() // what looks like HTTP but is not may be another protocol
		return false
	}
	k.turnAway(refuseHTTP(bad))
	return false
}

// turnAway answers a request that was not read.
func (k *conn) turnAway(r *refusal) {
	p := r.page(nil, "")
	b := http1.AppendAnswer(nil, r.http1(p))
	_ = k.write(b)
	k.linger()
	v := verdict{arrived: k.arrived, status: p.Status, ours: true, why: r.reason(), bytesOut: int64(len(b)), protocol: "http/1.1"}
	k.tunnelled(&v)
}

// linger makes the connection end so that the client still reads what was
// written: a close with unread input would reset it.
func (k *conn) linger() { k.lingers = true }

func (k *conn) drain() {
	if k.tls != nil {
		_ = k.tls.CloseWrite()
	}
	_ = k.c.CloseWrite()
	_ = k.c.SetReadDeadline(time.Now().Add(2 * time.Second))
	_, _ = io.CopyN(io.Discard, k.c, 1<<20)
}

// field returns the first value of a field of the present request, or nil.
func (k *conn) field(lower string) []byte {
	if k.desk == nil {
		return nil
	}
	return k.req.Field(lower)
}

func (k *conn) fieldFromEnd(lower string, i int) []byte {
	if k.desk == nil {
		return nil
	}
	return k.req.FieldFromEnd(lower, i)
}

// gone says whether the client has ended or reset the connection.
func (k *conn) gone() bool {
	left := false
	err := k.raw.Control(func(fd uintptr) {
		const established = 1
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		left = err != nil || info.State != established
	})
	return err != nil || left
}
