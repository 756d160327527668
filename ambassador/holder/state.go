package holder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/ambassador/handoff"
	"github.com/remorahq/remora/internal/traffic"
)

// stateVersion is the form of a [savedState]. A program that does not know it
// refuses, and the old holder stays.
const stateVersion = 1

// savedState is what a holder leaves to the program that takes its place.
// Descriptors are numbers, open in that process.
type savedState struct {
	Version              int
	Lock, State, Control int
	Listeners            []savedListener
	Workers              []savedWorker
	Current, Numbers     int
	Asked                []savedRequest
	Kept                 map[string]int
}

type savedListener struct {
	Key   traffic.ListenerKey
	Inode uint64
	Owner int
	File  int
}

type savedWorker struct {
	Number, PID, Link int
	Started           time.Time
	Draining, Ending  time.Time
	Ready             bool
}

type savedRequest struct {
	Worker int
	ID     uint64
}

// inheritance is what a program finds at its start.
type inheritance struct {
	state *savedState
	check bool
}

// inherited reads the state that a former holder left.
func inherited() (inheritance, error) {
	name := os.Getenv(stateVar)
	if name == "" {
		return inheritance{}, nil
	}
	fd, err := strconv.Atoi(name)
	if err != nil {
		return inheritance{}, fmt.Errorf("%s is not a descriptor: %w", stateVar, err)
	}
	f := os.NewFile(uintptr(fd), "state")
	if f == nil {
		return inheritance{}, fmt.Errorf("descriptor %d of %s is none", fd, stateVar)
	}
	defer f.Close() //nolint:errcheck // read to its end
	s, err := readState(f)
	return inheritance{state: s, check: os.Getenv(checkVar) != ""}, errors.Join(err, os.Unsetenv(stateVar))
}

func readState(r io.ReaderAt) (*savedState, error) {
	s := new(savedState)
	if err := json.NewDecoder(io.NewSectionReader(r, 0, 1<<30)).Decode(s); err != nil {
		return nil, fmt.Errorf("read the former holder's state: %w", err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("the former holder's state has version %d, this program knows %d: restart the ambassador", s.Version, stateVersion)
	}
	return s, nil
}

// descriptors are all that the next program needs.
func (h *holder) descriptors() []syscall.Conn {
	list := []syscall.Conn{h.files.lock, h.files.state, h.files.control}
	for _, l := range h.listeners {
		list = append(list, l.file)
	}
	for _, w := range h.workers {
		list = append(list, w.link)
	}
	for _, f := range h.sd.kept {
		list = append(list, f)
	}
	return list
}

// save writes what the holder knows into a file in memory.
func (h *holder) save() (*os.File, error) {
	s := savedState{
		Version: stateVersion, Current: h.current.number, Numbers: h.numbers, Kept: make(map[string]int),
		Lock: number(h.files.lock), State: number(h.files.state), Control: number(h.files.control),
	}
	for key, l := range h.listeners {
		s.Listeners = append(s.Listeners, savedListener{key, l.inode, l.owner, number(l.file)})
	}
	for _, w := range h.workers {
		s.Workers = append(s.Workers, savedWorker{
			Number: w.number, PID: w.process.Pid, Link: number(w.link),
			Started: w.started, Draining: w.draining, Ending: w.ending, Ready: w.ready,
		})
	}
	for _, r := range h.asked {
		s.Asked = append(s.Asked, savedRequest{r.w.number, r.id})
	}
	for name, f := range h.sd.kept {
		s.Kept[name] = number(f)
	}
	fd, err := unix.MemfdCreate("holder", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "holder")
	if err := json.NewEncoder(f).Encode(s); err != nil {
		return nil, errors.Join(fmt.Errorf("save the holder's state: %w", err), f.Close())
	}
	return f, nil
}

// number is a descriptor's number. It does not use [os.File.Fd], which makes
// sockets blocking.
func number(f syscall.Conn) int {
	n := -1
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { n = int(fd) })
	}
	return n
}

// taken is an inherited descriptor, from now on closed at an exec.
func taken(fd int, name string) *os.File {
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}

// resume goes on where a former holder stopped.
func (h *holder) resume(s *savedState) error {
	for _, l := range s.Listeners {
		h.listeners[l.Key] = &held{file: takenSocket(l.File), inode: l.Inode, owner: l.Owner}
	}
	for name, fd := range s.Kept {
		h.sd.kept[name] = takenSocket(fd)
	}
	h.numbers = s.Numbers
	for _, sw := range s.Workers {
		w, err := adopt(sw)
		if err != nil {
			return err
		}
		h.workers[w.number] = w
	}
	if h.current = h.workers[s.Current]; h.current == nil {
		return fmt.Errorf("the former holder's state has no worker %d", s.Current)
	}
	for _, w := range h.workers {
		go h.follow(w)
	}
	for _, r := range s.Asked {
		if w := h.workers[r.Worker]; w != nil {
			h.asked = append(h.asked, request{w, r.ID})
		}
	}
	h.log.Info("the holder is the new program", "workers", len(h.workers), "listeners", len(h.listeners))
	if len(h.asked) > 0 {
		h.upgrade(request{})
	}
	return nil
}

func adopt(s savedWorker) (*worker, error) {
	p, err := os.FindProcess(s.PID)
	if err != nil {
		return nil, fmt.Errorf("find worker %d: %w", s.Number, err)
	}
	link, err := handoff.FromFile(taken(s.Link, "link"))
	if err != nil {
		return nil, err
	}
	return &worker{
		number: s.Number, process: p, link: link, started: s.Started, heard: time.Now(),
		draining: s.Draining, ending: s.Ending, ready: s.Ready,
	}, nil
}
