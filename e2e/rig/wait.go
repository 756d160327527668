package rig

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"time"
)

// Poll asks cond every 10 ms until it returns nil, and returns its last error
// when the deadline passes or ctx ends first.
func Poll(ctx context.Context, within time.Duration, cond func() error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", within, err)
		case <-tick.C:
		}
	}
}

// Eventually fails the test unless cond returns nil within the time given.
func Eventually(t TB, within time.Duration, what string, cond func() error) {
	t.Helper()
	must(t, what, Poll(t.Context(), within, cond))
}

// FreePort is a TCP port of 127.0.0.1 that nobody listened on a moment ago.
func FreePort(t TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, "find a free port", err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Unique is a name that no other test uses: lower-case letters and digits
// after the prefix, fit for containers, projects and images.
func Unique(prefix string) string {
	return prefix + "-" + strings.ToLower(rand.Text()[:10])
}
