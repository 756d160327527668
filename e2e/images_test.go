package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// TestMissingImage: a tag that does not exist leaves the old release alone, is
// no fault of the release, and goes out by itself or by a retry once it exists.
func TestMissingImage(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	registry := rig.StartRegistry(t, rig.RegistryOptions{})
	local := load(t, e, "v1", "v2")
	team := rig.Unique("team") + "/web"
	registry.Push(t, e, local+":v1", team+":v1")
	h, url := begin(t, e, plainWeb, registry.Ref(e, team))
	release(t, h, "v2")
	a := h.Until(t, "shop", "without its image", host.Settled(status.ImagePullFailed))
	if !strings.Contains(a.Message, team+":v2") || host.Service(a, "web").Running != "v1" || a.NextRetry.IsZero() {
		t.Errorf("the status is %+v", a)
	}
	answers(t, e, url, "v1")
	says(t, "explain", exits(t, h, 1, "explain", "shop"), "ImagePullFailed", team+":v2")

	registry.Push(t, e, local+":v2", team+":v2")
	h.Must(t, "retry", "shop")
	h.Until(t, "shop", "on v2", host.On("web", "v2"))
	answers(t, e, url, "v2")
}

// TestRegistryAway: while the registry is down nothing changes; the release
// goes out by itself once it is back.
func TestRegistryAway(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	registry := rig.StartRegistry(t, rig.RegistryOptions{})
	local := load(t, e, "v1", "v2")
	team := rig.Unique("team") + "/web"
	for _, tag := range []string{":v1", ":v2"} {
		registry.Push(t, e, local+tag, team+tag)
	}
	h, url := begin(t, e, plainWeb, registry.Ref(e, team))
	registry.Stop(t)
	release(t, h, "v2")
	h.Until(t, "shop", "without the registry", host.Settled(status.RegistryUnavailable))
	answers(t, e, url, "v1")
	registry.Start(t)
	h.Until(t, "shop", "on v2", host.On("web", "v2"))
	answers(t, e, url, "v2")
}

// TestPrivateRegistry: the credentials of Docker's own configuration are used;
// without them the reason says what is missing.
func TestPrivateRegistry(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	registry := rig.StartRegistry(t, rig.RegistryOptions{Auth: &rig.Credentials{Username: "bot", Password: "hidden-word"}})
	team := rig.Unique("team") + "/web"
	registry.Push(t, e, load(t, e, "v1")+":v1", team+":v1")
	h := host.Start(t, e, host.Options{Env: []string{"DOCKER_CONFIG=" + t.TempDir()}})
	port := rig.FreePort(t)
	h.App(t, "shop", fmt.Sprintf(plainWeb, registry.Ref(e, team), port), map[string]string{"WEB_TAG": "v1"})
	h.Reconcile(t)
	a := h.Until(t, "shop", "without credentials", host.Settled(status.AuthenticationFailed))
	says(t, "the status", a.Message, "credentials")

	h.Agent().Kill(t)
	h.SetAgent(nil, []string{"DOCKER_CONFIG=" + filepath.Dir(registry.DockerConfig(t, e))})
	h.StartAgent(t)
	h.WaitHealthy(t, "shop", time.Minute)
	answers(t, e, fmt.Sprintf("http://127.0.0.1:%d/", port), "v1")
	if out := h.Agent().Output(t); strings.Contains(out, "hidden-word") {
		t.Errorf("the agent's log has the password")
	}
}

// TestRetagChangesNothing: a tag that leads elsewhere by now is no release
// while nothing asks for another look; containers of before stay what they are,
// also when they must be made anew.
func TestRetagChangesNothing(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	registry := rig.StartRegistry(t, rig.RegistryOptions{})
	local := load(t, e, "v1", "v2")
	team := rig.Unique("team") + "/web"
	for _, tag := range []string{":v1", ":v2"} {
		registry.Push(t, e, local+tag, team+tag)
	}
	registry.Retag(t, team, "v1", "production")
	h := host.Start(t, e, host.Options{})
	port := rig.FreePort(t)
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	h.App(t, "shop", fmt.Sprintf(plainWeb, registry.Ref(e, team), port), map[string]string{"WEB_TAG": "production"})
	h.Reconcile(t)
	h.Until(t, "shop", "up", host.On("web", "production"))
	registry.Retag(t, team, "v2", "production")
	must(t, h.Active(t, "shop", "web").Remove(t.Context()))
	h.Must(t, "deploy", "shop")
	h.WaitHealthy(t, "shop", time.Minute)
	answers(t, e, url, "v1")
	registry.Retag(t, team, "v2", "production-2")
	h.Set(t, "shop", map[string]string{"WEB_TAG": "production-2"})
	h.Reconcile(t)
	h.Until(t, "shop", "on the other tag", host.On("web", "production-2"))
	answers(t, e, url, "v2")
}

// TestOwnNameOfPulledImage: a tag that a person put on an image from a registry
// is found on the host, and asked of no registry.
func TestOwnNameOfPulledImage(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	registry := rig.StartRegistry(t, rig.RegistryOptions{})
	local := load(t, e, "v1")
	ref, digest := registry.Push(t, e, local+":v1", rig.Unique("team")+"/web:v1")
	registry.Pull(t, e, ref+"@"+digest)
	registry.Stop(t)
	_, url := begin(t, e, plainWeb, local)
	answers(t, e, url, "v1")
}
