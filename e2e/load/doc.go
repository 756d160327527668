// Package load is the traffic that proves a switch: raw connections that never
// retry, each request with an ID that is written to a log before a byte of it
// is sent. Package check joins that log with the backends' own account.
//
// It opens sockets itself and speaks HTTP/1.1 and WebSocket by hand: Go's
// client repeats what was lost and would hide it. It must not import anything
// of remora.
//
// A Load belongs to one test; its methods may be called from any goroutine.
// Each client is one goroutine with at most one connection; all have ended
// when Stop returns. README.md defines what counts as sent, answered, cut and
// failed.
package load
