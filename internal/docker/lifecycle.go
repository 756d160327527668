package docker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/versions"

	"github.com/remorahq/remora/internal/engine"
)

// Start starts a container; one that runs is left alone. A paused one is
// engine.ErrConflict.
func (e *Engine) Start(ctx context.Context, id string) error {
	return e.change(ctx, "start", id, running, func() error {
		return e.client().ContainerStart(ctx, id, container.StartOptions{})
	})
}

// Stop sends the stop signal, waits for grace (rounded up to seconds) and
// kills what is left. signal replaces the container's own where it is not
// empty. A paused container is thawed so that it can end. Stop returns when
// the container has ended; one that does not run is left alone.
func (e *Engine) Stop(ctx context.Context, id, signal string, grace time.Duration) error {
	seconds := int(math.Ceil(max(grace, 0).Seconds()))
	return e.change(ctx, "stop", id, ended, func() error {
		if err := e.signalFirst(ctx, id, signal, &seconds); err != nil {
			return err
		}
		return e.client().ContainerStop(ctx, id, container.StopOptions{Signal: signal, Timeout: &seconds})
	})
}

// signalFirst does by hand what engines before 23.0 cannot: stop with another
// signal than the container's own. What is left of the grace period is then
// up to the engine.
func (e *Engine) signalFirst(ctx context.Context, id, signal string, seconds *int) error {
	if signal == "" || !versions.LessThan(e.client().ClientVersion(), "1.42") {
		return nil
	}
	c, err := e.client().ContainerInspect(ctx, id)
	if err != nil || !c.State.Running || sameSignal(signal, c.Config.StopSignal) {
		return err
	}
	if err := e.client().ContainerKill(ctx, id, signal); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, time.Duration(*seconds)*time.Second)
	defer cancel()
	*seconds = 0
	ended, failed := e.client().ContainerWait(wait, id, container.WaitConditionNotRunning)
	select {
	case <-ended:
	case err := <-failed:
		if wait.Err() == nil {
			return err
		}
	}
	return ctx.Err()
}

// sameSignal compares names of signals; "" is the engine's default.
func sameSignal(a, b string) bool {
	name := func(s string) string {
		if s == "" {
			return "TERM"
		}
		return strings.TrimPrefix(strings.ToUpper(s), "SIG")
	}
	return name(a) == name(b)
}

// Kill sends a signal, SIGKILL where it is empty. A container that does not
// run is left alone. Another signal than SIGKILL is sent once, whatever
// becomes of the connection: a program may count them.
func (e *Engine) Kill(ctx context.Context, id, signal string) error {
	op := func() error { return e.client().ContainerKill(ctx, id, signal) }
	if signal == "" || sameSignal(signal, "KILL") {
		return e.change(ctx, "kill", id, ended, op)
	}
	defer e.cache.touch(id)
	_, err := once("send "+signal+" to container "+short(id), func() (struct{}, error) {
		return struct{}{}, e.settle(ctx, id, ended, op)
	})
	return err
}

// Pause freezes a running container; a paused one is left alone.
func (e *Engine) Pause(ctx context.Context, id string) error {
	return e.change(ctx, "pause", id, paused, func() error { return e.client().ContainerPause(ctx, id) })
}

// Unpause thaws a paused container; a running one is left alone.
func (e *Engine) Unpause(ctx context.Context, id string) error {
	return e.change(ctx, "unpause", id, running, func() error { return e.client().ContainerUnpause(ctx, id) })
}

func running(s *container.State) bool { return s.Running && !s.Paused && !s.Restarting }
func paused(s *container.State) bool  { return s.Paused }
func ended(s *container.State) bool   { return !s.Running }

// change makes op, and where it fails asks whether the container is already
// what it should become: engines differ in the error they give for that.
func (e *Engine) change(ctx context.Context, verb, id string, reached func(*container.State) bool, op func() error) error {
	defer e.cache.touch(id)
	return do(ctx, verb+" container "+short(id), func() error { return e.settle(ctx, id, reached, op) })
}

// settle is one try of change.
func (e *Engine) settle(ctx context.Context, id string, reached func(*container.State) bool, op func() error) error {
	err := classify(op())
	if err == nil || errors.Is(err, engine.ErrUnavailable) || errors.Is(err, engine.ErrNotFound) || ctx.Err() != nil {
		return err
	}
	c, failed := e.client().ContainerInspect(ctx, id)
	switch {
	case failed == nil && reached(c.State):
		return nil
	case failed == nil && notRunning(err):
		return fmt.Errorf("%w: it is %s: %w", engine.ErrConflict, c.State.Status, err)
	default:
		return err
	}
}

// notRunning says that the state does not permit the call; some engines
// report that as a fault of theirs.
func notRunning(err error) bool {
	text := err.Error()
	return !errors.Is(err, engine.ErrConflict) &&
		(strings.Contains(text, "is not running") || strings.Contains(text, "is not paused") || strings.Contains(text, "paused container"))
}

// Rename gives a container another name, running or not; engine.ErrConflict
// where a container has that name already.
func (e *Engine) Rename(ctx context.Context, id, name string) error {
	defer e.cache.touch(id)
	return do(ctx, fmt.Sprintf("rename container %s to %s", short(id), name), func() error {
		err := classify(e.client().ContainerRename(ctx, id, name))
		if err == nil || errors.Is(err, engine.ErrNotFound) {
			return err
		}
		if c, failed := e.client().ContainerInspect(ctx, id); failed == nil && c.Name == "/"+name {
			return nil
		}
		return err
	})
}

// Remove removes a container, running or not, and never a volume of it. One
// that is gone is engine.ErrNotFound.
func (e *Engine) Remove(ctx context.Context, id string) error {
	defer e.cache.touch(id)
	seen := false
	return do(ctx, "remove container "+short(id), func() error {
		err := classify(e.client().ContainerRemove(ctx, id, container.RemoveOptions{Force: true}))
		if seen && errors.Is(err, engine.ErrNotFound) {
			return nil // an earlier try of ours, or one under way, has done it
		}
		seen = seen || errors.Is(err, engine.ErrTransient)
		return err
	})
}

// SetRestart sets the engine's restart policy, "no" or "unless-stopped", and
// reads it back: after the next reboot it decides what runs.
func (e *Engine) SetRestart(ctx context.Context, id, policy string) error {
	defer e.cache.touch(id)
	want := container.RestartPolicy{Name: container.RestartPolicyMode(policy)}
	return do(ctx, fmt.Sprintf("set restart policy of container %s to %s", short(id), policy), func() error {
		if _, err := e.client().ContainerUpdate(ctx, id, container.UpdateConfig{RestartPolicy: want}); err != nil {
			return err
		}
		c, err := e.client().ContainerInspect(ctx, id)
		if err != nil {
			return err
		}
		if got := c.HostConfig.RestartPolicy.Name; got != want.Name {
			return fmt.Errorf("%w: the engine still has %q", engine.ErrTransient, got)
		}
		return nil
	})
}
