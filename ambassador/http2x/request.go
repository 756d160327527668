package http2x

import (
	"crypto/rand"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/remorahq/remora/ambassador/http1"
)

// Request brings a request of x/net's server into the form of package http1
// and checks what x/net lets pass. arena holds its bytes and may be used again
// after the request. Errors are [*http1.Error].
func Request(dst *http1.Request, r *http.Request, arena []byte) ([]byte, error) {
	a := arena[:0]
	fields := dst.Fields[:0]
	put := func(s string) []byte {
		n := len(a)
		a = append(a, s...)
		return a[n:len(a):len(a)]
	}
	if need := size(r); cap(a) < need {
		a = make([]byte, 0, need)
	}
	*dst = http1.Request{Method: r.Method, Target: put(r.RequestURI), Host: put(r.Host), Minor: 1, KeepAlive: true}
	for name, values := range r.Header {
		if name == ":protocol" {
			continue
		}
		for _, v := range values {
			fields = append(fields, http1.Field{Name: put(name), Value: put(v)})
		}
	}
	if len(r.Trailer) > 0 && r.ContentLength < 0 {
		names := slices.Sorted(maps.Keys(r.Trailer))
		fields = append(fields, http1.Field{Name: put("Trailer"), Value: []byte(strings.Join(names, ", "))})
	}
	if dst.Upgrade = extended(r); dst.Upgrade != "" {
		// RFC 8441 §5: the handshake of HTTP/1.1 has a key.
		dst.Method = http.MethodGet
		fields = append(fields, http1.Field{Name: []byte("Sec-WebSocket-Key"), Value: newKey()})
	}
	dst.Fields = fields
	dst.Trailers = r.Header.Get("Te") == "trailers"
	length, err := bodyLength(r)
	if err != nil {
		return a, err
	}
	dst.Length = length
	dst.Path = dst.Target
	if i := strings.IndexByte(r.RequestURI, '?'); i >= 0 {
		dst.Path = dst.Target[:i]
	}
	if r.RequestURI == "*" {
		dst.Path = put("/")
	}
	return a, dst.Verify()
}

// extended is the protocol of an extended CONNECT that is served, or empty.
func extended(r *http.Request) string {
	if p := r.Header[":protocol"]; r.Method == http.MethodConnect && len(p) == 1 && p[0] == "websocket" {
		return p[0]
	}
	return ""
}

func newKey() []byte {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.StdEncoding.AppendEncode(nil, b[:])
}

// size is how many bytes a request has, so that its slices stay where they are.
func size(r *http.Request) int {
	n := len(r.RequestURI) + len(r.Host) + len("/Trailer")
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// bodyLength is the length as http1 tells it. A length that the stream's end
// contradicts already, or that could be read in two ways, is refused; x/net
// refuses one that the frames contradict later.
func bodyLength(r *http.Request) (int64, error) {
	told, ok := r.Header["Content-Length"]
	switch {
	case extended(r) != "":
		return 0, nil // what follows is no body
	case !ok:
		return r.ContentLength, nil
	case len(told) != 1:
		return 0, &http1.Error{Status: 400, Reason: "more than one Content-Length"}
	}
	n := int64(0)
	for i := range len(told[0]) {
		c := told[0][i]
		if c < '0' || c > '9' || i > 17 {
			return 0, &http1.Error{Status: 400, Reason: "invalid Content-Length"}
		}
		n = n*10 + int64(c-'0')
	}
	if len(told[0]) == 0 {
		return 0, &http1.Error{Status: 400, Reason: "invalid Content-Length"}
	}
	if n != r.ContentLength {
		return 0, &http1.Error{Status: 400, Reason: "the body's length differs from Content-Length"}
	}
	return n, nil
}

// Target is a URL that x/net's client sends as this very request target.
func Target(scheme, host, target string) *url.URL {
	u := &url.URL{Scheme: scheme, Host: host, Opaque: target}
	if strings.HasPrefix(target, "//") {
		// An opaque one would get the scheme in front.
		if p, err := url.ParseRequestURI(target); err == nil {
			p.Scheme, p.Host = scheme, host
			return p
		}
	}
	return u
}

// DropConnectionFields takes out of a response what has no meaning in HTTP/2 (RFC
// 9113 §8.2.2) and would be taken for ours by a client of HTTP/1, or by x/net's
// server, which ends the connection at `Connection: close`.
func DropConnectionFields(h http.Header) {
	for _, name := range [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Transfer-Encoding", "Upgrade"} {
		delete(h, name)
	}
}

// Fields makes a map of names and values header fields.
func Fields(h http.Header) []http1.Field {
	var fields []http1.Field
	for name, values := range h {
		for _, v := range values {
			fields = append(fields, http1.Field{Name: []byte(name), Value: []byte(v)})
		}
	}
	return fields
}

// Header makes header fields a map with canonical names.
func Header(fields []http1.Field) http.Header {
	h := make(http.Header, len(fields))
	Add(h, fields)
	return h
}

// Add adds fields to h.
func Add(h http.Header, fields []http1.Field) {
	for _, f := range fields {
		name := http.CanonicalHeaderKey(string(f.Name))
		h[name] = append(h[name], string(f.Value))
	}
}
