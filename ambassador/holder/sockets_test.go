package holder

import (
	"log/slog"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/ambassador/handoff"
)

// TestSocketsTakeClientAddresses: a worker without any right may bind the
// sockets that it gets to an address that is not the host's.
func TestSocketsTakeClientAddresses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root, to make transparent sockets")
	}
	ours, child, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close() //nolint:errcheck // of the test only
	theirs, err := handoff.FromFile(child)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close() //nolint:errcheck // of the test only
	h := &holder{log: slog.New(slog.DiscardHandler)}
	for _, v6 := range []bool{false, true} {
		h.sockets(&worker{link: ours}, handoff.Message{Op: handoff.Sockets, ID: 7, V6: v6, Count: 1000})
		m, files, err := theirs.Receive()
		if err != nil || m.Op != handoff.Answer || m.ID != 7 || m.Error != "" || len(files) != handoff.MaxFiles {
			t.Fatalf("got %+v with %d descriptors, %v", m, len(files), err)
		}
		for _, f := range files {
			if err := bindPowerless(f, v6); err != nil {
				t.Errorf("bind, IPv6 %v: %v", v6, err)
			}
			_ = f.Close()
		}
	}
}

// bindPowerless binds a socket to an address of nobody here, on a thread that
// has given up its capabilities.
func bindPowerless(f *os.File, v6 bool) (err error) {
	onLostThread(func() {
		var none [2]unix.CapUserData
		if err = unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
			return
		}
		raw, rerr := f.SyscallConn()
		if rerr != nil {
			err = rerr
			return
		}
		var addr unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 7}}
		if v6 {
			addr = &unix.SockaddrInet6{Addr: [16]byte{0x20, 1, 0xd, 0xb8, 15: 7}}
		}
		if rerr := raw.Control(func(fd uintptr) { err = unix.Bind(int(fd), addr) }); rerr != nil {
			err = rerr
		}
	})
	return err
}

// onLostThread runs f on a thread that ends with it. The process's first thread
// does not end, and is what /proc/self tells of: it is kept away from f.
func onLostThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() != os.Getpid() {
			f()
			return // never unlocked
		}
		onLostThread(f)
		runtime.UnlockOSThread()
	}()
	<-done
}
