package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

// execOutput is how much of the end of a command's output is kept.
const execOutput = 64 << 10

// Exec runs a command in a running container and returns its exit code and
// the end of its output, both streams together. It is not repeated on errors.
// At the timeout (0: none) or the end of ctx the command is killed where its
// process can be reached from here, since the engine does not do that; the
// error is then context.DeadlineExceeded or ctx's, with the output so far.
func (e *Engine) Exec(ctx context.Context, id string, h manifests.Hook, timeout time.Duration) (engine.Output, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return once(fmt.Sprintf("run %q in container %s", strings.Join(h.Command, " "), short(id)), func() (engine.Output, error) {
		exec, err := e.client().ContainerExecCreate(ctx, id, container.ExecOptions{
			Cmd: h.Command, User: h.User, Privileged: h.Privileged, WorkingDir: h.WorkingDir,
			Env: pairs(h.Environment), AttachStdout: true, AttachStderr: true,
		})
		if err != nil {
			return engine.Output{}, err
		}
		return e.runExec(ctx, id, exec.ID)
	})
}

func (e *Engine) runExec(ctx context.Context, id, exec string) (engine.Output, error) {
	output := newTail(execOutput)
	stream, err := e.client().ContainerExecAttach(ctx, exec, container.ExecAttachOptions{})
	if err == nil {
		err = copyUntil(ctx, stream, output)
	}
	if ctx.Err() != nil {
		e.killExec(ctx, id, exec)
		return engine.Output{ExitCode: -1, Text: output.bytes()}, ctx.Err()
	}
	if err != nil {
		return engine.Output{ExitCode: -1, Text: output.bytes()}, err
	}
	code, err := e.exitCode(ctx, exec)
	return engine.Output{ExitCode: code, Text: output.bytes()}, err
}

// copyUntil copies both streams until they end or ctx does.
func copyUntil(ctx context.Context, stream types.HijackedResponse, w io.Writer) error {
	stop := context.AfterFunc(ctx, stream.Close)
	defer stop()
	defer stream.Close()
	_, err := stdcopy.StdCopy(w, w, stream.Reader)
	return err
}

// exitCode waits for the engine to note the end of an exec: its streams may
// end a little earlier.
func (e *Engine) exitCode(ctx context.Context, exec string) (int, error) {
	return call(ctx, "read exit code", func() (int, error) {
		state, err := e.client().ContainerExecInspect(ctx, exec)
		if err == nil && state.Running {
			err = fmt.Errorf("%w (still running)", engine.ErrTransient)
		}
		return state.ExitCode, err
	})
}

// killWithin is how long the end of an exec is seen to, and killEvery how
// often it is looked at.
const (
	killWithin = 30 * time.Second
	killEvery  = 50 * time.Millisecond
)

// killExec ends an exec that nobody waits for any more. That may be one that
// the engine has yet to start: it is looked at until it has ended.
func (e *Engine) killExec(ctx context.Context, id, exec string) {
	e.background(context.WithoutCancel(ctx), func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, killWithin)
		defer cancel()
		tick := time.NewTicker(killEvery)
		defer tick.Stop()
		for {
			ended, err := e.killOnce(ctx, id, exec)
			if ended {
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				e.log.Warn("a command that took too long may still run", "container", short(id), "err", err)
				return
			}
		}
	})
}

// killOnce kills the process of an exec, if it is one of this container as
// seen from here: the pid is the engine's, and may mean another process to
// us. An exec that has ended keeps its pid, one to be started has none.
func (e *Engine) killOnce(ctx context.Context, id, exec string) (ended bool, err error) {
	state, err := e.client().ContainerExecInspect(ctx, exec)
	if err = classify(err); err != nil {
		return errors.Is(err, engine.ErrNotFound), err
	}
	if !state.Running {
		return state.Pid > 0, nil
	}
	return false, killIn(id, state.Pid)
}

// killIn kills pid, which must be in the container's cgroup. The descriptor
// makes sure that it is the process that was looked at.
func killIn(id string, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open process: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return fmt.Errorf("read cgroup: %w", err)
	}
	if len(id) < 64 || !strings.Contains(string(groups), id) {
		return errors.New("the process is not seen in the container's cgroup")
	}
	return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
}

// tail keeps the last n bytes of what is written to it.
type tail struct {
	limit int
	buf   []byte
}

func newTail(limit int) *tail { return &tail{limit: limit} }

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*t.limit {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-t.limit:]...)
	}
	return len(p), nil
}

func (t *tail) bytes() []byte {
	return t.buf[max(0, len(t.buf)-t.limit):]
}
