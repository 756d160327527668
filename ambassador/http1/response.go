package http1

import (
	"bufio"
	"bytes"
	"time"
)

// UntilClose is the length of a body that ends with its connection.
const UntilClose = -2

// Response is the head of one response. It may be used again by Read.
type Response struct {
	Status int
	// Reason is the reason phrase as sent.
	Reason []byte
	Minor  int
	Fields []Field
	// Length is the body's length, -1 when chunked, or [UntilClose].
	Length int64
	// KeepAlive says that the connection may carry another request, and Idle,
	// when not 0, for how long the server keeps it.
	KeepAlive bool
	Idle      time.Duration
	// Framed says that the head told a length or a coding, whatever Length is.
	Framed bool
	// Events says that the body is a stream of server-sent events.
	Events bool

	size int
}

// Read parses the head of the answer to a request of the method, without
// consuming it; [Response.Discard] does.
func (r *Response) Read(br *bufio.Reader, method string) error {
	head, err := peekHead(br)
	if err != nil {
		return err
	}
	*r = Response{Fields: r.Fields[:0], size: len(head)}
	line, rest, err := cutLine(head)
	if err != nil {
		return err
	}
	if err := r.statusLine(line); err != nil {
		return err
	}
	if r.Fields, err = parseFields(r.Fields, rest); err != nil {
		return err
	}
	return r.interpret(method)
}

// Discard consumes the head from the reader that it was read from.
func (r *Response) Discard(br *bufio.Reader) { _, _ = br.Discard(r.size) }

func (r *Response) statusLine(line []byte) error {
	if len(line) < 12 || line[8] != ' ' {
		return refuse(502, "invalid status line")
	}
	switch string(line[:8]) {
	case "HTTP/1.1":
		r.Minor = 1
	case "HTTP/1.0":
	default:
		return refuse(502, "invalid status line")
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return refuse(502, "invalid status code")
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 || len(line) > 12 && line[12] != ' ' {
		return refuse(502, "invalid status code")
	}
	if len(line) > 13 {
		r.Reason = line[13:]
	}
	if hasControl(r.Reason) {
		return refuse(502, "control character in the status line")
	}
	return nil
}

func (r *Response) interpret(method string) error {
	fr := framing{length: -1}
	r.KeepAlive = r.Minor == 1
	for _, f := range r.Fields {
		if err := fr.field(f); err != nil {
			return err
		}
		switch {
		case fold(f.Name, "connection"):
			if hasListed(f.Value, "close") {
				r.KeepAlive = false
			} else if r.Minor == 0 && hasListed(f.Value, "keep-alive") {
				r.KeepAlive = true
			}
		case fold(f.Name, "keep-alive"):
			r.Idle = keepAliveTimeout(f.Value)
		case fold(f.Name, "content-type"):
			media, _, _ := bytes.Cut(f.Value, []byte(";"))
			r.Events = fold(bytes.TrimRight(media, " \t"), "text/event-stream")
		}
	}
	if err := fr.check(); err != nil {
		return err
	}
	r.Framed = fr.lengthSeen || fr.codingsSeen
	switch {
	case method == "HEAD" || r.Status < 200 || r.Status == 204 || r.Status == 304:
		r.Length = 0
	case method == "CONNECT" && r.Status < 300:
		r.Length = 0
	case fr.chunked:
		r.Length = -1
	case fr.lengthSeen:
		r.Length = fr.length
	default:
		r.Length, r.KeepAlive = UntilClose, false
	}
	return nil
}

// keepAliveTimeout reads "timeout=5" in seconds; 0 when there is none.
func keepAliveTimeout(v []byte) time.Duration {
	_, after, ok := bytes.Cut(v, []byte("timeout="))
	if !ok {
		return 0
	}
	n := 0
	for _, c := range after {
		if c < '0' || c > '9' || n > 3600 {
			break
		}
		n = n*10 + int(c-'0')
	}
	return time.Duration(n) * time.Second
}
