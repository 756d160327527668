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
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/ambassador/handoff"
	"github.com/remorahq/remora/internal/traffic"
)

// maxListeners bounds what a worker may have opened: its word is not trusted,
// and descriptors are everybody's.
const maxListeners = 10_000

// held is an open listener.
type held struct {
	file  *os.File
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
	l.owner, answer.Inode = w.number, l.inode
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
func listen(key traffic.ListenerKey, path string) (*os.File, error) {
	if path == "" {
		return listenHere(key)
	}
	var file *os.File
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

func listenHere(key traffic.ListenerKey) (*os.File, error) {
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
	f, err := t.File()
	return f, errors.Join(err, t.Close())
}

// files are what the holder opens once and gives to every worker.
type files struct {
	exe            string
	state, control *os.File
	lock           *os.File
	credential     *syscall.Credential
}

// openFiles opens them, or takes over those of a former holder.
func openFiles(cfg Config, former *savedState) (f *files, err error) {
	f = &files{}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if f.exe, err = os.Executable(); err != nil {
		return f, fmt.Errorf("find own program: %w", err)
	}
	if f.credential, err = credential(cfg.User); err != nil {
		return f, err
	}
	if former != nil {
		f.lock, f.state, f.control = taken(former.Lock, "lock"), taken(former.State, "state"), taken(former.Control, "control")
		return f, nil
	}
	if err = os.MkdirAll(cfg.RunDir, 0o755); err != nil {
		return f, fmt.Errorf("make run folder: %w", err)
	}
	if f.lock, err = lock(filepath.Join(cfg.RunDir, "ambassador.lock")); err != nil {
		return f, err
	}
	if f.state, err = openState(cfg.StateDir, f.credential); err != nil {
		return f, err
	}
	f.control, err = listenControl(filepath.Join(cfg.RunDir, "ambassador.sock"))
	return f, err
}

func (f *files) close() {
	for _, file := range []*os.File{f.state, f.control, f.lock} {
		_ = file.Close()
	}
}

// lock keeps a second holder away.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another ambassador runs with %s: %w", filepath.Dir(path), err), f.Close())
	}
	return f, nil
}

// openState opens the folder of the table and makes it, and the table, the
// worker's.
func openState(dir string, who *syscall.Credential) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	if who != nil {
		names, err := filepath.Glob(filepath.Join(dir, "table.json*"))
		for _, name := range append(names, dir) {
			err = errors.Join(err, giveTo(who, name))
		}
		if err != nil {
			return nil, fmt.Errorf("give the state folder to uid %d: %w", who.Uid, err)
		}
	}
	return os.Open(dir)
}

// giveTo makes a folder or a plain file the worker's. What has a second name is
// left alone: a worker may have made this one of a file that is not its own.
func giveTo(who *syscall.Credential, name string) error {
	at, err := unix.Open(name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(at) //nolint:errcheck // opened for its path
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return err
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && (kind != unix.S_IFREG || st.Nlink != 1) {
		return nil
	}
	return unix.Fchownat(at, "", int(who.Uid), int(who.Gid), unix.AT_EMPTY_PATH)
}

func listenControl(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove stale control socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	f, err := l.File()
	return f, errors.Join(err, os.Chmod(path, 0o600), l.Close())
}
