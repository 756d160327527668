package http1

import "bytes"

// Verdict is what a connection's first bytes are.
type Verdict int

// The verdicts. All but Undecided are final: more bytes never change them.
const (
	// Undecided needs more bytes.
	Undecided Verdict = iota
	// RequestLine is a whole HTTP/1 request line.
	RequestLine
	// Preface is the HTTP/2 connection preface (RFC 9113 §3.4).
	Preface
	// Other is anything else.
	Other
)

// MaxLine is the longest request line that [Detect] waits for, in bytes.
const MaxLine = 8 << 10

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Detect judges the first bytes that a client sent. A request line counts only
// whole and ending in HTTP/1.0 or HTTP/1.1: "GET x" alone may be another
// protocol's command.
func Detect(b []byte) Verdict {
	if n := min(len(b), len(preface)); n > 3 && string(b[:n]) == preface[:n] {
		if n == len(preface) {
			return Preface
		}
		return Undecided
	}
	line, _, whole := bytes.Cut(b, []byte("\n"))
	if len(line) > MaxLine || !methodLike(line) {
		return Other
	}
	if !whole {
		return Undecided
	}
	line, ok := bytes.CutSuffix(line, []byte("\r"))
	if !ok || bytes.Count(line, []byte(" ")) != 2 {
		return Other
	}
	if !bytes.HasSuffix(line, []byte(" HTTP/1.1")) && !bytes.HasSuffix(line, []byte(" HTTP/1.0")) {
		return Other
	}
	return RequestLine
}

// methodLike says whether the line may still become a request line: capital
// letters, a space, then nothing below a space but a last CR.
func methodLike(line []byte) bool {
	for i, c := range line {
		if c == ' ' {
			return i > 0 && targetLike(line[i+1:])
		}
		if i >= 20 || (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func targetLike(b []byte) bool {
	for i, c := range b {
		if c < ' ' && (c != '\r' || i != len(b)-1) || c == 0x7f {
			return false
		}
	}
	return true
}
