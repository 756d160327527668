package http1

import (
	"bytes"
	"net/netip"
	"strconv"
)

// Forward says what the next hop is told about the client.
type Forward struct {
	Client netip.Addr
	// Secure says that the client came over TLS.
	Secure bool
	// Trusted keeps what the peer says about clients before it and adds to it;
	// otherwise such fields are replaced.
	Trusted bool
}

func (fw Forward) proto() string {
	if fw.Secure {
		return "https"
	}
	return "http"
}

// AppendRequest appends the head of r for the next hop: always HTTP/1.1, hop
// by hop fields left out, forwarding fields set (RFC 7239).
func AppendRequest(dst []byte, r *Request, fw Forward) []byte {
	dst = append(dst, r.Method...)
	dst = append(dst, ' ')
	dst = append(dst, r.Target...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, r.Host...)
	dst = append(dst, "\r\n"...)
	listed := connectionLists(r.Fields)
	for _, f := range r.Fields {
		announces := r.Length == -1 && fold(f.Name, "trailer")
		if (announces || !dropFromRequest(f.Name, fw.Trusted)) && !isListed(listed, f.Name) {
			dst = appendField(dst, f)
		}
	}
	dst = appendForwarding(dst, r, fw, listed)
	if r.Length == -1 {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	} else if r.Length > 0 || lengthMatters(r) {
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, r.Length, 10)
		dst = append(dst, "\r\n"...)
	}
	if r.Trailers {
		dst = append(dst, "TE: trailers\r\nConnection: TE\r\n"...)
	}
	if r.Upgrade != "" {
		dst = append(dst, "Connection: Upgrade\r\nUpgrade: "...)
		dst = append(dst, r.Upgrade...)
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// lengthMatters says whether an empty body is worth telling (RFC 9110 §8.6).
func lengthMatters(r *Request) bool {
	return r.Method == "POST" || r.Method == "PUT" || r.Method == "PATCH"
}

func appendField(dst []byte, f Field) []byte {
	dst = append(dst, f.Name...)
	dst = append(dst, ": "...)
	dst = append(dst, f.Value...)
	return append(dst, "\r\n"...)
}

// connectionLists collects the values of Connection that may name fields.
func connectionLists(fields []Field) []byte {
	var all []byte
	for _, f := range fields {
		if !fold(f.Name, "connection") || fold(f.Value, "keep-alive") || fold(f.Value, "close") || fold(f.Value, "upgrade") {
			continue
		}
		if all == nil {
			all = f.Value
			continue
		}
		all = append(append(bytes.Clone(all), ','), f.Value...)
	}
	return all
}

func isListed(list, name []byte) bool {
	if len(list) == 0 {
		return false
	}
	return hasListed(list, string(bytes.ToLower(name)))
}

// dropFromRequest says which fields the next hop must not see, or gets in our
// own words. Names with an underscore are dropped too: applications that map
// names to variables cannot tell them from the ones with a hyphen.
func dropFromRequest(name []byte, trusted bool) bool {
	if bytes.IndexByte(name, '_') >= 0 {
		return true
	}
	switch name[0] | 0x20 {
	case 'c':
		return fold(name, "connection") || fold(name, "content-length")
	case 'f':
		return fold(name, "forwarded") && !trusted
	case 'h':
		return fold(name, "host") || fold(name, "http2-settings")
	case 'k':
		return fold(name, "keep-alive")
	case 'p':
		// Proxy would become the variable HTTP_PROXY of a CGI program.
		return fold(name, "proxy") || fold(name, "proxy-connection") || fold(name, "proxy-authorization")
	case 'r':
		return fold(name, "remora-mirror") && !trusted // marks our copies
	case 't':
		return fold(name, "te") || fold(name, "trailer") || fold(name, "transfer-encoding")
	case 'u':
		return fold(name, "upgrade")
	case 'x':
		return dropXField(name, trusted)
	}
	return false
}

func dropXField(name []byte, trusted bool) bool {
	if fold(name, "x-forwarded-for") {
		return true
	}
	if trusted {
		return false
	}
	return len(name) > 12 && fold(name[:12], "x-forwarded-") || fold(name, "x-real-ip")
}

// appendForwarding adds X-Forwarded-For, -Proto, -Host and Forwarded.
// What a trusted peer lists in Connection was meant for us alone.
func appendForwarding(dst []byte, r *Request, fw Forward, listed []byte) []byte {
	dst = append(dst, "X-Forwarded-For: "...)
	var proto, host bool
	for _, f := range r.Fields {
		if !fw.Trusted {
			break
		}
		if isListed(listed, f.Name) {
			continue
		}
		if fold(f.Name, "x-forwarded-for") {
			dst = append(append(dst, f.Value...), ", "...)
		}
		proto = proto || fold(f.Name, "x-forwarded-proto")
		host = host || fold(f.Name, "x-forwarded-host")
	}
	dst = fw.Client.AppendTo(dst)
	dst = append(dst, "\r\n"...)
	if !proto {
		dst = append(append(append(dst, "X-Forwarded-Proto: "...), fw.proto()...), "\r\n"...)
	}
	if !host && len(r.Host) > 0 {
		dst = append(append(dst, "X-Forwarded-Host: "...), r.Host...)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "Forwarded: for="...)
	if fw.Client.Is6() {
		dst = append(fw.Client.AppendTo(append(dst, `"[`...)), `]"`...)
	} else {
		dst = fw.Client.AppendTo(dst)
	}
	if len(r.Host) > 0 {
		dst = append(append(dst, `;host="`...), r.Host...)
		dst = append(dst, '"')
	}
	return append(append(append(dst, ";proto="...), fw.proto()...), "\r\n"...)
}

// Delivery says how a response goes to the client.
type Delivery struct {
	// Minor is the client's version, HTTP/1.x.
	Minor int
	// KeepAlive keeps the client's connection.
	KeepAlive bool
	// Chunked frames the body in chunks; otherwise Content-Length, or the
	// connection's end, does.
	Chunked bool
	// Switching keeps Upgrade, for a 101.
	Switching bool
	// Extra are raw header lines to add, each with its CRLF.
	Extra []byte
}

// AppendResponse appends the head of r for the client.
func AppendResponse(dst []byte, r *Response, d Delivery) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, r.Reason...)
	dst = append(dst, "\r\n"...)
	listed := connectionLists(r.Fields)
	noBody := r.Status < 200 || r.Status == 204
	for _, f := range r.Fields {
		if d.Chunked && fold(f.Name, "trailer") {
			dst = appendField(dst, f)
			continue
		}
		isLength := fold(f.Name, "content-length")
		if dropFromResponse(f.Name) || noBody && isLength || !d.Switching && !isLength && isListed(listed, f.Name) {
			continue
		}
		if fold(f.Name, "upgrade") && !d.Switching && r.Status != 426 {
			continue
		}
		dst = appendField(dst, f)
	}
	dst = append(dst, d.Extra...)
	switch {
	case r.Status < 200 && !d.Switching:
		return append(dst, "\r\n"...)
	case d.Switching:
		dst = append(dst, "Connection: Upgrade\r\n"...)
	case !d.KeepAlive:
		dst = append(dst, "Connection: close\r\n"...)
	case d.Minor == 0:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	if d.Chunked {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	return append(dst, "\r\n"...)
}

func dropFromResponse(name []byte) bool {
	switch name[0] | 0x20 {
	case 'c':
		return fold(name, "connection")
	case 'k':
		return fold(name, "keep-alive")
	case 'p':
		return fold(name, "proxy-connection")
	case 't':
		return fold(name, "te") || fold(name, "trailer") || fold(name, "transfer-encoding")
	}
	return false
}

// Answer is a whole response of our own.
type Answer struct {
	Status int
	Body   []byte
	// Fields and Extra are raw header lines, each with its CRLF.
	Fields, Extra []byte
	KeepAlive     bool
	// Head leaves the body out.
	Head bool
}

// AppendAnswer appends a.
func AppendAnswer(dst []byte, a Answer) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(a.Status), 10)
	dst = append(append(dst, ' '), reason(a.Status)...)
	dst = append(dst, "\r\n"...)
	dst = append(append(dst, a.Fields...), a.Extra...)
	if !a.KeepAlive {
		dst = append(dst, "Connection: close\r\n"...)
	}
	dst = strconv.AppendInt(append(dst, "Content-Length: "...), int64(len(a.Body)), 10)
	dst = append(dst, "\r\n\r\n"...)
	if a.Head {
		return dst
	}
	return append(dst, a.Body...)
}

