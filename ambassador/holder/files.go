package holder

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

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
	if f.exe, err = program(); err != nil {
		return f, err
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

// program is the path of our own program, as it was called: an upgrade may lead
// a link elsewhere.
func program() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own program: %w", err)
	}
	called, err := exec.LookPath(os.Args[0])
	if err != nil {
		return exe, nil
	}
	if called, err = filepath.Abs(called); err != nil {
		return exe, nil
	}
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return exe, nil
	}
	if there, err := os.Stat(called); err != nil || !os.SameFile(own, there) {
		return exe, nil
	}
	return called, nil
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

// openState opens the folder of the state and makes it, and what workers wrote
// there, the worker's: the table, the certificates, the keys of session tickets
// and the access log. They may have run as another user.
func openState(dir string, who *syscall.Credential) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	if who != nil {
		err := giveTo(who, dir)
		for _, pattern := range [...]string{"*.json*", "access.log*"} {
			names, gerr := filepath.Glob(filepath.Join(dir, pattern))
			err = errors.Join(err, gerr)
			for _, name := range names {
				err = errors.Join(err, giveTo(who, name))
			}
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
