package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// ensure makes sure that an ambassador answers: it starts one where the host
// file says `spawn`, and otherwise waits for the one of the service manager,
// which may come later.
func (a *ambassador) ensure(ctx context.Context, progress io.Writer) error {
	if a.answers(ctx, 500*time.Millisecond) {
		return nil
	}
	if !a.spawns() {
		a.log.Warn("no ambassador answers yet", "socket", a.socket(), "remedy", "start remora-ambassador.service, or set `ambassador: {mode: spawn}`")
		return nil
	}
	if progress != nil {
		_, _ = fmt.Fprintln(progress, "starting the ambassador")
	}
	logFile, err := a.spawn()
	if err != nil {
		return fmt.Errorf("start the ambassador: %w", err)
	}
	if !a.answers(ctx, 10*time.Second) {
		return fmt.Errorf("start the ambassador: it does not answer; see %s", logFile)
	}
	return nil
}

// How often an ambassador of the agent's own is looked at, and the longest
// pause between starts.
const (
	lookEvery      = time.Second
	longestRespawn = time.Minute
)

// keep starts the ambassador again when its process has ended, until ctx ends;
// not where a service manager does that. Its holder keeps a second one away, so
// that one which only is slow loses nothing.
func (a *ambassador) keep(ctx context.Context) {
	if !a.spawns() {
		return
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	pause, next := lookEvery, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		a.reap()
		if a.listens(ctx) {
			pause = lookEvery
			continue
		}
		if ctx.Err() != nil || time.Now().Before(next) {
			continue
		}
		logFile, err := a.spawn()
		if err != nil {
			a.log.Error("the ambassador does not answer, and cannot be started", "err", err)
		} else {
			a.log.Warn("the ambassador did not answer and was started again", "log", logFile)
		}
		next, pause = time.Now().Add(pause), min(longestRespawn, 2*pause)
	}
}

// reap takes the end of an ambassador that this process started, so that no
// zombie of it stays.
func (a *ambassador) reap() {
	a.children = slices.DeleteFunc(a.children, func(p *os.Process) bool {
		pid, err := syscall.Wait4(p.Pid, nil, syscall.WNOHANG, nil)
		if pid != p.Pid && !errors.Is(err, syscall.ECHILD) {
			return false
		}
		_ = p.Release() // it has ended: nothing is left to release but memory
		return true
	})
}

// listens says whether a holder has the control socket open.
func (a *ambassador) listens(ctx context.Context) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", a.socket())
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was sent
	return true
}

// spawns says whether the agent starts the ambassador itself: by default where
// no systemd runs.
func (a *ambassador) spawns() bool {
	if a.host.Ambassador.Mode != "" {
		return a.host.Ambassador.Mode == "spawn"
	}
	_, err := os.Stat("/run/systemd/system")
	return errors.Is(err, os.ErrNotExist)
}

// answers waits until the control socket answers, at most limit.
func (a *ambassador) answers(ctx context.Context, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if _, err := a.client.Report(ctx); err == nil {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// spawn starts the ambassador in a session of its own, so that it outlives the
// agent. Its output goes to a file, which is not in the ambassador's folder: that
// becomes its worker's, who could lead the name to a file of root's.
func (a *ambassador) spawn() (logFile string, err error) {
	binary, err := a.binary()
	if err != nil {
		return "", err
	}
	state := filepath.Join(a.host.State, "ambassador")
	if err := os.MkdirAll(state, 0o700); err != nil {
		return "", err
	}
	logFile = filepath.Join(a.host.State, "ambassador.log")
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return "", err
	}
	defer out.Close() //nolint:errcheck // the child has it
	cmd := exec.Command(binary, "--run", a.host.Run, "--state", state)
	if a.host.Ambassador.User != "" {
		cmd.Args = append(cmd.Args, "--user", a.host.Ambassador.User)
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return logFile, err
	}
	a.children = append(a.children, cmd.Process)
	return logFile, nil
}

// binary finds remora-ambassador: where the host file says, else beside this
// program, else in PATH.
func (a *ambassador) binary() (string, error) {
	if b := a.host.Ambassador.Binary; b != "" {
		return b, nil
	}
	const name = "remora-ambassador"
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("find %s: it is neither beside remora nor in PATH; name it with `ambassador: {binary: …}`", name)
	}
	return path, nil
}
