package holder

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/internal/traffic"
)

// systemd speaks sd_notify(3) and keeps listeners in the descriptor store, so
// that they outlive a holder that is killed. Without systemd it does nothing.
type systemd struct {
	socket string
	every  time.Duration
	kept   map[string]*socket // from the store, not asked for yet
}

func newSystemd() systemd {
	s := systemd{socket: os.Getenv("NOTIFY_SOCKET"), kept: make(map[string]*socket)}
	if usec, err := strconv.Atoi(os.Getenv("WATCHDOG_USEC")); err == nil && usec > 0 {
		s.every = time.Duration(usec) * time.Microsecond / 3
	}
	if pid, _ := strconv.Atoi(os.Getenv("LISTEN_PID")); pid != os.Getpid() {
		return s
	}
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	for i, name := range strings.Split(os.Getenv("LISTEN_FDNAMES"), ":") {
		if i < n {
			s.kept[name] = takenSocket(3 + i)
		}
	}
	return s
}

// interval is how often watchdog is to be called.
func (s systemd) interval() time.Duration {
	if s.every > 0 {
		return min(s.every, time.Second)
	}
	return time.Second
}

func (s systemd) watchdog() {
	if s.every > 0 {
		s.notify("WATCHDOG=1")
	}
}

func (s systemd) notify(state string) { s.send(state, nil) }

// reloading says that a READY=1 follows; units of Type=notify-reload wait for it.
func (s systemd) reloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err == nil {
		s.notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
	}
}

// send sends a datagram with at most one descriptor. What does not arrive is
// the manager's loss: there is nothing to do about it here.
func (s systemd) send(state string, fd syscall.Conn) {
	if s.socket == "" {
		return
	}
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(sock) //nolint:errcheck // a datagram has left or not
	to := &unix.SockaddrUnix{Name: s.socket}
	if fd == nil {
		_ = unix.Sendto(sock, []byte(state), 0, to)
		return
	}
	raw, err := fd.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(n uintptr) {
		_ = unix.Sendmsg(sock, []byte(state), unix.UnixRights(int(n)), to, 0)
	})
}

// name is a listener's name in the store; systemd allows no colon in it.
func name(key traffic.ListenerKey, inode uint64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%d|%d", key.Namespace, key.Address, key.Port, inode))
	return "l-" + hex.EncodeToString(sum[:16])
}

func (s systemd) store(key traffic.ListenerKey, inode uint64, f *socket) {
	s.send("FDSTORE=1\nFDPOLL=0\nFDNAME="+name(key, inode), f)
}

func (s systemd) remove(key traffic.ListenerKey, inode uint64) {
	s.notify("FDSTOREREMOVE=1\nFDNAME=" + name(key, inode))
}

// stored takes a listener that systemd kept, or nil.
func (s systemd) stored(key traffic.ListenerKey, inode uint64) *socket {
	n := name(key, inode)
	f := s.kept[n]
	delete(s.kept, n)
	return f
}

// sweep drops what the store kept and no worker asked for.
func (s systemd) sweep() {
	for n, f := range s.kept {
		s.notify("FDSTOREREMOVE=1\nFDNAME=" + n)
		_ = f.Close()
		delete(s.kept, n)
	}
}
