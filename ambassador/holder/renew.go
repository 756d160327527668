package holder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A holder whose program was replaced executes the new one in its own place:
// the process, its children and its descriptors stay, and what it knows goes
// over in a file in memory. Before that the new program runs once beside it,
// with the same arguments, and has to say that it understands that file. Its
// worker leads by then, so that a program which cannot run is not put here.

const (
	// stateVar names the descriptor of the state that a holder left to its
	// successor.
	stateVar = "REMORA_HOLDER_STATE"
	// checkVar is set where the state is to be read and nothing else done.
	checkVar = "REMORA_HOLDER_CHECK"
	// checking is how long that may take.
	checking = 5 * time.Second
)

// renew begins to replace the holder, if its program's file is not the one that
// it runs: first nobody may read links any more, so that no message is lost.
func (h *holder) renew() {
	if h.stop || h.renewing || !h.replaced() {
		return
	}
	h.renewing = true
	for _, w := range h.workers {
		if err := w.link.Pause(); err != nil {
			h.log.Error("pause link", "worker", w.number, "err", err)
		}
	}
}

// replaced says whether the program's file is another one than we run.
func (h *holder) replaced() bool {
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false
	}
	now, err := os.Stat(h.files.exe)
	return err == nil && !os.SameFile(own, now)
}

// renewIfParked executes the new program once nobody reads a link. When it
// cannot, the holder goes on as it is; when a worker died meanwhile, the lead
// of the next one begins anew.
func (h *holder) renewIfParked(signals <-chan os.Signal) {
	if !h.renewing {
		return
	}
	if h.stop || h.next != nil || h.restart != nil || !h.current.ready {
		h.unpark()
		return
	}
	for _, w := range h.workers {
		if !w.parked {
			return
		}
	}
	if err := h.execute(signals); err != nil {
		h.log.Error("replace the holder, it goes on as it is", "err", err)
	}
	h.unpark()
}

// unpark reads links again.
func (h *holder) unpark() {
	h.renewing = false
	for _, w := range h.workers {
		if err := w.link.Resume(); err != nil {
			h.log.Error("resume link", "worker", w.number, "err", err)
		}
		if w.parked {
			h.parked(w)
		}
	}
	if h.upgrades {
		h.upgrades = false
		h.upgrade(request{})
	}
}

// parked notes that nobody reads a worker's link, or reads it again when that
// is not wanted any more.
func (h *holder) parked(w *worker) {
	if w.parked = h.renewing; !w.parked {
		go h.follow(w)
	}
}

// execute returns only if it fails.
func (h *holder) execute(signals <-chan os.Signal) error {
	state, err := h.save()
	if err != nil {
		return err
	}
	defer state.Close() //nolint:errcheck // of no use any more
	if err := h.checkNew(state); err != nil {
		return err
	}
	if err := blockSignals(); err != nil {
		return fmt.Errorf("block signals: %w", err)
	}
	defer unblockSignals()
	if len(signals) > 0 {
		return errors.New("a signal has come: upgrade again")
	}
	kept := append(h.descriptors(), state)
	if err := closeOnExec(kept, false); err != nil {
		return errors.Join(err, closeOnExec(kept, true))
	}
	h.log.Info("execute the new program in place", "program", h.files.exe)
	env := append(environment(), stateVar+"="+strconv.Itoa(number(state)))
	err = syscall.Exec(h.files.exe, os.Args, env)
	return errors.Join(fmt.Errorf("execute %s: %w", h.files.exe, err), closeOnExec(kept, true))
}

// environment is ours without what was meant for this process only.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LISTEN_") && !strings.HasPrefix(v, stateVar+"=") {
			env = append(env, v)
		}
	}
	return env
}

// checkNew asks the new program whether it understands the state.
func (h *holder) checkNew(state *os.File) error {
	ctx, cancel := context.WithTimeout(context.Background(), checking)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.files.exe, os.Args[1:]...)
	cmd.ExtraFiles = []*os.File{state}
	cmd.Env = append(environment(), checkVar+"=1", stateVar+"=3", "NOTIFY_SOCKET=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the new program does not take over: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// closeOnExec sets or clears the flag of all.
func closeOnExec(files []syscall.Conn, on bool) error {
	flag := 0
	if on {
		flag = unix.FD_CLOEXEC
	}
	for _, f := range files {
		if _, err := unix.FcntlInt(uintptr(number(f)), unix.F_SETFD, flag); err != nil {
			return fmt.Errorf("hand descriptors on: %w", err)
		}
	}
	return nil
}
