package holder

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/remorahq/remora/ambassador/handoff"
)

// worker is a child and what the holder knows of it.
type worker struct {
	number   int
	process  *os.Process
	link     *handoff.Conn
	started  time.Time
	heard    time.Time
	ready    bool
	draining time.Time // since when it is a predecessor, zero while it is none
	ending   time.Time // when it was told to end what still runs
	parked   bool      // nobody reads its link
	lostBy   *worker   // its successor, which lost the connection to it
}

// start starts a worker from the program's file as it is now. The file is
// executed by its descriptor: the worker's user may not reach its path.
func (h *holder) start() (*worker, error) {
	binary, err := os.Open(h.files.exe)
	if err != nil {
		return nil, fmt.Errorf("open the worker's program: %w", err)
	}
	defer binary.Close() //nolint:errcheck // opened for reading
	link, child, err := handoff.Pair()
	if err != nil {
		return nil, err
	}
	defer child.Close() //nolint:errcheck // the child has its own
	cmd := exec.Command("/proc/self/fd/" + strconv.Itoa(handoff.FDBinary))
	cmd.Args = append([]string{"remora-ambassador"}, h.cfg.Args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{child, h.files.state, binary}
	cmd.Env = append(workersEnvironment(os.Environ()), extendedConnect(os.Getenv("GODEBUG")))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: h.files.credential}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start worker: %w", err), link.Close())
	}
	h.numbers++
	now := time.Now()
	w := &worker{number: h.numbers, process: cmd.Process, link: link, started: now, heard: now}
	h.workers[w.number] = w
	go h.follow(w)
	return w, nil
}

// workersEnvironment is what a worker gets of ours: the settings of Go's runtime
// and the time zone. What else there is may be secret, and strangers speak to
// workers.
func workersEnvironment(ours []string) []string {
	return slices.DeleteFunc(slices.Clone(ours), func(v string) bool {
		return !strings.HasPrefix(v, "GO") && !strings.HasPrefix(v, "TZ=")
	})
}

// extendedConnect lets workers take WebSockets over HTTP/2 (RFC 8441): x/net
// reads that from the environment alone, when it is initialised.
func extendedConnect(godebug string) string {
	if godebug != "" {
		godebug += ","
	}
	return "GODEBUG=" + godebug + "http2xconnect=1"
}

// follow turns what a worker says into events. It ends with the worker's exit,
// or when its link is paused.
func (h *holder) follow(w *worker) {
	for {
		m, fds, err := w.link.Receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			h.events <- event{w: w, parked: true}
			return
		}
		if err != nil {
			break
		}
		for _, fd := range fds { // none was asked for
			_ = fd.Close()
		}
		h.events <- event{w: w, m: m}
	}
	h.events <- event{w: w, err: exit(w.process), gone: true}
}

// exit waits for a child's end and says how it was.
func exit(p *os.Process) error {
	state, err := p.Wait()
	if err != nil {
		return fmt.Errorf("wait for worker: %w", err)
	}
	return errors.New(state.String())
}

// credential resolves "name", "uid" or "uid:gid".
func credential(who string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 || who == "" || who == "root" || who == "0" {
		return nil, nil
	}
	uid, gid, ok := strings.Cut(who, ":")
	if !ok {
		gid = uid
	}
	if u, err := user.Lookup(who); err == nil {
		uid, gid = u.Uid, u.Gid
	} else if u, err := user.LookupId(uid); err == nil && !ok {
		gid = u.Gid
	}
	nu, err1 := strconv.ParseUint(uid, 10, 32)
	ng, err2 := strconv.ParseUint(gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("unknown user %q: give an existing name, or uid or uid:gid", who)
	}
	return &syscall.Credential{Uid: uint32(nu), Gid: uint32(ng)}, nil
}
