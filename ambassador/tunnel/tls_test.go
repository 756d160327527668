package tunnel

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/remorahq/remora/e2e/certtest"
)

// overTLS joins a client that speaks TLS with a plain server.
func overTLS(t *testing.T, webSocket bool) (tn *Tunnel, client *tls.Conn, server *net.TCPConn, done chan struct{}) {
	t.Helper()
	a, outer := pair(t)
	b, server := pair(t)
	inner := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{certtest.New(t).Issue(t, "x").TLS(t)}})
	client = tls.Client(outer, &tls.Config{InsecureSkipVerify: true})
	shaken := make(chan error, 1)
	go func() { shaken <- inner.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	tn = &Tunnel{Client: a, ClientTLS: inner, Server: b, Pools: new(Pools), Up: new(atomic.Uint64), Down: new(atomic.Uint64), WebSocket: webSocket}
	done = make(chan struct{})
	go func() { defer close(done); tn.Run() }()
	t.Cleanup(func() { _, _ = client.Close(), server.Close(); <-done })
	return tn, client, server, done
}

func TestManyBytesOverTLS(t *testing.T) {
	tn, client, server, done := overTLS(t, false)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() { _, _ = client.Write(data); _ = client.CloseWrite() }()
	go func() { _, _ = server.Write(data); _ = server.CloseWrite() }()
	for _, c := range []net.Conn{client, server} {
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes came, %v", len(got), err)
		}
	}
	_, _ = client.Close(), server.Close()
	<-done
	if tn.Up.Load() != uint64(len(data)) || tn.Down.Load() != uint64(len(data)) {
		t.Errorf("counted %d up, %d down", tn.Up.Load(), tn.Down.Load())
	}
}

func TestEndOfWebSocketOverTLS(t *testing.T) {
	for _, n := range []int{0, 5, 126, 70_000} {
		tn, client, server, done := overTLS(t, true)
		up, down := frame(n, true), frame(n, false)
		send(t, client, up)
		expect(t, server, up)
		send(t, server, down+down[:1])
		expect(t, client, down+down[:1])
		tn.End()
		expect(t, server, closeMasked)
		send(t, server, down[1:])
		expect(t, client, down[1:]+closePlain)
		for _, c := range []net.Conn{client, server} {
			if got, err := io.ReadAll(c); err != nil || len(got) != 0 {
				t.Errorf("size %d: after the close frame %q, %v", n, got, err)
			}
			_ = c.Close()
		}
		<-done
	}
}
