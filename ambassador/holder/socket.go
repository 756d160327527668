package holder

import (
	"errors"
	"net"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket is a listening socket that is only held. Were it an [os.File], the
// runtime would wait at it, and each connection that a worker accepts would
// wake the holder too.
type socket struct{ fd int }

// takenSocket is an inherited one, from now on closed at an exec.
func takenSocket(fd int) *socket {
	unix.CloseOnExec(fd)
	return &socket{fd}
}

// socketOf is a listener's socket; the listener is closed.
func socketOf(l *net.TCPListener) (*socket, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s := new(socket)
	cerr := raw.Control(func(fd uintptr) { s.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(cerr, os.NewSyscallError("dup", err), l.Close()); err != nil {
		return nil, err
	}
	return s, nil
}

// Close closes the descriptor.
func (s *socket) Close() error {
	if err := unix.Close(s.fd); err != nil {
		return os.NewSyscallError("close descriptor "+strconv.Itoa(s.fd), err)
	}
	return nil
}

// SyscallConn implements [syscall.Conn].
func (s *socket) SyscallConn() (syscall.RawConn, error) { return rawSocket{s.fd}, nil }

// rawSocket gives the descriptor's number. It waits for nothing.
type rawSocket struct{ fd int }

func (r rawSocket) Control(f func(fd uintptr)) error {
	f(uintptr(r.fd))
	return nil
}

func (rawSocket) Read(func(fd uintptr) bool) error  { return errors.ErrUnsupported }
func (rawSocket) Write(func(fd uintptr) bool) error { return errors.ErrUnsupported }
