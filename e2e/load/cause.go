package load

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Cause says in one word why there is no answer, for a checker to branch on.
// Further ones carry a number: status-502, close-1012, grpc-14, rst-8.
type Cause string

// The causes.
const (
	Refused   Cause = "refused"   // the connection was not taken
	Reset     Cause = "reset"     // the connection was reset before a byte of an answer
	Hangup    Cause = "hangup"    // the stream ended before a byte of an answer
	Truncated Cause = "truncated" // the answer began and did not end, and that can be seen
	Short     Cause = "short"     // a stream of events ended cleanly before its last one
	Farewell  Cause = "farewell"  // a tunnel's stream ended between two messages
	GoAway    Cause = "goaway"    // HTTP/2: the server takes no more calls on the connection
	Late      Cause = "late"      // nothing came in time
	Wrong     Cause = "wrong"     // not the answer to this request, or nothing that anyone asked for
	// Closing is no failure of an answer: it was right, and its server ends the
	// connection after it.
	Closing Cause = "closing"
)

// Status is the cause of an answer with another status than 200.
func Status(code int) Cause { return Cause(fmt.Sprintf("status-%d", code)) }

// Code is the cause of a WebSocket's close frame.
func Code(code int) Cause { return Cause(fmt.Sprintf("close-%d", code)) }

// failure is an error with its cause.
type failure struct {
	cause Cause
	err   error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func failf(c Cause, format string, args ...any) error {
	return &failure{c, fmt.Errorf(format, args...)}
}

// causeOf finds the cause of an error; what nobody named is told by the kernel.
func causeOf(err error) Cause {
	var f *failure
	var n net.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &f):
		return f.cause
	case errors.Is(err, unix.ECONNREFUSED):
		return Refused
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return Reset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Hangup
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &n) && n.Timeout():
		return Late
	}
	return Wrong
}
