// Package http1 is the wire form of HTTP/1.1 (RFC 9110, RFC 9112): it parses
// heads strictly, frames bodies and writes heads for the next hop. It decides
// nothing about routing, connections or retries and does no I/O of its own
// but through the reader it is given.
//
// What two parsers could read differently is refused, never repaired: both
// Content-Length and Transfer-Encoding, repeated or unusual Content-Length,
// folded lines, bare CR or LF, NUL, space before a colon, an invalid Host.
//
// A Request, Response or Body belongs to one goroutine at a time. The fields
// of a parsed head point into the reader's buffer and are valid until the
// next read from it.
package http1
