package ambassador

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// An end that came together with a request, so that the poller told of both at
// once, is seen when the request is answered, and not at the idle limit.
func TestEndBehindRequestIsSeen(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := startBackend(t, "v1")
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b)))
	for name, raw := range map[string]string{
		"one":       get("/"),
		"pipelined": get("/") + get("/") + get("/"),
		"post":      post,
		"in_part":   get("/") + "GET / HT",
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				c := connect(t, port)
				c.want("GET", get("/"), 200, "v1") // the goroutine waits inside its ride
				if _, err := io.WriteString(c.c, raw); err != nil {
					t.Fatal(err)
				}
				if err := c.c.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				_ = c.c.SetReadDeadline(time.Now().Add(5 * time.Second))
				all, err := io.ReadAll(c.br)
				if n := strings.Count(string(all), "HTTP/1.1 200 OK"); err != nil || n != strings.Count(raw, "HTTP/1.1\r\n") {
					t.Fatalf("%d answers, %v: %q", n, err, all)
				}
			}
		})
	}
}

// Requests in pieces of every size are served, over a connection that had been
// waiting, and pipelined ones are answered in their order.
func TestRequestsInPieces(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := startBackend(t, "v1")
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b)))
	raw := ""
	for n := range 4 {
		raw += fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat("b", n))
	}
	c := connect(t, port)
	for size := 1; size < len(raw); size += 7 {
		go func() {
			for rest := raw; len(rest) > 0; {
				n := min(size, len(rest))
				if _, err := io.WriteString(c.c, rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
		}()
		for n := range 4 {
			status, body, err := c.response("POST")
			if want := fmt.Sprintf("v1 %d", n); status != 200 || body != want || err != nil {
				t.Fatalf("pieces of %d, request %d: %d %q, %v", size, n, status, body, err)
			}
		}
	}
}