func reason(status int) string {
	switch status {
	case 308:
		return "Permanent Redirect"
	case 400:
		return "Bad Request"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 408:
		return "Request Timeout"
	case 413:
		return "Content Too Large"
	case 414:
		return "URI Too Long"
	case 421:
		return "Misdirected Request"
	case 429:
		return "Too Many Requests"
	case 431:
		return "Request Header Fields Too Large"
	case 501:
		return "Not Implemented"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	case 504:
		return "Gateway Timeout"
	case 505:
		return "HTTP Version Not Supported"
	}
	return "Error"
}

// ChunkRoom is how many bytes [FrameChunk] needs in front of the payload and
// after it.
const (
	ChunkRoom  = 10
	ChunkAfter = 2
)

// FrameChunk makes buf[ChunkRoom:ChunkRoom+n] a chunk in place and returns the
// bytes to write. buf has [ChunkAfter] bytes of room behind the payload.
func FrameChunk(buf []byte, n int) []byte {
	const digits = "0123456789abcdef"
	i := ChunkRoom - 2
	copy(buf[i:], "\r\n")
	for rest := n; rest > 0; rest >>= 4 {
		i--
		buf[i] = digits[rest&15]
	}
	copy(buf[ChunkRoom+n:], "\r\n")
	return buf[i : ChunkRoom+n+ChunkAfter]
}
