package docker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

func TestExec(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		a := newApp(t, e, d)
		id := a.run(t, a.create("web", "aaaa"))
		out, err := d.Exec(t.Context(), id, manifests.Hook{
			Command: []string{"/testprogram", "env"}, Environment: map[string]string{"HOOK": "yes"},
		}, 0)
		if err != nil || out.ExitCode != 0 || !strings.Contains(string(out.Text), "HOOK=yes\n") {
			t.Errorf("exec: %v, %d, %q", err, out.ExitCode, out.Text)
		}
		out, err = d.Exec(t.Context(), id, manifests.Hook{Command: []string{"/testprogram", "cat", "/nothing"}}, 0)
		if err != nil || out.ExitCode != 1 || !strings.Contains(string(out.Text), "no such file") {
			t.Errorf("a command that fails: %v, %d, %q", err, out.ExitCode, out.Text)
		}
		if _, err := d.Exec(t.Context(), "nobody", manifests.Hook{Command: []string{"x"}}, 0); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("exec in a container that is not there: %v", err)
		}
		out, err = d.Exec(t.Context(), id, manifests.Hook{Command: []string{"/testprogram", "sleep", "4321s"}}, 300*time.Millisecond)
		// It is given up, wherever the engine is with it by then.
		_, _ = d.Exec(t.Context(), id, manifests.Hook{Command: []string{"/testprogram", "sleep", "4321s"}}, 15*time.Millisecond)
		if !errors.Is(err, context.DeadlineExceeded) || out.ExitCode == 0 {
			t.Errorf("a command that takes too long: %v, %d", err, out.ExitCode)
		}
		rig.Eventually(t, 20*time.Second, "wait for the end of the commands", func() error {
			var top struct{ Processes [][]string }
			e.Call(t, "GET", "/containers/"+id+"/top", nil, &top)
			if text := fmt.Sprint(top.Processes); strings.Contains(text, "4321s") {
				return errors.New(text)
			}
			return nil
		})
		must(t, d.Pause(t.Context(), id))
		if _, err := d.Exec(t.Context(), id, manifests.Hook{Command: []string{"x"}}, 0); !errors.Is(err, engine.ErrConflict) {
			t.Errorf("exec in a paused container: %v", err)
		}
	})
}

func TestLogs(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		a := newApp(t, e, d)
		text := strings.Repeat("a line of output, and then some more of it\n", 5000)
		a.image = e.LoadImage(t, rig.Image{Name: "adapter:log", Files: map[string]string{"/text": text, "/lines": strings.Repeat("x\n", 3000)}})
		wait := func(id string) string {
			e.Call(t, "POST", "/containers/"+id+"/wait", nil, nil)
			return id
		}
		read := func(id string, limit int64) string {
			t.Helper()
			out, err := d.Logs(t.Context(), id, limit)
			must(t, err)
			return string(out.Text)
		}
		id := wait(a.run(t, a.create("job", "aaaa", args("cat", "/text"))))
		if got := read(id, 1000); got != text[len(text)-1000:] {
			t.Errorf("the last 1000 bytes are %d: %q", len(got), got)
		}
		if got := read(id, 256<<10); got != text {
			t.Errorf("all of %d bytes are %d", len(text), len(got))
		}
		lines := wait(a.run(t, a.create("job", "bbbb", args("cat", "/lines"))))
		if got := read(lines, 4000); got != strings.Repeat("x\n", 2000) {
			t.Errorf("the last 4000 bytes of short lines are %d", len(got))
		}
		terminal := wait(a.run(t, a.create("job", "cccc", args("cat", "/etc/group"), func(c *engine.Create) { c.Spec.TTY = true })))
		if got := read(terminal, 1000); !strings.HasPrefix(got, "root:x:0:\r\n") {
			t.Errorf("output of a terminal: %q", got)
		}
		failed := wait(a.run(t, a.create("job", "dddd", args("cat", "/nothing"))))
		out, err := d.Logs(t.Context(), failed, 1000)
		if err != nil || out.ExitCode != 1 || !strings.Contains(string(out.Text), "no such file") {
			t.Errorf("standard error: %v, %d, %q", err, out.ExitCode, out.Text)
		}
	})
}

// written is a writer that can be read meanwhile.
type written struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(p)
}

func (w *written) has(text string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !strings.Contains(w.buf.String(), text) {
		return fmt.Errorf("not in %q", w.buf.String())
	}
	return nil
}

func TestFollowLogs(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	d := open(t, e)
	a := newApp(t, e, d)
	id := a.run(t, a.create("web", "aaaa"))
	var out written
	done := make(chan error, 1)
	go func() { done <- d.FollowLogs(t.Context(), id, engine.LogOptions{Follow: true, Lines: -1}, &out) }()
	rig.Eventually(t, 5*time.Second, "wait for output", func() error { return out.has("start version=v1") })
	must(t, d.Stop(t.Context(), id, "", 5*time.Second))
	if err := <-done; err != nil {
		t.Errorf("at the container's end: %v", err)
	}
	must(t, d.Start(t.Context(), id))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- d.FollowLogs(ctx, id, engine.LogOptions{Follow: true, Lines: 0}, &out) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("at the context's end: %v", err)
	}
}
