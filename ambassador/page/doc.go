// Package page makes the answers that the ambassador gives itself: why a
// request got none from a container, as a code that logs and metrics share, in
// words that a visitor understands, with what can be done by the visitor and
// by the operator. It comes as HTML, JSON (RFC 9457) or plain text, as the
// client accepts.
//
// It must tell strangers nothing internal: no address, container or release.
// Nothing is read or sent here; everything may be called from any goroutine.
package page
