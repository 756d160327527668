package holder

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/ambassador/handoff"
)

var errNoRight = errors.New("the ambassador's holder has no CAP_NET_ADMIN")

// sockets answers a worker with TCP sockets that may take the address of a
// client. Only the right to make them is asked for here; the option stays.
func (h *holder) sockets(w *worker, m handoff.Message) {
	answer := handoff.Message{Op: handoff.Answer, ID: m.ID}
	files, err := transparentSockets(min(max(m.Count, 1), handoff.MaxFiles), m.V6)
	if err != nil {
		answer.Error, answer.Denied = err.Error(), errors.Is(err, errNoRight)
	}
	h.sent(w, answer.Op, w.link.SendAll(answer, files))
	for _, f := range files {
		_ = f.Close()
	}
}

func transparentSockets(n int, v6 bool) (files []*os.File, err error) {
	for range n {
		f, err := transparentSocket(v6)
		if err != nil {
			for _, f := range files {
				_ = f.Close()
			}
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func transparentSocket(v6 bool) (*os.File, error) {
	family, level, option := unix.AF_INET, unix.SOL_IP, unix.IP_TRANSPARENT
	if v6 {
		family, level, option = unix.AF_INET6, unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	err = unix.SetsockoptInt(fd, level, option, 1)
	switch {
	case errors.Is(err, unix.EPERM):
		err = errNoRight
	case err != nil:
		err = fmt.Errorf("make socket transparent: %w", err)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "transparent"), nil
}
