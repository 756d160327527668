package ambassador

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// script is a raw TCP backend: handle serves the n-th connection.
func script(t *testing.T, name string, handle func(n int, c net.Conn, br *bufio.Reader)) *backend {
	t.Helper()
	b := &backend{name: name, addr: freeAddress()}
	l, err := net.Listen("tcp", netip.AddrPortFrom(b.addr, backendPort).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.conns.Add(1)
			go func() {
				defer c.Close()
				handle(n, c, bufio.NewReader(c))
			}()
		}
	}()
	return b
}

// readRequest reads one request with its body and returns its ID.
func readRequest(br *bufio.Reader) (string, error) {
	r, err := http.ReadRequest(br)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(io.Discard, r.Body)
	return r.Header.Get("X-Id"), err
}

func ok(c net.Conn, body string) {
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// dead is an endpoint whose address refuses connections.
func dead(name string) *backend { return &backend{name: name, addr: freeAddress()} }

// silent is an endpoint that drops what is sent to it: its listener's queue is
// full.
func silent(t *testing.T) *backend {
	t.Helper()
	b := dead("silent")
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: backendPort, Addr: b.addr.As4()}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for {
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(b.addr, backendPort).String(), 50*time.Millisecond)
		if err != nil {
			return b
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}

const post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
