package http1

// appendTrailer appends the lines of a trailer section, its empty line included,
// that may be forwarded: not those that belong to framing, routing, the request's
// or the response's control, authentication, or how the content is to be read
// (RFC 9110 §6.5.1).
func appendTrailer(dst, section []byte) ([]byte, error) {
	for n := 0; ; n++ {
		line, rest, err := cutLine(section)
		if err != nil {
			return dst, err
		}
		if len(line) == 0 {
			return dst, nil
		}
		if n == MaxFields {
			return dst, refuse(431, "more than %d trailer fields", MaxFields)
		}
		f, err := parseField(line)
		if err != nil {
			return dst, err
		}
		if trails(f.Name) {
			dst = appendField(dst, f)
		}
		section = rest
	}
}

// trails says whether a field may come in a trailer section.
func trails(name []byte) bool {
	if dropFromRequest(name, false) || dropFromResponse(name) || hasFoldedPrefix(name, "if-") || hasFoldedPrefix(name, "proxy-") {
		return false
	}
	for _, no := range [...]string{
		"age", "authorization", "cache-control", "content-encoding", "content-range", "content-type", "cookie", "date",
		"expect", "expires", "location", "max-forwards", "pragma", "range", "retry-after", "set-cookie",
		"strict-transport-security", "vary", "warning", "www-authenticate",
	} {
		if fold(name, no) {
			return false
		}
	}
	return true
}

func hasFoldedPrefix(name []byte, lower string) bool {
	return len(name) >= len(lower) && fold(name[:len(lower)], lower)
}

// AppendLast appends the end of a chunked body that was read to its end: the
// last chunk and the trailers that came.
func (b *Body) AppendLast(dst []byte) []byte {
	dst = append(append(dst, "0\r\n"...), b.trailer...)
	return append(dst, "\r\n"...)
}
