package tunnel

import (
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// flood is a client that never stops sending, as one frame.
type flood struct {
	begun  bool
	closed atomic.Bool
}

// Read implements [io.Reader].
func (f *flood) Read(b []byte) (int, error) {
	if f.closed.Load() {
		return 0, net.ErrClosed
	}
	if !f.begun {
		f.begun = true
		return copy(b, "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"), nil
	}
	return len(b), nil
}

// Close implements [io.Closer].
func (f *flood) Close() error {
	f.closed.Store(true)
	return nil
}

// A server that takes no more holds up neither its own end nor End.
func TestStreamEndsThoughTheServerTakesNothing(t *testing.T) {
	for name, end := range map[string]func(s *Stream, server *net.TCPConn){
		"server": func(_ *Stream, server *net.TCPConn) { _ = server.CloseWrite() },
		"End":    func(s *Stream, _ *net.TCPConn) { s.End() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits for frames
			near, server := pair(t)
			var up, down atomic.Uint64
			s := &Stream{Client: new(flood), ToClient: func([]byte) error { return nil }, Server: near, Up: &up, Down: &down}
			done := make(chan struct{})
			go func() { defer close(done); s.Run() }()
			awaitStall(t, &up)
			end(s, server)
			select {
			case <-done:
			case <-time.After(2 * (frameLimit + lingerLimit)):
				t.Error("it goes on")
				_ = near.Close() // so that it ends
				<-done
			}
		})
	}
}

// awaitStall returns once a counter stands still.
func awaitStall(t *testing.T, n *atomic.Uint64) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for was, limit := uint64(0), time.Now().Add(10*time.Second); ; {
		<-tick.C
		if now := n.Load(); now > 0 && now == was {
			return
		} else if was = now; time.Now().After(limit) {
			t.Fatal("the server takes everything")
		}
	}
}
