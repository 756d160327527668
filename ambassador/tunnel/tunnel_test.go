package tunnel

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is two ends of one TCP connection.
func pair(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	near, far = s.(*net.TCPConn), c.(*net.TCPConn)
	_ = far.SetDeadline(time.Now().Add(10 * time.Second))
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

// run starts a tunnel and returns the outer ends.
func run(t *testing.T, webSocket bool) (tn *Tunnel, client, server *net.TCPConn, done chan struct{}) {
	t.Helper()
	a, client := pair(t)
	b, server := pair(t)
	tn = &Tunnel{Client: a, Server: b, Pools: new(Pools), Up: new(atomic.Uint64), Down: new(atomic.Uint64), WebSocket: webSocket}
	done = make(chan struct{})
	go func() { defer close(done); tn.Run() }()
	t.Cleanup(func() { _, _ = client.Close(), server.Close(); <-done })
	return tn, client, server, done
}

func expect(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("got %d bytes %.60q, %v; want %d bytes %.60q", n, got[:n], err, len(want), want)
	}
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func TestHalfClose(t *testing.T) {
	_, client, server, done := run(t, false)
	send(t, client, "question")
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(server); err != nil || string(got) != "question" {
		t.Fatalf("got %q, %v", got, err)
	}
	send(t, server, "answer")
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(client); err != nil || string(got) != "answer" {
		t.Fatalf("got %q, %v", got, err)
	}
	<-done
}

func TestResetIsPassedOn(t *testing.T) {
	_, client, server, done := run(t, false)
	send(t, client, "x")
	expect(t, server, "x")
	if err := server.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
	<-done
}

func TestManyBytes(t *testing.T) {
	tn, client, server, done := run(t, false)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() { _, _ = client.Write(data); _ = client.CloseWrite() }()
	go func() { _, _ = server.Write(data); _ = server.CloseWrite() }()
	for _, c := range []net.Conn{client, server} {
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes came, %v", len(got), err)
		}
	}
	<-done
	if tn.Up.Load() != uint64(len(data)) || tn.Down.Load() != uint64(len(data)) {
		t.Errorf("counted %d up, %d down", tn.Up.Load(), tn.Down.Load())
	}
}

func TestEndOfPlainTunnel(t *testing.T) {
	tn, client, server, done := run(t, false)
	send(t, client, "x")
	expect(t, server, "x")
	tn.End()
	for _, c := range []net.Conn{client, server} {
		if got, err := io.ReadAll(c); err != nil || len(got) != 0 {
			t.Errorf("got %q, %v; want a clean end", got, err)
		}
		_ = c.Close()
	}
	<-done
}

func frame(n int, mask bool) string {
	var b strings.Builder
	b.WriteByte(0x82)
	bit := byte(0)
	if mask {
		bit = 0x80
	}
	switch {
	case n < 126:
		b.WriteByte(bit | byte(n))
	case n < 1<<16:
		b.WriteByte(bit | 126)
		b.Write([]byte{byte(n >> 8), byte(n)})
	default:
		b.WriteByte(bit | 127)
		b.Write([]byte{0, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	}
	if mask {
		b.WriteString("MASK")
	}
	b.WriteString(strings.Repeat("p", n))
	return b.String()
}

// A WebSocket is told to go away at a frame's end, in both directions.
func TestEndOfWebSocket(t *testing.T) {
	for _, n := range []int{0, 5, 125, 126, 70_000} {
		tn, client, server, done := run(t, true)
		up, down := frame(n, true), frame(n, false)
		send(t, client, up)
		expect(t, server, up)
		send(t, server, down+down[:1]) // one frame, and a part of the next
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

// FuzzFrames cuts a stream of frames anywhere: the boundaries stay the same.
func FuzzFrames(f *testing.F) {
	f.Add(uint16(3), uint16(200), uint16(7), true)
	f.Add(uint16(0), uint16(126), uint16(1), false)
	f.Fuzz(func(t *testing.T, a, b, cut uint16, mask bool) {
		first := frame(int(a), mask)
		stream := first + frame(int(b), mask)
		at := int(cut) % (len(stream) + 1)
		var whole frames
		if n := whole.scan([]byte(stream), false); n != len(stream) || !whole.boundary() {
			t.Fatalf("the whole stream ends within a frame")
		}
		var cutted frames
		cutted.scan([]byte(stream[:at]), false)
		if cutted.boundary() != (at == 0 || at == len(first) || at == len(stream)) {
			t.Fatalf("boundary at %d of %d+%d: %v", at, len(first), len(stream)-len(first), cutted.boundary())
		}
		var stopped frames
		if n := stopped.scan([]byte(stream), true); n != len(first) {
			t.Fatalf("the first frame ends at %d, got %d", len(first), n)
		}
	})
}

// A peer that reads nothing does not keep a tunnel from its end.
func TestEndOfStalledTunnel(t *testing.T) {
	for name, webSocket := range map[string]bool{"plain": false, "web socket": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endStalled(t, webSocket)
		})
	}
}

func endStalled(t *testing.T, webSocket bool) {
	tn, _, server, done := run(t, webSocket)
	go func() {
		for _, err := io.WriteString(server, frame(60_000, false)); err == nil; {
			_, err = io.WriteString(server, frame(60_000, false))
		}
	}()
	for before, still := tn.Down.Load(), 0; still < 10; {
		<-time.After(20 * time.Millisecond)
		if now := tn.Down.Load(); now == before && now > 0 {
			still++
		} else {
			before, still = now, 0
		}
	}
	tn.End()
	select {
	case <-done:
	case <-time.After(2 * (frameLimit + lingerLimit)):
		t.Fatal("the tunnel goes on after End")
	}
}

// A client that is gone ends the tunnel although its server takes nothing.
func TestEndOfOneSideWhileTheOtherStalls(t *testing.T) {
	tn, client, server, done := run(t, false)
	filled := make(chan struct{})
	go func() {
		defer close(filled)
		_ = client.SetWriteDeadline(time.Now().Add(time.Second))
		buf := make([]byte, 64<<10)
		for {
			if _, err := client.Write(buf); err != nil {
				return
			}
		}
	}()
	<-filled
	if tn.Up.Load() == 0 {
		t.Fatal("nothing was sent")
	}
	_ = client.SetLinger(0)
	_ = client.Close()
	for range 100 { // the first bytes may go out before the reset is seen
		if _, err := server.Write([]byte("x")); err != nil {
			break
		}
		select {
		case <-done:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("the tunnel goes on without its client")
	}
}
