package rig

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// slots is how many engines can run on a machine at the same time.
const slots = 250

// A slot is the place of one engine on this machine: a folder, a network
// namespace, a /30 network of its own (of 198.18.0.0/15, which RFC 2544 sets
// aside for tests) and a cgroup, all named after its number. The holder locks a file;
// a slot whose lock is free may hold the remains of a killed test, which
// are swept when it is claimed.
type slot struct {
	n    int
	lock *os.File
}

// slotBase does not follow TMPDIR: namespaces and addresses are the machine's,
// so their locks must be too. It must be on a disk that overlayfs can use.
func slotBase() string { return "/var/tmp/remora-rig" }

func (s *slot) dir() string          { return filepath.Join(slotBase(), strconv.Itoa(s.n)) }
func (s *slot) namespace() string    { return fmt.Sprintf("remora-rig-%d", s.n) }
func (s *slot) netnsPath() string    { return "/run/netns/" + s.namespace() }
func (s *slot) link() string         { return fmt.Sprintf("rrig%d", s.n) }
func (s *slot) cgroup() string       { return "/" + s.namespace() }
func (s *slot) hostAddr() string     { return fmt.Sprintf("198.18.%d.1", s.n) }
func (s *slot) engineAddr() string   { return fmt.Sprintf("198.18.%d.2", s.n) }
func (s *slot) path(p string) string { return filepath.Join(s.dir(), p) }

// claimSlot takes the first free slot, after sweeping all that are free.
func claimSlot() (*slot, error) {
	if err := Sweep(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(slotBase(), 0o755); err != nil {
		return nil, fmt.Errorf("make folder of the rig: %w", err)
	}
	for n := range slots {
		s, err := lockSlot(n)
		if err != nil || s != nil {
			return s, err
		}
	}
	return nil, fmt.Errorf("all %d places for engines are taken: see %s", slots, slotBase())
}

// lockSlot is the slot, swept, or nil when somebody holds it.
func lockSlot(n int) (*slot, error) {
	lock, err := os.OpenFile(filepath.Join(slotBase(), fmt.Sprintf("%d.lock", n)), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of slot: %w", err)
	}
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil, lock.Close()
	}
	s := &slot{n: n, lock: lock}
	if err := s.sweep(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// Sweep removes the engines, with everything of theirs, of tests that were
// killed; those of tests that run are left alone. Starting an engine does it too.
func Sweep() error {
	locks, err := filepath.Glob(filepath.Join(slotBase(), "*.lock"))
	if err != nil {
		return fmt.Errorf("list slots: %w", err)
	}
	for _, path := range locks {
		n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(path), ".lock"))
		if err != nil {
			continue // not ours
		}
		s, err := lockSlot(n)
		if err != nil {
			return err
		}
		if s == nil {
			continue // its test runs
		}
		if err := s.lock.Close(); err != nil {
			return fmt.Errorf("unlock slot: %w", err)
		}
	}
	return nil
}

// release sweeps the slot and gives it back.
func (s *slot) release() error {
	return errors.Join(s.sweep(), s.lock.Close())
}

// sweep removes whatever runs, is mounted or lies in the slot.
func (s *slot) sweep() error {
	return errors.Join(s.killAll(), s.unmountAll(), s.removeNetwork(), s.removeCgroups(), os.RemoveAll(s.dir()))
}

// killAll ends every process of the slot: those in its cgroups (containers,
// thawed first: a frozen process does not die) and those whose command line
// names its folder (containerd and its shims, dockerd).
func (s *slot) killAll() error {
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		pids := append(s.namedProcesses(), s.cgroupProcesses()...)
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v of %s do not die", pids, s.namespace())
		}
		s.thaw()
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // gone meanwhile is what we want
		}
		<-tick.C
	}
}

func (s *slot) namedProcesses() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.Contains(string(line), s.dir()+"/") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// cgroupFolders are the slot's cgroups, deepest first, of every hierarchy.
func (s *slot) cgroupFolders() []string {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*" + s.cgroup()) // version 1; version 2 is below
	roots = append(roots, "/sys/fs/cgroup"+s.cgroup())
	var folders []string
	for _, root := range roots {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				folders = append(folders, path)
			}
			return nil
		})
	}
	slices.Reverse(folders)
	return folders
}

func (s *slot) cgroupProcesses() []int {
	var pids []int
	for _, folder := range s.cgroupFolders() {
		content, err := os.ReadFile(filepath.Join(folder, "cgroup.procs"))
		if err != nil {
			continue
		}
		for field := range strings.FieldsSeq(string(content)) {
			if pid, err := strconv.Atoi(field); err == nil && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func (s *slot) thaw() {
	for _, folder := range s.cgroupFolders() {
		_ = os.WriteFile(filepath.Join(folder, "freezer.state"), []byte("THAWED"), 0)
		_ = os.WriteFile(filepath.Join(folder, "cgroup.freeze"), []byte("0"), 0)
	}
}

func (s *slot) removeCgroups() error {
	var errs []error
	for _, folder := range s.cgroupFolders() {
		if err := os.Remove(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove cgroup: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (s *slot) unmountAll() error {
	mounts, err := s.mounts()
	if err != nil {
		return err
	}
	slices.Reverse(mounts)
	for _, m := range mounts {
		if err := syscall.Unmount(m, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) {
			return fmt.Errorf("unmount %s: %w", m, err)
		}
	}
	return nil
}

func (s *slot) mounts() ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	var found []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 4 && strings.HasPrefix(fields[4], s.dir()+"/") {
			found = append(found, fields[4])
		}
	}
	return found, lines.Err()
}

// addNetwork makes the namespace and the veth pair that joins it to the
// machine's; the default route of the namespace leads here.
func (s *slot) addNetwork() error {
	batch := fmt.Sprintf(`link add %[1]s type veth peer name host0 netns %[2]s
addr add %[3]s/30 dev %[1]s
link set %[1]s up
`, s.link(), s.namespace(), s.hostAddr())
	inside := fmt.Sprintf(`link set lo up
addr add %s/30 dev host0
link set host0 up
route add default via %s
`, s.engineAddr(), s.hostAddr())
	if err := ip("", "netns", "add", s.namespace()); err != nil {
		return err
	}
	if err := ip(batch, "-batch", "-"); err != nil {
		return err
	}
	return ip(inside, "-n", s.namespace(), "-batch", "-")
}

// removeNetwork removes the namespace; its end of the veth pair, and with it
// ours, goes too, but only some time after the last process has left: so the
// link is removed by name.
func (s *slot) removeNetwork() error {
	if _, err := os.Stat("/sys/class/net/" + s.link()); err == nil {
		if err := ip("", "link", "del", s.link()); err != nil {
			return err
		}
	}
	if _, err := os.Stat(s.netnsPath()); err == nil {
		return ip("", "netns", "del", s.namespace())
	}
	return nil
}

func ip(stdin string, args ...string) error {
	cmd := exec.Command("ip", args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
