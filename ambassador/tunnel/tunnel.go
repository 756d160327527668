// Package tunnel carries bytes both ways between two TCP connections, plain or with
// TLS: raw TCP, WebSocket and CONNECT after their handshake. An end in one direction is
// passed on as such (half-close), a reset as a reset. Of protocols it knows
// one thing: where a WebSocket frame ends, so that a tunnel can be ended with
// a Close frame that both sides understand. It knows no release.
//
// A running tunnel is two goroutines. It holds a buffer or a pipe only while it
// passes bytes on; much at once is spliced, where neither side is TLS.
// End may be called from any goroutine.
package tunnel

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// frameLimit is how long a frame under way may take to end after End. A
	// peer that takes no byte for that and lingerLimit is reset.
	frameLimit = 5 * time.Second
	// lingerLimit is how long the peers may take to close after End.
	lingerLimit = time.Second
)

// Tunnel joins two connections. All fields are set before Run.
type Tunnel struct {
	// Client and Server are the sockets, closed by Run.
	Client, Server *net.TCPConn
	// ClientTLS and ServerTLS are what goes over them, nil where that is plain.
	// Their handshakes are done.
	ClientTLS, ServerTLS *tls.Conn
	Pools                *Pools
	// Up counts the client's bytes, Down the server's.
	Up, Down *atomic.Uint64
	// WebSocket says that the bytes are frames (RFC 6455 §5).
	WebSocket bool
	// FromClient and FromServer are bytes that were read already.
	FromClient, FromServer []byte

	ending atomic.Bool
}

// Run copies until both directions have ended, and closes both connections. It
// returns how many bytes went either way.
func (t *Tunnel) Run() (up, down uint64) {
	client, server := end{t.Client, t.ClientTLS}, end{t.Server, t.ServerTLS}
	there := half{t: t, dst: server, src: client, n: t.Up, closing: closeMasked}
	back := half{t: t, dst: client, src: server, n: t.Down, closing: closePlain}
	var wg sync.WaitGroup
	wg.Go(func() { there.run(t.FromClient) })
	back.run(t.FromServer)
	wg.Wait()
	if t.ending.Load() {
		linger(t.Client)
		linger(t.Server)
	}
	_ = t.Client.Close()
	_ = t.Server.Close()
	return there.carried, back.carried
}

// End ends the tunnel cleanly: WebSockets get a Close frame with status 1012
// (service restart) at the next frame's end, then both sides get a FIN. It
// does not wait.
func (t *Tunnel) End() {
	if t.ending.Swap(true) {
		return
	}
	past, late := time.Unix(1, 0), time.Now().Add(frameLimit+lingerLimit)
	for _, c := range []*net.TCPConn{t.Client, t.Server} {
		_, _ = c.SetReadDeadline(past), c.SetWriteDeadline(late)
	}
}

// abort makes both connections end by a reset, so that their peers know that
// something is missing, and wakes the other direction, wherever it waits. Run
// closes them: a Close here would wait for that direction.
func (t *Tunnel) abort() {
	past := time.Unix(1, 0)
	for _, c := range []*net.TCPConn{t.Client, t.Server} {
		_, _ = c.SetLinger(0), c.SetDeadline(past)
	}
}

// linger reads what still comes, so that closing is no reset.
func linger(c *net.TCPConn) {
	_ = c.SetReadDeadline(time.Now().Add(lingerLimit))
	_, _ = io.CopyN(io.Discard, c, 1<<20)
}
