package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/remorahq/remora/internal/atomicfile"
	"github.com/remorahq/remora/manifests"
)

// proxy is the ambassador of a try.
type proxy struct {
	pid    int
	run    string
	exited chan struct{} // nil where an earlier try started it
}

func pidFile(h manifests.Host) string { return filepath.Join(h.State, "ambassador.pid") }

// startAmbassador starts the ambassador, or takes the one that a kept try left.
func startAmbassador(ctx context.Context, h manifests.Host) (*proxy, error) {
	socket := filepath.Join(h.Run, "ambassador.sock")
	if answers(socket) {
		data, _ := os.ReadFile(pidFile(h))
		pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
		return &proxy{pid: pid, run: h.Run}, nil
	}
	binary, err := ambassadorBinary()
	if err != nil {
		return nil, err
	}
	state := filepath.Join(h.State, "ambassador")
	for _, dir := range []string{state, h.Run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	log, err := os.OpenFile(filepath.Join(h.State, "ambassador.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()                                             //nolint:errcheck // the child has it
	cmd := exec.Command(binary, "--run", h.Run, "--state", state) // our own program
	cmd.Stdout, cmd.Stderr = log, log
	// In a session of its own: the terminal's Ctrl-C is not meant for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the ambassador: %w", err)
	}
	p := &proxy{pid: cmd.Process.Pid, run: h.Run, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait()
	}()
	if err := atomicfile.WriteFile(pidFile(h), []byte(strconv.Itoa(p.pid)+"\n"), 0o600); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	if err := p.await(ctx, socket); err != nil {
		return nil, fmt.Errorf("start the ambassador: %w\n%s", errors.Join(err, p.stop()), tail(log.Name()))
	}
	return p, nil
}

// ambassadorBinary finds the program beside this one, or in PATH.
func ambassadorBinary() (string, error) {
	const name = "remora-ambassador"
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	found, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("find %s: it is neither beside remora nor in PATH", name)
	}
	return found, nil
}

func answers(socket string) bool {
	c, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

func (p *proxy) await(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !answers(socket) {
		select {
		case <-tick.C:
		case <-p.exited:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return errors.New("it does not answer")
		}
	}
	return nil
}

// stop ends the ambassador and waits for it. One that an earlier try started
// is ended only where its process still is what was started then.
func (p *proxy) stop() error {
	if p.pid <= 0 || (p.exited == nil && !p.isOurs()) {
		return nil
	}
	if err := syscall.Kill(p.pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop the ambassador: %w", err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(15 * time.Second)
	for p.runs() {
		select {
		case <-tick.C:
		case <-deadline:
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
			return errors.New("stop the ambassador: it took more than 15 s and was killed")
		}
	}
	return nil
}

func (p *proxy) runs() bool {
	if p.exited == nil {
		return p.isOurs()
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// isOurs says that the process with the remembered number is the ambassador of
// this try's folder.
func (p *proxy) isOurs() bool {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), "cmdline"))
	args := bytes.Split(data, []byte{0})
	return err == nil && len(args) > 2 && strings.HasSuffix(string(args[0]), "remora-ambassador") && string(args[2]) == p.run
}

// tail is the end of a log.
func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(lastLines(data, 5))
}
