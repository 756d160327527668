package reconciler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/rollout"
)

// evidenceSize is how much of a failed container's output is kept, in bytes.
const evidenceSize = 256 << 10

// hookTimeout bounds one post_start or pre_stop command.
const hookTimeout = 5 * time.Minute

// acquire asks the gate.
func (e *execution) acquire(ctx context.Context, _ rollout.Action) error {
	ro := e.app.Rollout
	if ro == nil {
		return nil
	}
	granted, why, err := e.r.cfg.Gate.Acquire(ctx, e.id, ro.Revision, string(ro.Kind))
	e.granted = granted
	e.results = append(e.results, func(w *worker) { w.waiting = why })
	return err
}

// pull makes sure that an image is on the engine, and learns its facts.
func (e *execution) pull(ctx context.Context, a rollout.Action) error {
	img, err := e.r.cfg.Engine.Image(ctx, a.Image)
	if errors.Is(err, engine.ErrNotFound) {
		img, err = e.r.pullImage(ctx, e.id, a)
	}
	if err != nil {
		return fmt.Errorf("pull image %s: %w", a.Image, err)
	}
	e.results = append(e.results, func(w *worker) { w.learnImage(a, img) })
	return nil
}

// create makes a container and remembers its address.
func (e *execution) create(ctx context.Context, a rollout.Action) error {
	payload, err := e.r.payload(ctx, e.app, a)
	if err != nil {
		return err
	}
	id, err := e.r.cfg.Engine.Create(ctx, payload)
	if err != nil {
		return fmt.Errorf("create container %s: %w", payload.Name, err)
	}
	_, err = e.r.world.refresh(ctx, id)
	return err
}

// network makes the app's networks, volumes and service addresses.
func (e *execution) network(ctx context.Context) error {
	if err := e.r.ensureNetworks(ctx, e.app); err != nil {
		return err
	}
	info, _, _ := e.r.world.state()
	made := networkedFor{info.Start, networksOf(e.app)}
	e.results = append(e.results, func(w *worker) { w.networked = made })
	return nil
}

// remove takes a container away, and frees its addresses.
func (e *execution) remove(ctx context.Context, a rollout.Action) error {
	if err := e.r.cfg.Engine.Remove(ctx, a.Container); err != nil && !errors.Is(err, engine.ErrNotFound) {
		return fmt.Errorf("remove container %.12s: %w", a.Container, err)
	}
	return e.r.freeAddresses(a.Instance.Name)
}

// health runs the container's HEALTHCHECK once, as the engine would.
func (e *execution) health(ctx context.Context, a rollout.Action) error {
	c, err := e.r.world.container(a.Container)
	if err != nil {
		return err
	}
	hc := healthcheckOf(a)
	if hc == nil {
		return errors.New("run health check: the release has none")
	}
	timeout := hc.Timeout
	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	out, err := e.r.cfg.Engine.Exec(ctx, a.Container, manifests.Hook{Command: healthCommand(hc.Test)}, timeout)
	if err != nil {
		return fmt.Errorf("run health check: %w", err)
	}
	if out.ExitCode != 0 {
		return fmt.Errorf("health check exited %d: %s", out.ExitCode, lastLine(out.Text))
	}
	e.healthy = map[string]time.Time{a.Container: c.Started}
	return nil
}

// healthcheckOf returns the check in force for the action's release.
func healthcheckOf(a rollout.Action) *manifests.Healthcheck {
	if a.Deployed == nil {
		return nil
	}
	return a.Deployed.Healthcheck
}

// healthCommand turns the API's form of a test into a command.
func healthCommand(test []string) []string {
	switch {
	case len(test) >= 2 && test[0] == "CMD":
		return test[1:]
	case len(test) == 2 && test[0] == "CMD-SHELL":
		return []string{"/bin/sh", "-c", test[1]}
	}
	return test
}

// hooks runs the commands of an action in order.
func (e *execution) hooks(ctx context.Context, a rollout.Action) error {
	for _, h := range a.Hooks {
		out, err := e.r.cfg.Engine.Exec(ctx, a.Container, h, hookTimeout)
		if err == nil && out.ExitCode != 0 {
			err = fmt.Errorf("it exited %d: %s", out.ExitCode, lastLine(out.Text))
		}
		switch {
		case err == nil:
		case a.Kind == rollout.PreStop: // nothing keeps a stop back
			e.r.cfg.Logger.Warn("pre_stop failed", "app", e.id, "service", a.Service, "command", strings.Join(h.Command, " "), "err", err)
		default:
			return fmt.Errorf("run post_start %q: %w", strings.Join(h.Command, " "), err)
		}
	}
	if a.Kind == rollout.PostStart {
		e.results = append(e.results, func(w *worker) { w.hooked(a) })
	}
	return nil
}

// capture keeps what a failed container leaves behind.
func (e *execution) capture(ctx context.Context, a rollout.Action) error {
	c, err := e.r.world.container(a.Container)
	if err != nil {
		return nil // gone: nothing is left to keep
	}
	out, err := e.r.cfg.Engine.Logs(ctx, a.Container, evidenceSize)
	if err != nil {
		out.Text = []byte("no output: " + err.Error())
	}
	last := lastLine(out.Text)
	e.results = append(e.results, func(w *worker) { w.output[a.Container] = last })
	ev := status.Evidence{
		Time: e.r.now(), Environment: e.app.Environment, App: e.app.Name, Service: a.Service, Release: a.Release,
		Container: a.Container, Name: c.Name, ExitCode: c.ExitCode, OOMKilled: c.OOMKilled,
		Health: c.Health, HealthLog: c.HealthLog, Message: a.Message, Output: out.Text, Tag: tagOf(a.Deployed),
	}
	if e.app.Rollout != nil {
		ev.Revision = e.app.Rollout.Revision
	}
	return e.r.cfg.Journal.Keep(ev)
}

func tagOf(d *ledger.Deployed) string {
	if d == nil {
		return ""
	}
	return d.Tag
}

// lastLine returns the last line that is not blank, at most 200 bytes of it.
func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	line := strings.TrimSpace(lines[len(lines)-1])
	return line[:min(len(line), 200)]
}
