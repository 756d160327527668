package ambassador

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"
)

// startHandler is a backend that answers as h says.
func startHandler(t *testing.T, name string, h http.HandlerFunc) *backend {
	t.Helper()
	b := &backend{name: name, addr: freeAddress(), seen: make(map[string]int)}
	b.srv = &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	l, err := net.Listen("tcp", netip.AddrPortFrom(b.addr, backendPort).String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = b.srv.Serve(l) }()
	t.Cleanup(func() { b.stop(); <-done })
	return b
}

// startGreeter is a backend that speaks first.
func startGreeter(t *testing.T) *backend {
	t.Helper()
	b := &backend{name: "v1", addr: freeAddress(), srv: &http.Server{}}
	l, err := net.Listen("tcp", netip.AddrPortFrom(b.addr, backendPort).String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "220 hello\n")
			t.Cleanup(func() { _ = c.Close() })
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return b
}
