package smuggling

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Seen is a request that reached the backend.
type Seen struct {
	// Text is "METHOD target body".
	Text   string
	Header http.Header
}

// Backend is an HTTP/1.1 server that reads requests by the standard library's
// own parser, and remembers those that came whole.
type Backend struct {
	l    net.Listener
	done sync.WaitGroup

	// Patience is how long a proxy may take to end a connection.
	Patience time.Duration

	mu    sync.Mutex
	seen  []Seen
	conns map[net.Conn]struct{}
}

// NewBackend listens at a free port of 127.0.0.1 until Close.
func NewBackend() (*Backend, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start backend: %w", err)
	}
	b := &Backend{l: l, Patience: Patience, conns: map[net.Conn]struct{}{}}
	b.done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns[c] = struct{}{}
			b.mu.Unlock()
			b.done.Go(func() { b.serve(c) })
		}
	})
	return b, nil
}

// Port is where it listens.
func (b *Backend) Port() int { return b.l.Addr().(*net.TCPAddr).Port }

// Close ends it and returns when all has ended.
func (b *Backend) Close() {
	_ = b.l.Close()
	b.mu.Lock()
	for c := range b.conns {
		_ = c.Close()
	}
	b.mu.Unlock()
	b.done.Wait()
}

// Take returns what came since the last call.
func (b *Backend) Take() []Seen {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := b.seen
	b.seen = nil
	return seen
}

func (b *Backend) serve(c net.Conn) {
	defer func() {
		_ = c.Close()
		b.mu.Lock()
		delete(b.conns, c)
		b.mu.Unlock()
	}()
	r := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // it did not come whole
		}
		b.mu.Lock()
		b.seen = append(b.seen, Seen{Text: req.Method + " " + req.RequestURI + " " + string(body), Header: req.Header})
		b.mu.Unlock()
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}

// Outcome is what a proxy made of a stream.
type Outcome struct {
	// Statuses of the answers, in their order.
	Statuses []int
	// Ended says that the proxy ended the connection in time.
	Ended bool
	Seen  []Seen
}

// Patience is the default of [Backend.Patience].
const Patience = 5 * time.Second

// Send sends a stream to a proxy that leads to b, and the last request after a
// stream that is to be taken.
func (b *Backend) Send(addr string, c Case) (Outcome, error) {
	b.Take()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return Outcome{}, fmt.Errorf("connect to the proxy: %w", err)
	}
	defer conn.Close()
	raw := c.Raw
	if !c.Refused() {
		raw += Last
	}
	_ = conn.SetDeadline(time.Now().Add(b.Patience))
	// The proxy may end the connection before it has read all.
	_, _ = io.WriteString(conn, raw)
	data, err := io.ReadAll(conn)
	out := Outcome{Statuses: statuses(data), Ended: !errors.Is(err, os.ErrDeadlineExceeded)}
	out.Seen = b.Take()
	return out, nil
}

// statuses reads the answers of a stream; interim ones are left out.
func statuses(data []byte) []int {
	var out []int
	r := bufio.NewReader(strings.NewReader(string(data)))
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return out
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return out
		}
		if resp.StatusCode >= 200 {
			out = append(out, resp.StatusCode)
		}
	}
}
