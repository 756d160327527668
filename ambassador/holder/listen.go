package holder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/ambassador/handoff"
	"github.com/remorahq/remora/internal/traffic"
)

// maxListeners bounds what a worker may have opened: its word is not trusted,
// and descriptors are everybody's.
const maxListeners = 10_000

// held is an open listener.
type held struct {
	file  *socket
	inode uint64 // of its network namespace, 0 for our own
	owner int    // the worker that last asked for it
}

// open answers a worker with a listener, opened now unless it is held already.
func (h *holder) open(w *worker, m handoff.Message) {
	answer := handoff.Message{Op: handoff.Answer, ID: m.ID, Key: m.Key}
	l, err := h.listener(m)
	if err != nil {
		answer.Error, answer.InUse = err.Error(), errors.Is(err, unix.EADDRINUSE)
		h.send(w, answer, nil)
		return
	}
	// A predecessor that still asks takes nothing from its successor.
	l.owner, answer.Inode = max(l.owner, w.number), l.inode
	if m.Same && m.Inode == l.inode {
		answer.Same = true
		h.send(w, answer, nil)
		return
	}
	h.send(w, answer, l.file)
}

func (h *holder) listener(m handoff.Message) (*held, error) {
	var inode uint64
	if m.Path != "" {
		if err := h.allowed(m.Path); err != nil {
			return nil, err
		}
		var st unix.Stat_t
		if err := unix.Stat(m.Path, &st); err != nil {
			return nil, fmt.Errorf("network namespace %s: %w", m.Path, err)
		}
		inode = st.Ino
	}
	if l := h.listeners[m.Key]; l != nil && l.inode == inode {
		return l, nil
	}
	h.forget(m.Key)
	if len(h.listeners) >= maxListeners {
		return nil, fmt.Errorf("%d listeners are open, no more are allowed", maxListeners)
	}
	file := h.sd.stored(m.Key, inode)
	if file == nil {
		var err error
		if file, err = listen(m.Key, m.Path); err != nil {
			return nil, err
		}
		h.sd.store(m.Key, inode, file)
	}
	l := &held{file: file, inode: inode}
	h.listeners[m.Key] = l
	return l, nil
}

// allowed refuses a namespace's file outside the folder where the agent makes
// them: the host's own and other programs' namespaces are not a worker's.
func (h *holder) allowed(path string) error {
	if dir := filepath.Join(h.cfg.RunDir, "netns"); filepath.Dir(path) != dir || filepath.Clean(path) != path {
		return fmt.Errorf("network namespace %s is not in %s", path, dir)
	}
	return nil
}

// forget closes a listener.
func (h *holder) forget(key traffic.ListenerKey) {
	l := h.listeners[key]
	if l == nil {
		return
	}
	delete(h.listeners, key)
	h.sd.remove(key, l.inode)
	if err := l.file.Close(); err != nil {
		h.log.Error("close listener", "port", key.Port, "err", err)
	}
}

// sweep closes what the worker has not asked for.
func (h *holder) sweep(w *worker) {
	for key, l := range h.listeners {
		if l.owner < w.number {
			h.forget(key)
		}
	}
	h.sd.sweep()
}

// listen opens a listener, in a network namespace when a path is given.
func listen(key traffic.ListenerKey, path string) (*socket, error) {
	if path == "" {
		return listenHere(key)
	}
	var file *socket
	done := make(chan error)
	go func() {
		// Never unlocked: the thread, which stays in the namespace, ends with
		// the goroutine.
		runtime.LockOSThread()
		err := enter(path)
		if err == nil {
			file, err = listenHere(key)
		}
		done <- err
	}()
	return file, <-done
}

// enter moves the thread into a network namespace. The path is a worker's word:
// nothing else is opened, since a pipe or a device may block or act on it.
func enter(path string) error {
	at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer unix.Close(at) //nolint:errcheck // opened for its path
	var st unix.Statfs_t
	if err := unix.Fstatfs(at, &st); err != nil || st.Type != unix.NSFS_MAGIC {
		return errors.Join(fmt.Errorf("%s is no network namespace", path), err)
	}
	ns, err := os.Open("/proc/self/fd/" + strconv.Itoa(at))
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer ns.Close() //nolint:errcheck // opened for reading
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s (needs CAP_SYS_ADMIN): %w", path, err)
	}
	return nil
}

func listenHere(key traffic.ListenerKey) (*socket, error) {
	host := ""
	if key.Address.IsValid() {
		host = key.Address.String()
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", net.JoinHostPort(host, strconv.Itoa(int(key.Port))))
	if err != nil {
		return nil, err
	}
	t, ok := l.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(errors.New("listen: not a TCP listener"), l.Close())
	}
	return socketOf(t)
}
