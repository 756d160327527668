package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// served is a host that follows a repository of a git server with a password.
func served(t *testing.T, e *rig.Engine) (h *host.Host, server *rig.GitHTTP, password string) {
	t.Helper()
	server = rig.StartGitHTTP(t, rig.GitOptions{Addr: e.HostAddr(), Auth: &rig.Credentials{Username: "bot", Password: "hidden-word"}})
	repo := server.NewRepo(t, "infra.git")
	password = filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(password, []byte("hidden-word\n"), 0o600))
	h = host.Start(t, e, host.Options{
		Repo: repo, URL: server.URL("infra.git"), Poll: time.Second,
		SourceExtra: "    auth: {username: bot, password_file: " + password + "}",
	})
	return h, server, password
}

// sourceSays waits until the source's status names a reason.
func sourceSays(t *testing.T, h *host.Host, reason status.Reason) {
	t.Helper()
	rig.Eventually(t, time.Minute, "the source to say "+string(reason), func() error {
		s, err := h.Ask(t.Context())
		if err != nil {
			return err
		}
		for _, c := range s.Sources[0].Conditions {
			if c.Reason == reason {
				return nil
			}
		}
		return errorf("it says %+v", s.Sources[0].Conditions)
	})
}

// TestGitServerAway: without its git server a host keeps what it has, also over
// a restart of the agent, and repairs it; it says so; and goes on when the
// server is back.
func TestGitServerAway(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	h, server, _ := served(t, e)
	image := load(t, e, "v1", "v2")
	port := rig.FreePort(t)
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	h.App(t, "shop", fmt.Sprintf(plainWeb, image, port), map[string]string{"WEB_TAG": "v1"})
	h.WaitHealthy(t, "shop", time.Minute)

	server.Stop()
	sourceSays(t, h, status.GitOperationFailed)
	says(t, "reconcile", exits(t, h, 1, "reconcile"), "GitOperationFailed")
	answers(t, e, url, "v1")

	h.Agent().Kill(t)
	must(t, h.Engine.Container(t, "shop-web-1").Remove(t.Context()))
	h.StartAgent(t)
	h.Until(t, "shop", "repaired from the last revision", host.On("web", "v1"))
	answers(t, e, url, "v1")
	sourceSays(t, h, status.GitOperationFailed)

	server.Start(t)
	h.Set(t, "shop", map[string]string{"WEB_TAG": "v2"})
	h.Until(t, "shop", "on v2", host.On("web", "v2"))
	answers(t, e, url, "v2")
	sourceSays(t, h, status.Succeeded)
}

// TestWrongPassword: a password that is no longer right is named as such, and
// a new one in the file is used without a restart.
func TestWrongPassword(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	h, _, password := served(t, e)
	image := load(t, e, "v1", "v2")
	port := rig.FreePort(t)
	h.App(t, "shop", fmt.Sprintf(plainWeb, image, port), map[string]string{"WEB_TAG": "v1"})
	h.WaitHealthy(t, "shop", time.Minute)
	must(t, os.WriteFile(password, []byte("another-word\n"), 0o600))
	sourceSays(t, h, status.AuthenticationFailed)
	out := exits(t, h, 1, "reconcile")
	if strings.Contains(out+h.Agent().Output(t), "another-word") {
		t.Errorf("the password is shown")
	}
	must(t, os.WriteFile(password, []byte("hidden-word\n"), 0o600))
	h.Set(t, "shop", map[string]string{"WEB_TAG": "v2"})
	h.Until(t, "shop", "on v2", host.On("web", "v2"))
}

// TestForcePush: a rewritten branch is followed, and an event says that it was.
func TestForcePush(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	image := load(t, e, "v1", "v2")
	h, url := begin(t, e, plainWeb, image)
	h.Commit(t, "a mistake", rig.File("README", "to be taken back\n"))
	h.Reconcile(t)
	h.Repo.Rewrite(t, "main", "history, rewritten", rig.File("environments/production/shop/.env", "WEB_TAG=v2\n"))
	h.Reconcile(t)
	h.Until(t, "shop", "on v2", host.On("web", "v2"))
	answers(t, e, url, "v2")
	says(t, "events", h.Must(t, "events"), string(status.HistoryRewritten))
}
