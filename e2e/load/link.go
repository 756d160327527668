package load

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// link is one connection of a client.
type link interface {
	// open does what comes before the first message, and returns the release's
	// version where the server says it.
	open(session string) (version string, err error)
	// exchange sends one message or request and takes its whole answer.
	exchange(id string) (reply, error)
	// over says that the server has ended the connection between two messages,
	// and how.
	over() (bool, error)
	deadline(at time.Time) error
	close(politely bool)
}

// reply is what an answer says beside its text.
type reply struct {
	version string // of the release, where the answer says so
	closing bool   // the server ends the connection after it
	// first is how long the first part of an answer took that goes on by its
	// nature; 0 counts the whole.
	first time.Duration
}

// errClosedCleanly is a tunnel's server that said goodbye: a close frame, or
// the end of the stream between two lines.
var errClosedCleanly = errors.New("closed cleanly")

func newLink(g Group, conn net.Conn) link {
	w := wire{Group: g, conn: conn, in: bufio.NewReader(conn)}
	switch g.Kind {
	case WebSocket:
		return &webSocket{wire: w}
	case TCP, Greeted:
		return &lines{w}
	case GRPC:
		return newCalls(w)
	case Events:
		return &events{w}
	default:
		return &http1{wire: w}
	}
}

// wire is what links share.
type wire struct {
	Group
	conn net.Conn
	in   *bufio.Reader
}

func (w *wire) deadline(at time.Time) error { return w.conn.SetDeadline(at) }

// pending is what has come in since the last message: something, the end, or
// an error; 0 and nil is nothing.
func (w *wire) pending() (n int, err error) {
	if n := w.in.Buffered(); n > 0 {
		return n, nil
	}
	raw, err := w.conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var perr error
	var b [1]byte
	err = raw.Read(func(fd uintptr) bool {
		n, _, perr = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return true
	})
	switch {
	case err != nil:
		return 0, err
	case errors.Is(perr, unix.EAGAIN):
		return 0, nil
	case perr == nil && n == 0:
		return 0, io.EOF
	}
	return n, perr
}

// over is that of connections on which only asked-for bytes come.
func (w *wire) over() (bool, error) {
	n, err := w.pending()
	switch {
	case err != nil:
		return true, fmt.Errorf("ended while idle: %w", err)
	case n > 0:
		return true, failf(Wrong, "bytes that nobody asked for")
	}
	return false, nil
}

func (w *wire) close(bool) { _ = w.conn.Close() } // nothing is expected any more

// lines is an echo by lines.
type lines struct{ wire }

func (l *lines) open(string) (string, error) {
	if l.Kind != Greeted {
		return "", nil
	}
	line, err := l.line()
	if err != nil {
		return "", fmt.Errorf("greeting: %w", err)
	}
	f := strings.Fields(line)
	if len(f) != 3 || f[0] != "hello" {
		return "", failf(Wrong, "greeting: %q", line)
	}
	return f[1], nil
}

func (l *lines) over() (bool, error) {
	n, err := l.pending()
	switch {
	case errors.Is(err, io.EOF):
		return true, &failure{Farewell, errClosedCleanly}
	case n > 0:
		return true, failf(Wrong, "a line that nobody sent")
	}
	return err != nil, err
}

func (l *lines) exchange(id string) (reply, error) {
	sent := "id " + id
	if _, err := io.WriteString(l.conn, sent+"\n"); err != nil {
		return reply{}, fmt.Errorf("write: %w", err)
	}
	got, err := l.line()
	if err == nil && got != sent {
		err = failf(Wrong, "echo of %q is %q", sent, got)
	}
	return reply{}, err
}

// line reads one line. The end of the stream is clean between two of them.
func (l *lines) line() (string, error) {
	text, err := l.in.ReadString('\n')
	switch {
	case errors.Is(err, io.EOF) && text == "":
		return "", &failure{Farewell, errClosedCleanly}
	case err != nil && text != "":
		return "", failf(Truncated, "read after %q: %w", text, err)
	case err != nil:
		return "", fmt.Errorf("read after %q: %w", text, err)
	}
	return strings.TrimSuffix(text, "\n"), nil
}
