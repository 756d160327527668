// Package handoff is what holder and worker say to each other: short messages
// over a socket pair that keeps their boundaries, with descriptors beside them
// (SCM_RIGHTS). It decides nothing.
//
// Send and Receive may each be used by several goroutines and beside each
// other; messages are not interleaved.
package handoff

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/internal/traffic"
)

// The descriptors that a worker is started with.
const (
	// FDLink is the worker's end of the link to the holder.
	FDLink = 3
	// FDState is the folder of the table; the worker reaches it by this
	// descriptor because it may not be able to by its path.
	FDState = 4
	// FDBinary is the program, for the same reason.
	FDBinary = 5
)

// Op says what a message asks or tells.
type Op string

// From the worker to the holder.
const (
	// Open asks for a listener; the answer has the same ID and, unless Same
	// or Error is set, its descriptor.
	Open Op = "open"
	// Close gives a listener up.
	Close Op = "close"
	// Sweep gives up all listeners that this worker has not opened.
	Sweep Op = "sweep"
	// Ready says that the worker serves its table.
	Ready Op = "ready"
	// Quiet answers Drain: the worker accepts nothing, writes no table and
	// answers no control call any more.
	Quiet Op = "quiet"
	// Lost says that the connection to the predecessor Worker broke; it is
	// answered by Gone, or by another Peer.
	Lost Op = "lost"
	// Alive is told every few seconds.
	Alive Op = "alive"
	// Sockets asks for Count TCP sockets, IPv6 ones with V6, that are not bound
	// and may take any address (IP_TRANSPARENT); the answer has the same ID and,
	// unless Error is set, their descriptors.
	Sockets Op = "sockets"
	// Upgrade asks for a new worker; it is answered with the same ID once that
	// one leads, or with an Error.
	Upgrade Op = "upgrade"
)

// From the holder to the worker.
const (
	// Answer answers Open, Sockets and Upgrade.
	Answer Op = "answer"
	// Peer brings a connection to another live worker, Worker. Older says that
	// the other one is the predecessor.
	Peer Op = "peer"
	// Gone says that the predecessor Worker has ended.
	Gone Op = "gone"
	// Drain makes a worker a predecessor.
	Drain Op = "drain"
	// End tells a predecessor to end what still runs, as cleanly as it can.
	End Op = "end"
	// Lead makes a worker the one that answers the control API; it brings that
	// one's listening socket.
	Lead Op = "lead"
)

// Message is one message.
type Message struct {
	Op  Op                  `json:"op"`
	ID  uint64              `json:"id,omitempty"`
	Key traffic.ListenerKey `json:"key,omitzero"`
	// Path is the network namespace's file, empty for the holder's own, and
	// Inode which namespace the sender's descriptor was opened in.
	Path  string `json:"path,omitempty"`
	Inode uint64 `json:"inode,omitempty"`
	// Same says that the sender's descriptor is still the right one.
	Same  bool   `json:"same,omitempty"`
	Error string `json:"error,omitempty"`
	// InUse says that another program holds the port, and Denied that the holder
	// lacks a right.
	InUse  bool `json:"inUse,omitempty"`
	Denied bool `json:"denied,omitempty"`
	// Worker is another worker's number.
	Worker int  `json:"worker,omitempty"`
	Older  bool `json:"older,omitempty"`
	// Count and V6 are of Sockets.
	Count int  `json:"count,omitempty"`
	V6    bool `json:"v6,omitempty"`
}

// Conn is one end of a link.
type Conn struct {
	c  *net.UnixConn
	wr sync.Mutex
	rd sync.Mutex
}

const (
	maxMessage = 4 << 10
	// MaxFiles is how many descriptors a message may bring.
	MaxFiles = 32
)

// Pair makes a link: one end to use, the other to give to a child.
func Pair() (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	child := os.NewFile(uintptr(fds[1]), "link")
	c, err := FromFile(os.NewFile(uintptr(fds[0]), "link"))
	if err != nil {
		return nil, nil, errors.Join(err, child.Close())
	}
	return c, child, nil
}

