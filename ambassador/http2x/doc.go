// Package http2x is what HTTP/2 needs beside golang.org/x/net/http2: a server
// session that can be drained in two steps (RFC 9113 §6.8), requests checked
// and brought into the form of package http1, bodies that can be sent again,
// and the words of gRPC. It must not know routes, releases or endpoints.
//
// A Session is served by one goroutine and may be drained from another; an
// Upload is read by one attempt at a time while it is filled by a goroutine of
// its own, which Close ends. Everything else is plain values.
package http2x
