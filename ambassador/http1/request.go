package http1

import (
	"bufio"
	"bytes"
	"slices"
	"strings"
)

// Request is the head of one request. It may be used again by Read.
type Request struct {
	Method string
	// Target is the request target as it goes to the next hop, in origin,
	// asterisk or authority form; Path is its path without the query.
	Target, Path []byte
	// Host is the authority as written: Host, or that of an absolute target.
	Host []byte
	// Minor is 0 or 1 of HTTP/1.x.
	Minor  int
	Fields []Field
	// Length is the body's length, 0 without a body, -1 when chunked.
	Length int64
	// KeepAlive says that the client expects the connection to stay.
	KeepAlive bool
	// Upgrade is the protocol asked for by "Connection: upgrade", or empty.
	Upgrade string
	// Pins says that the client authenticates the connection (NTLM and
	// Negotiate), so that it must keep one upstream connection.
	Pins bool
	// Expects says that the client waits for a 100 before it sends the body.
	Expects bool
	// Trailers says that the client takes trailers in the response.
	Trailers bool

	size int
}

// Read parses the next head without consuming it; [Request.Discard] does. A
// clean end before the first byte is io.EOF; what is refused is an [*Error].
func (r *Request) Read(br *bufio.Reader) error {
	head, err := peekHead(br)
	if err != nil {
		return err
	}
	return r.parse(head)
}

func (r *Request) parse(head []byte) error {
	*r = Request{Fields: r.Fields[:0], size: len(head)}
	line, rest, err := cutLine(head)
	if err != nil {
		return err
	}
	if err := r.requestLine(line); err != nil {
		return err
	}
	if r.Fields, err = parseFields(r.Fields, rest); err != nil {
		return err
	}
	return r.interpret()
}

// Discard consumes the head from the reader that it was read from. The slices
// of r stay valid until the next read.
func (r *Request) Discard(br *bufio.Reader) { _, _ = br.Discard(r.size) }

// Move copies the head, not yet discarded, from the reader to dst, and makes
// the slices of r point there, so that they outlive the next read.
func (r *Request) Move(dst []byte, br *bufio.Reader) []byte {
	head, _ := br.Peek(r.size)
	dst = append(dst, head...)
	_ = r.parse(dst) // it was parsed before
	return dst
}

// Field returns the first value of a field, its name in lower case, or nil.
func (r *Request) Field(lower string) []byte {
	for _, f := range r.Fields {
		if fold(f.Name, lower) {
			return f.Value
		}
	}
	return nil
}

// Whole says that the request and all of its body are in the reader that its
// head was read from, and that it asks for nothing before or beyond an answer:
// no 100, no upgrade, no tunnel.
func (r *Request) Whole(br *bufio.Reader) bool {
	return r.Length >= 0 && int64(r.size)+r.Length <= int64(br.Buffered()) &&
		r.Upgrade == "" && r.Method != "CONNECT" && !r.Expects
}

// FieldFromEnd returns the value of the i-th last line of a field, its name in
// lower case, counted from 0; nil where there are not so many.
func (r *Request) FieldFromEnd(lower string, i int) []byte {
	for _, f := range slices.Backward(r.Fields) {
		if !fold(f.Name, lower) {
			continue
		}
		if i == 0 {
			return f.Value
		}
		i--
	}
	return nil
}

