package rig_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/remorahq/remora/e2e/rig"
)

func TestRegistryPushAndPull(t *testing.T) {
	registry := rig.StartRegistry(t, rig.RegistryOptions{Auth: &rig.Credentials{Username: "ci", Password: "s3cret"}})
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		name := rig.Unique("team/web") + ":v3"
		ref, digest := registry.Push(t, e, e.LoadImage(t, rig.Image{Name: name}), name)
		if !strings.HasPrefix(digest, "sha256:") {
			t.Fatalf("digest is %q", digest)
		}
		registry.Pull(t, e, ref+"@"+digest)
		c := e.Run(t, rig.Spec{Image: ref + "@" + digest})
		if _, version := get(t, e, fmt.Sprintf("http://%s:8080/", c.IP(t))); version != "v3" {
			t.Errorf("pulled image answers as %q", version)
		}
		registry.Retag(t, strings.TrimSuffix(name, ":v3"), "v3", "production")
		if got := registry.Digest(t, strings.TrimSuffix(name, "v3")+"production"); got != digest {
			t.Errorf("retagged digest is %s, want %s", got, digest)
		}
	})
}

// A registry that is on the engine's own host, and away for a while.
func TestRegistryOnTheEnginesHost(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	registry := rig.StartRegistry(t, rig.RegistryOptions{Engine: e})
	ref, _ := registry.Push(t, e, e.LoadImage(t, rig.Image{Name: "own:v1"}), "own:v1")
	if !strings.HasPrefix(ref, "127.0.0.1:") {
		t.Errorf("reference is %s", ref)
	}
	registry.Stop(t)
	err := e.Do(t.Context(), http.MethodGet, "/distribution/"+ref+"/json", nil, nil)
	if _, ok := errors.AsType[*rig.APIError](err); !ok {
		t.Errorf("asking a stopped registry gives %v", err)
	}
	registry.Start(t)
	registry.Pull(t, e, ref)
}
