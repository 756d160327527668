package http1

import "bytes"

// Verify checks a request that did not come through [Request.Read] by the same
// rules: method, target, host, and the number and characters of its fields; and
// it sets Pins. It says nothing about the body. Errors are [*Error].
func (r *Request) Verify() error {
	if !isToken([]byte(r.Method)) {
		return refuse(400, "invalid method")
	}
	for _, c := range r.Target {
		if c <= ' ' || c == 0x7f {
			return refuse(400, "control character in the request target")
		}
	}
	if len(r.Target) == 0 || r.Target[0] != '/' && (string(r.Target) != "*" || r.Method != "OPTIONS") {
		return refuse(400, "invalid request target")
	}
	if len(r.Host) == 0 {
		return refuse(400, "want exactly one Host, got 0")
	}
	if len(r.Fields) > MaxFields {
		return refuse(431, "more than %d fields", MaxFields)
	}
	for _, f := range r.Fields {
		if !isToken(f.Name) || hasControl(f.Value) {
			return refuse(400, "invalid header %q", f.Name)
		}
		r.Pins = r.Pins || fold(f.Name, "authorization") && pins(f.Value)
	}
	return r.checkHost()
}

// ForwardFields appends the fields that the next hop gets, those that
// [AppendRequest] writes but for Host and the framing.
func ForwardFields(dst []Field, r *Request, fw Forward) []Field {
	listed := connectionLists(r.Fields)
	for _, f := range r.Fields {
		if !dropFromRequest(f.Name, fw.Trusted) && !isListed(listed, f.Name) {
			dst = append(dst, f)
		}
	}
	return append(dst, ParseLines(appendForwarding(nil, r, fw, listed))...)
}

// DeliverFields appends the fields that a client of HTTP/2 gets of a response,
// those that [AppendResponse] writes but for the framing.
func DeliverFields(dst []Field, r *Response) []Field {
	listed := connectionLists(r.Fields)
	for _, f := range r.Fields {
		if !dropFromResponse(f.Name) && !isListed(listed, f.Name) && !fold(f.Name, "upgrade") {
			dst = append(dst, f)
		}
	}
	return dst
}

// ParseLines parses header lines of our own making, each with its CRLF.
func ParseLines(lines []byte) []Field {
	if len(lines) == 0 {
		return nil
	}
	fields, _ := parseFields(nil, append(bytes.Clone(lines), "\r\n"...))
	return fields
}

// Trailer returns the fields after a chunked body that was read to its end.
func (b *Body) Trailer() []Field { return ParseLines(b.trailer) }

// AppendEnd appends the end of a chunked body: the last chunk and those of the
// trailer fields that may be forwarded.
func AppendEnd(dst []byte, trailer []Field) []byte {
	dst = append(dst, "0\r\n"...)
	for _, f := range trailer {
		if isToken(f.Name) && !hasControl(f.Value) && trails(f.Name) {
			dst = appendField(dst, f)
		}
	}
	return append(dst, "\r\n"...)
}
