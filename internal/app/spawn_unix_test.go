package app

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// listenForEver opens a unix socket, as a holder does, until it is killed.
func listenForEver(t *testing.T, path string) {
	t.Helper()
	_ = os.Remove(path) // of one that was killed
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_ = c.Close()
	}
}

// starts are the processes that were started, oldest first.
func starts(dir string) []int {
	data, _ := os.ReadFile(filepath.Join(dir, "starts"))
	var pids []int
	for line := range strings.FieldsSeq(string(data)) {
		if pid, err := strconv.Atoi(line); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// until polls a condition for at most 30 s.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(30 * time.Second); !holds(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("not so after 30 s: %s", what)
		}
	}
}

// awaitStart waits for the n-th start to listen, and returns its process.
func awaitStart(t *testing.T, a *ambassador, dir string, n int) int {
	t.Helper()
	until(t, "an ambassador listens", func() bool { return len(starts(dir)) >= n && a.listens(t.Context()) })
	return starts(dir)[n-1]
}

func end(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// awaitReaped waits until nothing is left of a process, not even a zombie.
func awaitReaped(t *testing.T, pid int) {
	t.Helper()
	until(t, "the first process is gone", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
}

// endAll ends and reaps what is left.
func endAll(t *testing.T, dir string) {
	t.Helper()
	for _, pid := range starts(dir) {
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			_, _ = syscall.Wait4(pid, nil, 0, nil)
		}
	}
}
