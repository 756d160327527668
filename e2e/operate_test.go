package e2e_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// exits runs a command that must end with a code, and returns its output.
func exits(t *testing.T, h *host.Host, code int, args ...string) string {
	t.Helper()
	out, got := h.Remora(t, args...)
	if got != code {
		t.Errorf("remora %s: exit %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	return out
}

// says checks that a text has all parts.
func says(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s does not say %q:\n%s", what, p, text)
		}
	}
}

// TestSuspendAndResume: a suspended app keeps its traffic and takes no release
// until somebody resumes it.
func TestSuspendAndResume(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	h, url := begin(t, e, plainWeb, load(t, e, "v1", "v2"))
	says(t, "suspend", h.Must(t, "suspend", "shop", "--reason", "debugging"), "remora resume")
	rev := h.Set(t, "shop", map[string]string{"WEB_TAG": "v2"})
	h.Reconcile(t)
	h.Until(t, "shop", "suspended", func(a status.App) bool {
		return a.Suspended && a.Reason == status.Suspended && host.Service(a, "web").Wanted == "v2"
	})
	says(t, "wait", exits(t, h, 6, "wait", "shop", "--rev", rev, "--timeout", "30s"), "Suspended", "remora resume")
	says(t, "explain", exits(t, h, 1, "explain", "shop"), "Suspended", "debugging")
	answers(t, e, url, "v1")
	h.Must(t, "resume", "shop")
	exits(t, h, 0, "wait", "shop", "--rev", rev, "--timeout", "60s")
	answers(t, e, url, "v2")
	exits(t, h, 0, "explain", "shop")
}

// TestRollbackPins: a person's rollback holds against the repository until that
// wants another release, and prints the line that makes it last.
func TestRollbackPins(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	image := load(t, e, "v1", "v2", "v3")
	h, url := begin(t, e, plainWeb, image)
	rev := h.Set(t, "shop", map[string]string{"WEB_TAG": "v2"})
	h.Reconcile(t)
	exits(t, h, 0, "wait", "shop", "--set", "WEB_TAG=v2", "--timeout", "60s")

	says(t, "rollback", h.Must(t, "rollback", "shop", "--reason", "checkout is broken"), "git revert "+rev[:7], "remora unpin")
	answers(t, e, url, "v1")
	pinned := func(a status.App) bool {
		return a.Pinned && a.Rollout == nil && host.Service(a, "web").Running == "v1" && host.Service(a, "web").Wanted == "v2"
	}
	h.Until(t, "shop", "pinned", pinned)
	says(t, "wait", exits(t, h, 6, "wait", "shop", "--set", "WEB_TAG=v2", "--timeout", "30s"), "Pinned")

	other := h.Commit(t, "something else", rig.File("README", "unrelated\n"))
	h.Reconcile(t)
	h.Until(t, "shop", "pinned still", host.Judged(other, pinned))
	answers(t, e, url, "v1")

	release(t, h, "v3")
	a := h.Until(t, "shop", "on v3", host.On("web", "v3"))
	if a.Pinned {
		t.Errorf("the pin outlives the release that it was against")
	}
	answers(t, e, url, "v3")
}

// TestUnpinAndRetry: an ended pin leaves the release in quarantine; a retry
// takes it out.
func TestUnpinAndRetry(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	h, url := begin(t, e, plainWeb, load(t, e, "v1", "v2"))
	release(t, h, "v2")
	h.Until(t, "shop", "on v2", host.On("web", "v2"))
	h.Must(t, "rollback", "shop")
	answers(t, e, url, "v1")
	h.Must(t, "unpin", "shop")
	h.Until(t, "shop", "quarantined", func(a status.App) bool {
		return a.Rollout == nil && !a.Pinned && a.Reason == status.Quarantined && host.Service(a, "web").Running == "v1"
	})
	says(t, "wait", exits(t, h, 3, "wait", "shop", "--set", "WEB_TAG=v2", "--timeout", "30s"), "remora retry")
	h.Must(t, "retry", "shop")
	h.Until(t, "shop", "on v2", host.On("web", "v2"))
	answers(t, e, url, "v2")
}

// TestStopAndStart: what a person stops stays stopped, over a reconcile and
// another agent, until it is started.
func TestStopAndStart(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	h, url := begin(t, e, plainWeb, load(t, e, "v1"))
	says(t, "stop", h.Must(t, "stop", "shop", "--reason", "moving house"), "remora start")
	stopped := func(a status.App) bool {
		return a.Reason == status.StoppedByHand && a.Health == status.HealthSuspended
	}
	h.Until(t, "shop", "stopped", stopped)
	h.Agent().Kill(t)
	h.StartAgent(t)
	h.Reconcile(t)
	h.Until(t, "shop", "stopped still", stopped)
	rig.Eventually(t, 30*time.Second, "no container to run", func() error {
		for _, c := range h.Containers(t, "shop", "web") {
			if c.State == "running" {
				return errorf("%s does", c.Name())
			}
		}
		return nil
	})
	if body, err := get(e, url); err == nil {
		t.Errorf("a stopped app answers %s", body)
	}
	h.Must(t, "start", "shop")
	h.WaitHealthy(t, "shop", time.Minute)
	answers(t, e, url, "v1")
}

// TestRestartLosesNothing: fresh containers of the same release, under load.
func TestRestartLosesNothing(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	h, url := begin(t, e, plainWeb, load(t, e, "v1"))
	before := h.Active(t, "shop", "web").ID
	asker := ask(t, e, url)
	h.Must(t, "restart", "shop/web", "--reason", "leaks memory")
	h.Until(t, "shop", "restarted", func(a status.App) bool {
		if a.Rollout != nil || a.Health != status.Healthy {
			return false
		}
		for _, i := range host.Service(a, "web").Instances {
			if i.Role == "active" && i.ID != before {
				return true
			}
		}
		return false
	})
	asker.check(t)
}

// asker asks on kept connections all the time, and never again.
type asker struct {
	stop     func()
	mu       sync.Mutex
	answered int
	failures []error
}

func ask(t *testing.T, e *rig.Engine, url string) *asker {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	a := &asker{}
	var group sync.WaitGroup
	a.stop = func() { cancel(); group.Wait() }
	t.Cleanup(a.stop)
	for range 4 {
		group.Go(func() {
			client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: e.DialContext}}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				a.once(client, url)
			}
		})
	}
	return a
}

func (a *asker) once(client *http.Client, url string) {
	resp, err := client.Post(url, "text/plain", nil)
	if err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			err = errorf("answered %s", resp.Status)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.failures = append(a.failures, err)
		return
	}
	a.answered++
}

// check ends the asking and wants that every question was answered.
func (a *asker) check(t *testing.T) {
	t.Helper()
	a.stop()
	t.Logf("%d answered", a.answered)
	if len(a.failures) > 0 || a.answered < 10 {
		t.Errorf("%d answered, %d failed: %v", a.answered, len(a.failures), a.failures)
	}
}
