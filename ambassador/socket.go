package ambassador

import (
	"encoding/binary"
	"errors"
	"io"
	"unsafe"

	"golang.org/x/sys/unix"
)

// These calls never wait, so the scheduler need not know of them. What is sent
// raises no SIGPIPE.

// errAgain says that there is nothing to read now.
var errAgain = errors.New("nothing to read yet")

// recv reads what is there: io.EOF at the end, errAgain where nothing is.
func recv(fd uintptr, p []byte) (int, error) {
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
		if e == unix.EINTR {
			continue
		}
		return received(int(n), e, len(p))
	}
}

// peek is recv of one byte, which stays.
func peek(fd uintptr) error {
	var b [1]byte
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b)), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
		if e != unix.EINTR {
			_, err := received(int(n), e, 1)
			return err
		}
	}
}

func received(n int, e unix.Errno, asked int) (int, error) {
	switch {
	case e == unix.EAGAIN:
		return 0, errAgain
	case e != 0:
		return 0, e
	case n == 0 && asked > 0:
		return 0, io.EOF
	}
	return n, nil
}

// send writes what fits, and returns no error where nothing does.
func send(fd uintptr, p []byte) (int, error) {
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return 0, nil
		}
		return 0, e
	}
}

// tellsRest makes recvRest of a socket tell what is left, and says whether the
// kernel can (Linux 4.18).
func tellsRest(fd uintptr) bool {
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_INQ, 1) == nil
}

// restMessage is the control message that tells what is left to read.
type restMessage struct {
	unix.Cmsghdr
	rest [8]byte // an int32, padded
}

// recvRest is recv that also says whether nothing is left to read, an end
// included: the kernel counts a FIN as one byte (tcp_inq_hint). Then whatever
// comes later is a new edge for the poller.
func recvRest(fd uintptr, p []byte) (n int, drained bool, err error) {
	var c restMessage
	v := unix.Iovec{Base: unsafe.SliceData(p), Len: uint64(len(p))}
	m := unix.Msghdr{Iov: &v, Iovlen: 1, Control: (*byte)(unsafe.Pointer(&c)), Controllen: uint64(unsafe.Sizeof(c))}
	for {
		r, _, e := unix.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&m)), unix.MSG_DONTWAIT)
		if e == unix.EINTR {
			continue
		}
		n, err = received(int(r), e, len(p))
		told := err == nil && c.Level == unix.IPPROTO_TCP && c.Type == unix.TCP_CM_INQ
		return n, told && binary.NativeEndian.Uint32(c.rest[:]) == 0, err
	}
}