// Streams makes a connected pair of byte streams for two workers.
func Streams() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "peer"), os.NewFile(uintptr(fds[1]), "peer"), nil
}

// FromFile takes over a link's end.
func FromFile(f *os.File) (*Conn, error) {
	c, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("take over the link: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("take over the link: not a unix socket"), c.Close())
	}
	return &Conn{c: u}, nil
}

// sendLimit is how long the other side may take no message.
const sendLimit = 2 * time.Second

// Send sends a message and at most one descriptor, which stays the caller's.
// One who does not read for sendLimit is an [os.ErrDeadlineExceeded].
func (c *Conn) Send(m Message, fd syscall.Conn) error {
	if fd == nil {
		return c.SendAll(m, nil)
	}
	return c.sendAll(m, []syscall.Conn{fd})
}

// SendAll is Send with up to [MaxFiles] descriptors.
func (c *Conn) SendAll(m Message, files []*os.File) error {
	fds := make([]syscall.Conn, len(files))
	for i, f := range files {
		fds[i] = f
	}
	return c.sendAll(m, fds)
}

func (c *Conn) sendAll(m Message, fds []syscall.Conn) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %s: %w", m.Op, err)
	}
	c.wr.Lock()
	defer c.wr.Unlock()
	if err := c.c.SetWriteDeadline(time.Now().Add(sendLimit)); err != nil {
		return fmt.Errorf("send %s: %w", m.Op, err)
	}
	if err := writeRights(c.c, data, fds); err != nil {
		return fmt.Errorf("send %s: %w", m.Op, err)
	}
	return nil
}

// writeRights writes one message with its descriptors. It does not use
// [os.File.Fd], which would make the open socket blocking in every process
// that shares it.
func writeRights(c *net.UnixConn, data []byte, files []syscall.Conn) error {
	if len(files) == 0 {
		_, _, err := c.WriteMsgUnix(data, nil, nil)
		return err
	}
	fds := make([]int, len(files))
	for i, f := range files {
		raw, err := f.SyscallConn()
		if err == nil {
			err = raw.Control(func(n uintptr) { fds[i] = int(n) })
		}
		if err != nil {
			return err
		}
	}
	_, _, err := c.WriteMsgUnix(data, unix.UnixRights(fds...), nil)
	runtime.KeepAlive(files)
	return err
}

// Receive waits for the next message; its descriptors, if any, are the
// caller's. io.EOF says that the other side is gone.
func (c *Conn) Receive() (Message, []*os.File, error) {
	c.rd.Lock()
	defer c.rd.Unlock()
	buf, oob := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4*MaxFiles))
	n, oobn, _, _, err := c.c.ReadMsgUnix(buf, oob)
	if err != nil {
		return Message{}, nil, err
	}
	if n == 0 {
		return Message{}, nil, io.EOF
	}
	fds, err := parseRights(oob[:oobn])
	if err != nil {
		return Message{}, nil, err
	}
	var m Message
	if err := json.Unmarshal(buf[:n], &m); err != nil {
		return Message{}, fds, fmt.Errorf("decode message: %w", err)
	}
	return m, fds, nil
}

func parseRights(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) != 1 {
		return nil, fmt.Errorf("read descriptor: %w", err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return nil, fmt.Errorf("read descriptor: %w", err)
	}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		unix.CloseOnExec(fd)
		files[i] = os.NewFile(uintptr(fd), "handed")
	}
	return files, nil
}

// Close closes the link; a Receive under way returns.
func (c *Conn) Close() error { return c.c.Close() }

// Pause makes Receive, one under way too, return [os.ErrDeadlineExceeded] until
// Resume is called. No message is lost by it.
func (c *Conn) Pause() error { return c.c.SetReadDeadline(time.Unix(1, 0)) }

// Resume ends a Pause.
func (c *Conn) Resume() error { return c.c.SetReadDeadline(time.Time{}) }

// SyscallConn gives access to the descriptor.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return c.c.SyscallConn() }
