package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ComposeCommand is a command of Docker Compose (github.com/docker/compose
// v2.40.3, not Debian's) on this engine, in a project's folder:
//
//	e.ComposeCommand(t, dir, "config", "--format", "json").Output()
func (e *Engine) ComposeCommand(t TB, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(filepath.Join(mustTool(t, composeTool()), "cmd"), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+e.Host(), "DOCKER_CONFIG="+t.TempDir())
	return cmd
}

// Compose runs Docker Compose and returns what it printed on stdout.
func (e *Engine) Compose(t TB, dir string, args ...string) string {
	t.Helper()
	out, err := run(t.Context(), e.ComposeCommand(t, dir, args...))
	must(t, "run compose", err)
	return out
}

// ComposeUp brings a project up as a person would; it is taken down, volumes
// included, when the test ends.
func (e *Engine) ComposeUp(t TB, dir string, args ...string) {
	t.Helper()
	down := e.ComposeCommand(t, dir, "down", "--volumes", "--remove-orphans", "--timeout", "0")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := run(ctx, down); err != nil && e.ping(ctx) == nil {
			t.Errorf("take compose project down: %v", err)
		}
	})
	e.Compose(t, dir, append([]string{"up", "--detach"}, args...)...)
}

// run runs a command that has no context of its own.
func run(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var out, problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args[1:], " "), err, strings.TrimSpace(problems.String()))
	}
	return out.String(), nil
}
