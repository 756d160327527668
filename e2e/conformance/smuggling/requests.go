package smuggling

import (
	"fmt"
	"strings"
)

// Cases are all streams.
func Cases() []Case {
	var all []Case
	for _, group := range [][]Case{framing(), chunked(), lines(), firstLines(), hosts(), fields(), streams()} {
		all = append(all, group...)
	}
	return all
}

func refused(rule, name, raw string) Case { return Case{Rule: rule, Name: name, Raw: raw} }

func taken(rule, name, raw string, want ...string) Case {
	return Case{Rule: rule, Name: name, Raw: raw, Want: want}
}

// framing is how long a body is (RFC 9112 §6).
func framing() []Case {
	const two, length, coding = "length and coding", "content length", "transfer coding"
	return []Case{
		refused(two, "cl.te", post("0\r\n\r\n"+evil, "Content-Length: 35", "Transfer-Encoding: chunked")),
		refused(two, "te.cl", post("0\r\n\r\n"+evil, "Transfer-Encoding: chunked", "Content-Length: 5")),
		refused(two, "cl 0 and te", post("0\r\n\r\n", "Content-Length: 0", "Transfer-Encoding: chunked")),
		refused(coding, "te identity", post("", "Transfer-Encoding: identity")),
		refused(coding, "te twice", post("0\r\n\r\n", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked")),
		refused(coding, "te chunked and identity", post("0\r\n\r\n", "Transfer-Encoding: chunked", "Transfer-Encoding: identity")),
		refused(coding, "te list with itself", post("0\r\n\r\n", "Transfer-Encoding: chunked, chunked")),
		refused(coding, "te gzip, chunked", post("0\r\n\r\n", "Transfer-Encoding: gzip, chunked")),
		refused(coding, "te chunked, identity", post("0\r\n\r\n", "Transfer-Encoding: chunked, identity")),
		refused(coding, "te x-chunked", post("0\r\n\r\n", "Transfer-Encoding: xchunked")),
		refused(coding, "te quoted", post("0\r\n\r\n", `Transfer-Encoding: "chunked"`)),
		refused(coding, "te with parameter", post("0\r\n\r\n", "Transfer-Encoding: chunked;q=1")),
		refused(coding, "te empty", post("0\r\n\r\n", "Transfer-Encoding:")),
		refused(coding, "te vertical tab", post("0\r\n\r\n", "Transfer-Encoding: \x0bchunked")),
		refused(coding, "te in 1.0", request("POST / HTTP/1.0", "Transfer-Encoding: chunked")+"0\r\n\r\n"),
		taken(coding, "te upper case", post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: CHUNKED"), "POST / abc"),
		taken(coding, "te after tab", post("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding:\tchunked"), "POST / abc"),
		taken(coding, "te of a GET", request("GET / HTTP/1.1", "Transfer-Encoding: chunked")+"3\r\nabc\r\n0\r\n\r\n", "GET / abc"),
		refused(length, "cl twice, differing", post("abcde", "Content-Length: 5", "Content-Length: 3")),
		refused(length, "cl twice, the same", post("abcde", "Content-Length: 5", "Content-Length: 5")),
		refused(length, "cl list", post("abcde", "Content-Length: 5, 5")),
		refused(length, "cl plus", post("abcde", "Content-Length: +5")),
		refused(length, "cl minus", post("abcde", "Content-Length: -5")),
		refused(length, "cl hex", post("abcde", "Content-Length: 0x5")),
		refused(length, "cl underscore", post("abcde", "Content-Length: 0_5")),
		refused(length, "cl with a space in it", post("abcde", "Content-Length: 5 0")),
		refused(length, "cl decimal point", post("abcde", "Content-Length: 5.0")),
		refused(length, "cl empty", post("", "Content-Length:")),
		refused(length, "cl too large", post("", "Content-Length: 99999999999999999999")),
		refused(length, "cl letters", post("", "Content-Length: five")),
		refused(length, "cl arabic digits", post("", "Content-Length: \u0665")),
		taken(length, "cl with zeros", post("abcde", "Content-Length: 0005"), "POST / abcde"),
		taken(length, "cl with blanks around", post("abcde", "Content-Length: \t5\t "), "POST / abcde"),
		taken(length, "cl of a GET", request("GET / HTTP/1.1", "Content-Length: 3")+"abc", "GET / abc"),
		taken(length, "no length, no body", post(""), "POST / "),
		{
			Rule: length, Name: "cl hidden by Connection", Raw: post("abc", "Content-Length: 3", "Connection: content-length"),
			Want: []string{"POST / abc"},
		},
	}
}

// chunked is chunks and what is around them (RFC 9112 §7.1).
func chunked() []Case {
	const size, end, ext, trailer = "chunk size", "chunk end", "chunk extension", "trailer"
	all := []Case{
		taken(size, "one chunk", chunks("5\r\nhello\r\n0\r\n\r\n"), "POST / hello"),
		taken(size, "two chunks", chunks("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"), "POST / hello!"),
		taken(size, "upper-case hex", chunks("A\r\n0123456789\r\n0\r\n\r\n"), "POST / 0123456789"),
		taken(size, "leading zeros", chunks("0005\r\nhello\r\n000\r\n\r\n"), "POST / hello"),
		taken(ext, "extension is dropped", chunks("5;name=value\r\nhello\r\n0;x\r\n\r\n"), "POST / hello"),
		refused(ext, "blank before extension", chunks("5 ;x\r\nhello\r\n0\r\n\r\n")),
		taken(size, "blanks after it", chunks("5  \r\nhello\r\n0\r\n\r\n"), "POST / hello"),
		refused(ext, "bare LF in extension", chunks("5;x\n\r\nhello\r\n0\r\n\r\n")),
		refused(ext, "bare CR in extension", chunks("5;x\ry\r\nhello\r\n0\r\n\r\n")),
		refused(ext, "NUL in extension", chunks("5;x\x00\r\nhello\r\n0\r\n\r\n")),
		refused(size, "line ends with LF", chunks("5\nhello\r\n0\r\n\r\n")),
		refused(end, "data ends with LF", chunks("5\r\nhello\n0\r\n\r\n")),
		refused(end, "data is longer", chunks("5\r\nhelloo\r\n0\r\n\r\n")),
		refused(end, "data is shorter", chunks("6\r\nhello\r\n0\r\n\r\n")),
		refused(end, "no CRLF after data", chunks("5\r\nhello0\r\n\r\n")),
		refused(end, "last chunk ends with LF", chunks("5\r\nhello\r\n0\n\n")),
		refused(trailer, "trailer ends with LF", chunks("5\r\nhello\r\n0\r\nX: y\n\r\n")),
		taken(trailer, "trailer", chunks("5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), "POST / hello"),
		{
			Rule: trailer, Name: "framing in a trailer", Raw: chunks("5\r\nhello\r\n0\r\nContent-Length: 90\r\n\r\n"),
			Want: []string{"POST / hello"}, Absent: []string{"Content-Length"},
		},
	}
	for name, bad := range map[string]string{
		"hex prefix": "0x5", "plus": "+5", "minus": "-5", "blank in front": " 5", "tab in front": "\t5", "underscore": "0_5", "empty": "",
		"letters": "five", "too large": "FFFFFFFFFFFFFFFFF", "above 63 bits": "8000000000000000", "comma": "5,5", "NUL": "5\x00", "quoted": `"5"`, "two": "5 5",
	} {
		all = append(all, refused(size, "size "+name, chunks(bad+"\r\nhello\r\n0\r\n\r\n"+evil)))
	}
	return all
}

// lines is how lines end and fields are written (RFC 9112 §2.2, §5).
func lines() []Case {
	const end, fold, name, value = "line end", "folded line", "field name", "field value"
	all := []Case{
		refused(end, "all lines end with LF", "GET / HTTP/1.1\nHost: h\n\n"),
		refused(end, "first line ends with LF", "GET / HTTP/1.1\nHost: h\r\n\r\n"),
		refused(end, "a field ends with LF", "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n"),
		refused(end, "head ends with LF", "GET / HTTP/1.1\r\nHost: h\r\n\n"+evil),
		refused(end, "head ends with LF LF", "GET / HTTP/1.1\r\nHost: h\n\n"+evil),
		refused(end, "bare CR ends a field", "GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n"),
		refused(end, "CR CR LF", "GET / HTTP/1.1\r\nHost: h\r\r\n\r\n"),
		refused(fold, "folded by a blank", get("X: a", " b")),
		refused(fold, "folded by a tab", get("X: a", "\tb")),
		refused(fold, "folded coding", post("0\r\n\r\n", "Transfer-Encoding:", " chunked")),
		refused(fold, "first field is folded", "GET / HTTP/1.1\r\n Host: h\r\n\r\n"),
		refused(name, "blank before the colon", get("X : y")),
		refused(name, "tab before the colon", get("X\t: y")),
		refused(name, "coding with a blank before the colon", post("0\r\n\r\n", "Transfer-Encoding : chunked")),
		refused(name, "empty", get(": y")),
		refused(name, "no colon", get("X")),
		refused(name, "blank in it", get("X Y: z")),
		refused(value, "NUL", get("X: a\x00b")),
		refused(value, "control", get("X: a\x01b")),
		refused(value, "delete", get("X: a\x7fb")),
		taken(value, "empty", get("X:"), "GET / "),
		taken(value, "tab in it", get("X: a\tb"), "GET / "),
		taken(value, "UTF-8", get("X: \u00e9"), "GET / "),
		taken(value, "colons", get("X: a:b:c"), "GET / "),
	}
	for _, c := range "()<>@,;\\\"/[]?={}\x00\x01\x7f\u00e9" {
		all = append(all, refused(name, fmt.Sprintf("character %q", c), get("X"+string(c)+"Y: z")))
	}
	return all
}

// firstLines is the request line (RFC 9112 §3).
func firstLines() []Case {
	const line, version, method, target = "request line", "version", "method", "request target"
	one := func(first string) string { return request(first) }
	all := []Case{
		refused(line, "two blanks", one("GET  / HTTP/1.1")),
		refused(line, "tab", one("GET\t/ HTTP/1.1")),
		refused(line, "blank in front", one(" GET / HTTP/1.1")),
		refused(line, "blank at its end", one("GET / HTTP/1.1 ")),
		refused(line, "blank in the target", one("GET /a b HTTP/1.1")),
		refused(line, "no target", one("GET HTTP/1.1")),
		refused(line, "HTTP/0.9", "GET /\r\n\r\n"),
		refused(version, "lower case", one("GET / http/1.1")),
		refused(version, "2.0", one("GET / HTTP/2.0")),
		refused(version, "1.10", one("GET / HTTP/1.10")),
		refused(version, "1", one("GET / HTTP/1")),
		refused(version, "01.1", one("GET / HTTP/01.1")),
		refused(version, "HTTPS", one("GET / HTTPS/1.1")),
		taken(method, "of one's own", one("PURGE / HTTP/1.1"), "PURGE / "),
		taken(method, "token characters", one("M-SEARCH / HTTP/1.1"), "M-SEARCH / "),
		refused(method, "slash", one("GE/T / HTTP/1.1")),
		refused(method, "brace", one("G{T / HTTP/1.1")),
		refused(method, "empty", one(" / HTTP/1.1")),
		taken(target, "query", one("GET /a?b=c&d HTTP/1.1"), "GET /a?b=c&d "),
		taken(target, "encoded as sent", one("GET /%2e%2e/%2F?x=%00 HTTP/1.1"), "GET /%2e%2e/%2F?x=%00 "),
		taken(target, "absolute", one("GET http://h/a HTTP/1.1"), "GET /a "),
		taken(target, "absolute, upper case", one("GET HTTP://H/a HTTP/1.1"), "GET /a "),
		taken(target, "asterisk of OPTIONS", one("OPTIONS * HTTP/1.1"), "OPTIONS * "),
		refused(target, "asterisk of GET", one("GET * HTTP/1.1")),
		refused(target, "no slash", one("GET a HTTP/1.1")),
		refused(target, "absolute of another host", one("GET http://evil/a HTTP/1.1")),
		refused(target, "absolute with user", one("GET http://user@h/a HTTP/1.1")),
		refused(target, "absolute without host", one("GET http:///a HTTP/1.1")),
		refused(target, "another scheme", one("GET ftp://h/a HTTP/1.1")),
		refused(target, "authority of GET", one("GET h:80 HTTP/1.1")),
		refused(target, "fragment", one("GET /a#b HTTP/1.1")),
	}
	for _, c := range []byte{0x80, 0xff} { // not allowed, but sent, and nobody reads it as anything else
		bytes := "/a" + string([]byte{c}) + "b"
		all = append(all, taken(target, fmt.Sprintf("byte %#02x", c), one("GET "+bytes+" HTTP/1.1"), "GET "+bytes+" "))
	}
	for _, c := range []byte{0, 1, '\t', 0x7f} {
		all = append(all, refused(target, fmt.Sprintf("byte %#02x", c), one("GET /a"+string([]byte{c})+"b HTTP/1.1")))
	}
	return all
}

// hosts is Host (RFC 9112 §3.2).
func hosts() []Case {
	const rule = "host"
	one := func(hosts ...string) string {
		var b strings.Builder
		b.WriteString("GET / HTTP/1.1\r\n")
		for _, h := range hosts {
			b.WriteString("Host: " + h + "\r\n")
		}
		return b.String() + "\r\n"
	}
	all := []Case{
		refused(rule, "none", one()),
		refused(rule, "two", one("h", "h")),
		refused(rule, "two, differing", one("h", "evil")),
		taken(rule, "port", one("h:8080"), "GET / "),
		taken(rule, "IPv6", one("[::1]:80"), "GET / "),
		taken(rule, "upper case", one("H.Example"), "GET / "),
		taken(rule, "none in 1.0", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET / "),
	}
	for name, host := range map[string]string{
		"slash": "h/evil", "backslash": `h\evil`, "user": "u@h", "query": "h?x", "fragment": "h#x", "blank": "h evil", "list": "h, evil",
		"port of letters": "h:eighty", "port too large": "h:99999", "two ports": "h:80:90", "open bracket": "[::1", "NUL": "h\x00", "brace": "{h}",
	} {
		all = append(all, refused(rule, name, one(host)))
	}
	return all
}

// fields is what the next hop must not see, or sees in our own words.
func fields() []Case {
	const hop, forward, lookalike, limits = "hop by hop", "forwarding fields", "lookalike", "limits"
	return []Case{
		{Rule: hop, Name: "listed in Connection", Raw: get("Connection: X-Secret, keep-alive", "X-Secret: 1"), Want: []string{"GET / "}, Absent: []string{"X-Secret"}},
		{Rule: hop, Name: "Keep-Alive, TE, Proxy-Connection", Raw: get("Keep-Alive: timeout=9", "TE: gzip;q=0.5", "Proxy-Connection: keep-alive"), Want: []string{"GET / "}, Absent: []string{"Keep-Alive", "Te", "Proxy-Connection"}},
		{Rule: hop, Name: "trailers are taken, since they are passed on", Raw: get("TE: gzip, trailers"), Want: []string{"GET / "}, Present: []string{"Te: trailers"}},
		{Rule: hop, Name: "Proxy-Authorization", Raw: get("Proxy-Authorization: Basic eDp5"), Want: []string{"GET / "}, Absent: []string{"Proxy-Authorization"}},
		{Rule: hop, Name: "Upgrade to h2c", Raw: get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), Want: []string{"GET / "}, Absent: []string{"Upgrade", "Http2-Settings"}},
		{Rule: hop, Name: "Proxy becomes HTTP_PROXY", Raw: get("Proxy: http://evil"), Want: []string{"GET / "}, Absent: []string{"Proxy"}},
		{Rule: forward, Name: "X-Forwarded-For is replaced", Raw: get("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Real-IP: 6.6.6.6"), Want: []string{"GET / "}, Present: []string{"X-Forwarded-For: {client}", "X-Forwarded-Proto: http"}, Absent: []string{"X-Real-Ip"}},
		{Rule: forward, Name: "Forwarded is replaced", Raw: get("Forwarded: for=6.6.6.6"), Want: []string{"GET / "}, Present: []string{`Forwarded: for={client};host="h";proto=http`}},
		{Rule: forward, Name: "hidden by Connection", Raw: get("Connection: X-Forwarded-For", "X-Forwarded-For: 6.6.6.6"), Want: []string{"GET / "}, Present: []string{"X-Forwarded-For: {client}"}},
		{Rule: lookalike, Name: "underscores", Raw: get("X_Forwarded_For: 6.6.6.6", "Content_Length: 9"), Want: []string{"GET / "}, Absent: []string{"X_forwarded_for", "Content_length"}},
		{Rule: lookalike, Name: "coding with an underscore", Raw: post("", "Transfer_Encoding: chunked"), Want: []string{"POST / "}, Absent: []string{"Transfer_encoding"}},
		refused(limits, "head over 16 KiB", get("X: "+strings.Repeat("x", 17<<10))),
		refused(limits, "more than 100 fields", get(strings.Split(strings.Repeat("X: y\n", 101), "\n")[:101]...)),
		refused(limits, "target over 16 KiB", request("GET /"+strings.Repeat("x", 17<<10)+" HTTP/1.1")),
		taken(limits, "90 fields", get(strings.Split(strings.Repeat("X: y\n", 90), "\n")[:90]...), "GET / "),
	}
}

// streams is several messages in a row.
func streams() []Case {
	const pipe, before = "pipelining", "before a request"
	return []Case{
		taken(pipe, "two requests", get()+request("GET /2 HTTP/1.1"), "GET / ", "GET /2 "),
		taken(pipe, "a body, then a request", post("abc", "Content-Length: 3")+request("GET /2 HTTP/1.1"), "POST / abc", "GET /2 "),
		taken(pipe, "chunks, then a request", chunks("3\r\nabc\r\n0\r\n\r\n")+request("GET /2 HTTP/1.1"), "POST / abc", "GET /2 "),
		taken(pipe, "a body that looks like a request", post(evil, fmt.Sprintf("Content-Length: %d", len(evil))), "POST / "+evil),
		taken(before, "an empty line", "\r\n"+get(), "GET / "),
		taken(before, "empty line after a body", post("abc", "Content-Length: 3")+"\r\n"+request("GET /2 HTTP/1.1"), "POST / abc", "GET /2 "),
		refused(before, "a bare LF", "\n"+get()),
		refused(before, "a bare CR", "\r"+get()),
		refused(before, "a NUL", "\x00"+get()),
	}
}
