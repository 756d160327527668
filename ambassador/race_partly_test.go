package ambassador

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/internal/traffic"
)

// cramped is an instance that takes little of a request before it is read, and
// resets the connection once all that it takes has arrived.
func cramped(t *testing.T, name string) *backend {
	t.Helper()
	b := dead(name)
	cfg := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 2048)
			if err == nil {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 100)
			}
		})
		if cerr != nil {
			return cerr
		}
		return err
	}}
	l, err := cfg.Listen(t.Context(), "tcp", netip.AddrPortFrom(b.addr, backendPort).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.conns.Add(1)
			go func() {
				awaitFull(c.(*net.TCPConn))
				_ = c.(*net.TCPConn).SetLinger(0)
				_ = c.Close()
			}()
		}
	}()
	return b
}

// awaitFull waits until what can be read grows no more.
func awaitFull(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for before, now := -1, 0; now == 0 || now != before; <-tick.C {
		before = now
		_ = raw.Control(func(fd uintptr) { now, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	}
}

// Row 4: a request of which a part went out was sent. A POST is lost with its
// instance then, whether or not the rest could be written.
func TestRace04PartlySentIsNotReplayed(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	bad, good := cramped(t, "bad"), startBackend(t, "good")
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, bad, good)))
	raw := fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nX-Pad: %s\r\n\r\n%s", replayLimit, strings.Repeat("p", 14<<10), strings.Repeat("x", replayLimit))
	lost := int64(0)
	for range 20 {
		if status, body, err := connect(t, port).roundTrip("POST", raw); err != nil || status == 502 {
			lost++
		} else if status != 200 {
			t.Fatalf("got %d %q", status, body)
		}
	}
	if n := bad.conns.Load(); n == 0 || n != lost {
		t.Errorf("%d POSTs reached the instance that resets, %d were lost", n, lost)
	}
}
