package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Limits of one head.
const (
	// MaxHead is the longest head in bytes, first line included.
	MaxHead = 16 << 10
	// MaxFields is how many fields a head may have.
	MaxFields = 100
)

// Error is a message that the parser refuses.
type Error struct {
	// Status is what to answer when it was a request.
	Status int
	// Reason is one sentence for people.
	Reason string
}

func (e *Error) Error() string { return e.Reason }

func refuse(status int, format string, args ...any) error {
	return &Error{Status: status, Reason: fmt.Sprintf(format, args...)}
}

// Field is one header field; both slices point into the reader's buffer.
type Field struct {
	Name, Value []byte
}

// peekHead returns the bytes of the next head, its empty line included,
// without consuming them. Empty lines in front are skipped (RFC 9112 §2.2).
func peekHead(br *bufio.Reader) ([]byte, error) {
	if err := skipEmptyLines(br); err != nil {
		return nil, err
	}
	for from := 0; ; {
		buf, _ := br.Peek(br.Buffered())
		if i := bytes.Index(buf[from:], []byte("\n\r\n")); i >= 0 {
			return buf[:from+i+3], nil
		}
		if i := bytes.Index(buf[from:], []byte("\n\n")); i >= 0 {
			return nil, refuse(400, "line ends with a bare LF")
		}
		if len(buf) >= br.Size() || len(buf) >= MaxHead {
			return nil, refuse(431, "head is longer than %d bytes", MaxHead)
		}
		from = max(0, len(buf)-2)
		if _, err := br.Peek(len(buf) + 1); err != nil {
			return nil, truncated(err, len(buf))
		}
	}
}

// skipEmptyLines drops at most two CRLF in front of a head.
func skipEmptyLines(br *bufio.Reader) error {
	for range 2 {
		if b, err := br.Peek(1); err != nil {
			return err
		} else if b[0] != '\r' {
			return nil
		}
		b, err := br.Peek(2)
		if err != nil {
			return truncated(err, 1)
		}
		if b[1] != '\n' {
			return refuse(400, "bare CR before the first line")
		}
		if _, err := br.Discard(2); err != nil {
			return err
		}
	}
	return nil
}

// truncated turns an end of input inside a head into ErrUnexpectedEOF.
func truncated(err error, have int) error {
	if errors.Is(err, io.EOF) && have > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// cutLine splits off the first line, which must end in CRLF.
func cutLine(b []byte) (line, rest []byte, err error) {
	i := bytes.IndexByte(b, '\n')
	if i < 1 || b[i-1] != '\r' {
		return nil, nil, refuse(400, "line ends with a bare LF")
	}
	return b[:i-1], b[i+1:], nil
}

// parseFields parses the lines after the first up to the empty one.
func parseFields(dst []Field, b []byte) ([]Field, error) {
	for {
		line, rest, err := cutLine(b)
		if err != nil {
			return dst, err
		}
		if len(line) == 0 {
			return dst, nil
		}
		if len(dst) == MaxFields {
			return dst, refuse(431, "more than %d fields", MaxFields)
		}
		f, err := parseField(line)
		if err != nil {
			return dst, err
		}
		dst, b = append(dst, f), rest
	}
}

func parseField(line []byte) (Field, error) {
	if line[0] == ' ' || line[0] == '\t' {
		return Field{}, refuse(400, "folded header line")
	}
	colon := bytes.IndexByte(line, ':')
	if colon < 1 {
		return Field{}, refuse(400, "header line without a name")
	}
	name, value := line[:colon], bytes.Trim(line[colon+1:], " \t")
	if !isToken(name) {
		return Field{}, refuse(400, "invalid header name %q", name)
	}
	if hasControl(value) {
		return Field{}, refuse(400, "control character in header %s", name)
	}
	return Field{Name: name, Value: value}, nil
}

// hasControl says whether there is a control character other than a tab.
func hasControl(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

func isToken(b []byte) bool {
	for _, c := range b {
		if !isTokenByte(c) {
			return false
		}
	}
	return len(b) > 0
}

func isTokenByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}

// fold compares a field name with a lower-case constant.
func fold(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range name {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// hasListed says whether a comma-separated list holds the lower-case token.
func hasListed(list []byte, lower string) bool {
	for len(list) > 0 {
		item := list
		if i := bytes.IndexByte(list, ','); i >= 0 {
			item, list = list[:i], list[i+1:]
		} else {
			list = nil
		}
		if fold(bytes.Trim(item, " \t"), lower) {
			return true
		}
	}
	return false
}

// framing is how a message's body ends, as its fields say.
type framing struct {
	length      int64 // -1 without Content-Length
	chunked     bool
	lengthSeen  bool
	codingsSeen bool
}

func (f *framing) field(fd Field) error {
	switch {
	case fold(fd.Name, "content-length"):
		return f.contentLength(fd.Value)
	case fold(fd.Name, "transfer-encoding"):
		if f.codingsSeen || !fold(fd.Value, "chunked") {
			return refuse(501, "transfer coding %q is not supported", fd.Value)
		}
		f.codingsSeen, f.chunked = true, true
	}
	return nil
}

func (f *framing) contentLength(v []byte) error {
	if f.lengthSeen {
		return refuse(400, "more than one Content-Length")
	}
	if len(v) == 0 || len(v) > 18 {
		return refuse(400, "invalid Content-Length %q", v)
	}
	var n int64
	for _, c := range v {
		if c < '0' || c > '9' {
			return refuse(400, "invalid Content-Length %q", v)
		}
		n = n*10 + int64(c-'0')
	}
	f.lengthSeen, f.length = true, n
	return nil
}

func (f *framing) check() error {
	if f.lengthSeen && f.codingsSeen {
		return refuse(400, "both Content-Length and Transfer-Encoding")
	}
	return nil
}
