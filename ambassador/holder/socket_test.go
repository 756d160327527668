package holder

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
)

// polled says whether this process's poller waits at a descriptor (proc(5),
// fdinfo of epoll).
func polled(t *testing.T, fd int) bool {
	t.Helper()
	infos, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		data, _ := os.ReadFile(info)
		for line := range strings.Lines(string(data)) {
			var n int
			if _, err := fmt.Sscanf(line, "tfd: %d", &n); err == nil && n == fd {
				return true
			}
		}
	}
	return false
}

// A connection to a listener that is held wakes the worker alone.
func TestHeldListenerIsNotPolled(t *testing.T) {
	s, err := listenHere(traffic.ListenerKey{Port: 0})
	if err != nil {
		t.Fatal(err)
	}
	if polled(t, s.fd) {
		t.Error("the holder waits at the listener")
	}
	f := os.NewFile(uintptr(s.fd), "listener") // as the worker does
	l, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	defer f.Close() //nolint:errcheck // of a test
	if !polled(t, int(f.Fd())) {
		t.Error("a listener that is waited at is not seen")
	}
}
