package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/remorahq/remora/ambassador/control"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
)

// ambassador is the data plane seen from here: the reconciler's Traffic port
// over the control socket, and, where no service manager does it, the start of
// its process.
type ambassador struct {
	host   manifests.Host
	log    *slog.Logger
	client *control.Client
}

func newAmbassador(h manifests.Host, log *slog.Logger) *ambassador {
	return &ambassador{host: h, log: log, client: control.NewClient(filepath.Join(h.Run, "ambassador.sock"))}
}

func (a *ambassador) close() error {
	a.client.Close()
	return nil
}

// Apply hands over a table.
func (a *ambassador) Apply(ctx context.Context, t traffic.Table) (traffic.Ack, error) {
	return a.client.Put(ctx, &t)
}

// Report asks for the present state.
func (a *ambassador) Report(ctx context.Context) (traffic.Report, error) {
	return a.client.Report(ctx)
}

// Table asks for the table in force.
func (a *ambassador) Table(ctx context.Context) (traffic.Table, error) {
	t, err := a.client.Table(ctx)
	if err != nil {
		return traffic.Table{}, err
	}
	return *t, nil
}

// Watch gives a report at every change until ctx ends. A zero report says that
// no ambassador answers.
func (a *ambassador) Watch(ctx context.Context) <-chan traffic.Report {
	out := make(chan traffic.Report)
	go func() {
		defer close(out)
		a.watch(ctx, out)
	}()
	return out
}

func (a *ambassador) watch(ctx context.Context, out chan<- traffic.Report) {
	const first, most = 20 * time.Millisecond, time.Second
	pause := first
	for ctx.Err() == nil {
		for rep, err := range a.client.Watch(ctx) {
			if err != nil {
				rep = traffic.Report{}
			} else {
				pause = first
			}
			select {
			case out <- rep:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause = min(most, pause*2)
		}
	}
}

// ensure makes sure that an ambassador answers: it starts one where the host
// file says `spawn`, and otherwise waits for the one of the service manager,
// which may come later.
func (a *ambassador) ensure(ctx context.Context, progress io.Writer) error {
	if a.answers(ctx, 500*time.Millisecond) {
		return nil
	}
	if !a.spawns() {
		a.log.Warn("no ambassador answers yet", "socket", filepath.Join(a.host.Run, "ambassador.sock"), "remedy", "start remora-ambassador.service, or set `ambassador: {mode: spawn}`")
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
// agent. Its output goes to a file.
func (a *ambassador) spawn() (logFile string, err error) {
	binary, err := a.binary()
	if err != nil {
		return "", err
	}
	state := filepath.Join(a.host.State, "ambassador")
	if err := os.MkdirAll(state, 0o700); err != nil {
		return "", err
	}
	logFile = filepath.Join(state, "ambassador.log")
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
	return logFile, cmd.Process.Release()
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
