package smuggling

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// Answer is a stream of bytes from a backend in answer to one request.
type Answer struct {
	Name, Rule string
	// Method of the request; empty is GET.
	Method string
	Raw    string
	// Status is what the client must get, with Body, or, with Truncated, with a
	// body that it can tell is not whole.
	Status    int
	Body      string
	Truncated bool
}

func answer(rule, name, raw string, status int, body string) Answer {
	return Answer{Rule: rule, Name: name, Raw: raw, Status: status, Body: body}
}

func bad(rule, name, raw string) Answer { return Answer{Rule: rule, Name: name, Raw: raw, Status: 502} }

func cut(rule, name, raw string) Answer {
	return Answer{Rule: rule, Name: name, Raw: raw, Status: 200, Truncated: true}
}

// ok makes a 200 of fields.
func ok(fields ...string) string {
	return strings.Join(append([]string{"HTTP/1.1 200 OK"}, fields...), "\r\n") + "\r\n\r\n"
}

// Answers are all of them.
func Answers() []Answer {
	const framing, line, field, body, status, interim = "length and coding", "status line", "field", "body", "status", "interim answers"
	long := strings.Repeat("x", 17<<10)
	return []Answer{
		answer(framing, "length", ok("Content-Length: 5")+"hello", 200, "hello"),
		answer(framing, "chunks", ok("Transfer-Encoding: chunked")+"5\r\nhello\r\n0\r\n\r\n", 200, "hello"),
		answer(framing, "until the end", ok("Connection: close")+"hello", 200, "hello"),
		answer(framing, "1.0 until the end", "HTTP/1.0 200 OK\r\n\r\nhello", 200, "hello"),
		bad(framing, "both", ok("Content-Length: 5", "Transfer-Encoding: chunked")+"5\r\nhello\r\n0\r\n\r\n"),
		bad(framing, "two lengths", ok("Content-Length: 5", "Content-Length: 6")+"hello"),
		bad(framing, "signed length", ok("Content-Length: +5")+"hello"),
		bad(framing, "another coding", ok("Transfer-Encoding: gzip, chunked")+"0\r\n\r\n"),
		answer(line, "no reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
		answer(line, "no reason, no blank", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
		bad(line, "two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
		bad(line, "four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
		bad(line, "another version", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
		bad(line, "another protocol", "SSH-2.0-OpenSSH_9.2\r\n"),
		bad(line, "control in the reason", "HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n"),
		bad(field, "folded", ok("X: a", " b", "Content-Length: 0")),
		bad(field, "blank before the colon", ok("X : a", "Content-Length: 0")),
		bad(field, "NUL", ok("X: a\x00", "Content-Length: 0")),
		bad(field, "lines end with LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
		bad(field, "head over 16 KiB", ok("X: "+long, "Content-Length: 0")),
		cut(body, "shorter than its length", ok("Content-Length: 9")+"hello"),
		cut(body, "no last chunk", ok("Transfer-Encoding: chunked")+"5\r\nhello\r\n"),
		cut(body, "a chunk that is none", ok("Transfer-Encoding: chunked")+"5\r\nhello\r\nzz\r\n"),
		answer(body, "longer than its length", ok("Content-Length: 5")+"helloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", 200, "hello"),
		answer(status, "204 with a body", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", 204, ""),
		answer(status, "304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, ""),
		{Rule: status, Name: "HEAD with a length", Method: "HEAD", Raw: ok("Content-Length: 5"), Status: 200},
		bad(status, "101 that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"),
		answer(interim, "100", "HTTP/1.1 100 Continue\r\n\r\n"+ok("Content-Length: 2")+"ok", 200, "ok"),
		answer(interim, "103", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+ok("Content-Length: 2")+"ok", 200, "ok"),
		bad(interim, "and then nothing", "HTTP/1.1 100 Continue\r\n\r\n"),
		bad(interim, "nothing at all", ""),
	}
}

// Judge sends a request through a proxy that leads to the port of l, answers
// it, and says what is wrong with what the client got, or nothing.
func (a Answer) Judge(addr string, l net.Listener) (string, error) {
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.serve(l, stop)
	}()
	defer func() {
		close(stop)
		_ = l.(*net.TCPListener).SetDeadline(time.Unix(1, 0))
		<-done
		_ = l.(*net.TCPListener).SetDeadline(time.Time{})
	}()
	data, err := a.ask(addr)
	if err != nil {
		return "", err
	}
	return a.judge(data), nil
}

// serve answers every request with the same bytes, since a proxy may try
// again, and ends each connection.
func (a Answer) serve(l net.Listener, stop <-chan struct{}) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		select {
		case <-stop:
			_ = c.Close()
			return
		default:
		}
		_ = c.SetDeadline(time.Now().Add(Patience))
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, a.Raw)
		}
		_ = c.Close()
	}
}

func (a Answer) method() string {
	if a.Method == "" {
		return "GET"
	}
	return a.Method
}

func (a Answer) ask(addr string) ([]byte, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to the proxy: %w", err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(Patience))
	if _, err := fmt.Fprintf(c, "%s / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", a.method()); err != nil {
		return nil, fmt.Errorf("ask the proxy: %w", err)
	}
	data, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, fmt.Errorf("%s: the proxy does not end the connection", a.Name)
	}
	return data, nil // a reset may be how it says that something is missing
}

func (a Answer) judge(data []byte) string {
	r := bufio.NewReader(bytes.NewReader(data))
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: a.method()})
		if err != nil {
			return fmt.Sprintf("the client got %q: %v", data, err)
		}
		body, err := io.ReadAll(resp.Body)
		switch {
		case resp.StatusCode < 200 && resp.StatusCode != 101:
			continue
		case resp.StatusCode != a.Status:
			return fmt.Sprintf("status %d, want %d", resp.StatusCode, a.Status)
		case a.Truncated && err == nil:
			return fmt.Sprintf("the client takes %q for the whole body", body)
		case !a.Truncated && err != nil:
			return fmt.Sprintf("body: %v", err)
		case !a.Truncated && a.Status != 502 && string(body) != a.Body:
			return fmt.Sprintf("body %q, want %q", body, a.Body)
		case r.Buffered() > 0:
			return fmt.Sprintf("more than one answer: %q", data)
		}
		return ""
	}
}