// Idempotent says whether the method may be sent twice (RFC 9110 §9.2.2).
func (r *Request) Idempotent() bool {
	switch r.Method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

func (r *Request) requestLine(line []byte) error {
	method, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || !isToken(method) {
		return refuse(400, "invalid method in the request line")
	}
	target, version, ok := bytes.Cut(rest, []byte(" "))
	if !ok || len(target) == 0 {
		return refuse(400, "invalid request line")
	}
	for _, c := range target {
		if c <= ' ' || c == 0x7f || c == '#' {
			return refuse(400, "invalid character %q in the request target", c)
		}
	}
	switch string(version) {
	case "HTTP/1.1":
		r.Minor = 1
	case "HTTP/1.0":
		r.Minor = 0
	default:
		return refuse(505, "HTTP version %q is not supported", version)
	}
	r.Method, r.Target = internMethod(method), target
	return nil
}

func internMethod(m []byte) string {
	for _, known := range [...]string{"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"} {
		if string(m) == known {
			return known
		}
	}
	return string(m)
}

// interpret reads the fields that the next hop's framing depends on.
func (r *Request) interpret() error {
	fr := framing{length: -1}
	hosts, upgrade, wantsUpgrade := 0, []byte(nil), false
	r.KeepAlive = r.Minor == 1
	for _, f := range r.Fields {
		if err := fr.field(f); err != nil {
			return err
		}
		switch {
		case fold(f.Name, "host"):
			hosts++
			r.Host = f.Value
		case fold(f.Name, "connection"):
			r.connection(f.Value)
			wantsUpgrade = wantsUpgrade || hasListed(f.Value, "upgrade")
		case fold(f.Name, "upgrade"):
			upgrade = f.Value
		case fold(f.Name, "te"):
			r.Trailers = r.Minor == 1 && hasListed(f.Value, "trailers")
		case fold(f.Name, "expect"):
			r.Expects = true
		case fold(f.Name, "authorization"):
			r.Pins = r.Pins || pins(f.Value)
		}
	}
	if err := fr.check(); err != nil {
		return err
	}
	if fr.chunked && r.Minor == 0 {
		return refuse(400, "Transfer-Encoding in an HTTP/1.0 request")
	}
	if hosts > 1 || hosts == 0 && r.Minor == 1 {
		return refuse(400, "want exactly one Host, got %d", hosts)
	}
	if wantsUpgrade && r.Minor == 1 && !hasListed(upgrade, "h2c") {
		r.Upgrade = string(upgrade)
	}
	r.Length = max(fr.length, 0)
	if fr.chunked {
		r.Length = -1
	}
	return r.target()
}

func (r *Request) connection(list []byte) {
	switch {
	case hasListed(list, "close"):
		r.KeepAlive = false
	case r.Minor == 0 && hasListed(list, "keep-alive"):
		r.KeepAlive = true
	}
}

func pins(auth []byte) bool {
	scheme := auth
	if i := bytes.IndexAny(auth, " \t"); i >= 0 {
		scheme = auth[:i]
	}
	return fold(scheme, "ntlm") || fold(scheme, "negotiate")
}

// target checks the request target's form (RFC 9112 §3.2) and brings an
// absolute one into origin form.
func (r *Request) target() error {
	switch {
	case r.Method == "CONNECT":
		if r.Length != 0 || bytes.IndexByte(r.Target, '/') >= 0 {
			return refuse(400, "invalid CONNECT request")
		}
		r.Path = []byte("/")
		return r.checkHost()
	case r.Target[0] == '/':
	case string(r.Target) == "*" && r.Method == "OPTIONS":
		r.Path = []byte("/")
		return r.checkHost()
	default:
		if err := r.absolute(); err != nil {
			return err
		}
	}
	r.Path, _, _ = bytes.Cut(r.Target, []byte("?"))
	return r.checkHost()
}

func (r *Request) absolute() error {
	const scheme = "http://"
	if len(r.Target) <= len(scheme) || !fold(r.Target[:len(scheme)], scheme) {
		return refuse(400, "invalid request target")
	}
	authority, target := r.Target[len(scheme):], []byte("/")
	if i := bytes.IndexAny(authority, "/?"); i >= 0 {
		authority, target = authority[:i], authority[i:]
	}
	if target[0] != '/' {
		return refuse(400, "absolute request target without a path")
	}
	if r.Minor == 1 && !bytes.EqualFold(authority, r.Host) {
		return refuse(400, "Host differs from the request target's authority")
	}
	r.Host, r.Target = authority, target
	return nil
}

// checkHost checks the authority's form: a name or an address in brackets, and
// a port (RFC 9110 §7.2, RFC 3986 §3.2.2).
func (r *Request) checkHost() error {
	name, port := splitPort(r.Host)
	if !isHostName(name) || !isPort(port) {
		return refuse(400, "invalid Host %q", r.Host)
	}
	return nil
}

// maxHost is the longest name in a Host, which goes on in three fields; DNS has
// none above 253 bytes.
const maxHost = 255

// splitPort cuts a port off, its colon included.
func splitPort(host []byte) (name, port []byte) {
	if len(host) > 0 && host[0] == '[' {
		if i := bytes.IndexByte(host, ']'); i > 0 {
			return host[:i+1], host[i+1:]
		}
		return nil, host
	}
	if i := bytes.IndexByte(host, ':'); i >= 0 {
		return host[:i], host[i:]
	}
	return host, nil
}

func isHostName(name []byte) bool {
	if len(name) > maxHost {
		return false
	}
	if len(name) > 1 && name[0] == '[' {
		return bytes.IndexFunc(name[1:len(name)-1], func(c rune) bool {
			return c != ':' && c != '.' && (c > 0x7f || !isTokenByte(byte(c)))
		}) < 0
	}
	for _, c := range name {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-._~%!$&'()*+;=", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// isPort accepts none, an empty one (RFC 3986 §3.2.3), and up to 65535.
func isPort(port []byte) bool {
	if len(port) == 0 {
		return true
	}
	n := 0
	for _, c := range port[1:] {
		if c < '0' || c > '9' {
			return false
		}
		if n = n*10 + int(c-'0'); n > 65535 {
			return false
		}
	}
	return port[0] == ':'
}
