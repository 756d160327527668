package docker_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/docker"
	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

var login = &rig.Credentials{Username: "deploy", Password: "s3cret"}

// TestPull pulls by digest from a registry with credentials, and keeps what it
// pulled from a prune.
func TestPull(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		r := rig.StartRegistry(t, rig.RegistryOptions{Auth: login})
		name := rig.Unique("shop") + ":v1" // with a layer that no other image has
		local := e.LoadImage(t, rig.Image{Name: name, Files: map[string]string{"/name": name}})
		ref, digest := r.Push(t, e, local, "team/shop:v1")
		e.Call(t, "DELETE", "/images/"+local, nil, nil)
		d := open(t, e, configDir(r.DockerConfig(t, e)))
		got, err := d.Resolve(t.Context(), ref, "")
		if err != nil || got != digest {
			t.Errorf("resolve: %s, %v; not %s", got, err, digest)
		}
		pinned := strings.TrimSuffix(ref, ":v1") + "@" + digest
		if _, err := d.Image(t.Context(), pinned); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("before the pull: %v", err)
		}
		var last engine.Progress
		reports := 0
		pulled, err := d.Pull(t.Context(), pinned, "", func(p engine.Progress) { last, reports = p, reports+1 })
		must(t, err)
		if pulled.Digest != digest || pulled.ID == "" || pulled.Size == 0 || pulled.HostLocal() {
			t.Errorf("pulled: %+v", pulled)
		}
		if reports == 0 || last.Layers != last.Done || last.Layers == 0 || last.Bytes != last.Total || last.Reference != pinned {
			t.Errorf("the last of %d reports: %+v", reports, last)
		}
		again, err := d.Pull(t.Context(), pinned, "linux/amd64", nil)
		if err != nil || again.ID != pulled.ID {
			t.Errorf("pulled again: %+v, %v", again, err)
		}
		e.Call(t, "POST", "/images/prune", nil, nil)
		kept, err := d.Image(t.Context(), pinned)
		if diff := cmp.Diff(pulled, kept); err != nil || diff != "" {
			t.Errorf("after `docker image prune`: %v\n%s", err, diff)
		}
		testRemoveImage(t, e, d, pinned, pulled.ID)
	})
}

func testRemoveImage(t *testing.T, e *rig.Engine, d *docker.Engine, ref, id string) {
	t.Helper()
	a := &app{name: rig.Unique("shop"), image: ref, rig: e, engine: d}
	user := a.make(t, a.create("web", "aaaa"))
	if err := d.RemoveImage(t.Context(), id); !errors.Is(err, engine.ErrConflict) {
		t.Errorf("remove an image in use: %v", err)
	}
	if _, err := d.Image(t.Context(), ref); err != nil {
		t.Errorf("after a removal that was refused: %v", err)
	}
	must(t, d.Remove(t.Context(), user))
	must(t, d.RemoveImage(t.Context(), id))
	for _, name := range []string{ref, id} {
		if _, err := d.Image(t.Context(), name); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("%s after its removal: %v", name, err)
		}
	}
	if err := d.RemoveImage(t.Context(), id); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
}

// TestRemoveImageLeavesWhatOthersTagged: a cron line of our own is no better
// than anybody's.
func TestRemoveImageLeavesWhatOthersTagged(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		ref := e.LoadImage(t, rig.Image{Name: rig.Unique("theirs") + ":v1"})
		i, err := d.Image(t.Context(), ref)
		must(t, err)
		must(t, d.RemoveImage(t.Context(), i.ID))
		if _, err := d.Image(t.Context(), ref); err != nil {
			t.Errorf("somebody's image: %v", err)
		}
	})
}

func TestPullErrors(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		r := rig.StartRegistry(t, rig.RegistryOptions{Auth: login})
		ref, _ := r.Push(t, e, e.LoadImage(t, rig.Image{Name: "adapter:v1"}), "team/shop:v1")
		known, stranger := open(t, e, configDir(r.DockerConfig(t, e))), open(t, e)
		check := func(what string, d *docker.Engine, ref, platform string, want error) {
			t.Helper()
			if _, err := d.Pull(t.Context(), ref, platform, nil); !errors.Is(err, want) || !strings.Contains(err.Error(), "pull image "+ref) {
				t.Errorf("pull with %s: %v", what, err)
			}
			if _, err := d.Resolve(t.Context(), ref, platform); !errors.Is(err, want) {
				t.Errorf("resolve with %s: %v", what, err)
			}
		}
		check("no credentials", stranger, ref, "", engine.ErrRegistryAuth)
		check("a tag that is not there", known, r.Ref(e, "team/shop:v9"), "", engine.ErrImageNotFound)
		check("a digest that is not there", known, r.Ref(e, "team/shop@sha256:"+strings.Repeat("0", 64)), "", engine.ErrImageNotFound)
		check("a repository that is not there", known, r.Ref(e, "team/other:v1"), "", engine.ErrImageNotFound)
		if _, err := known.Resolve(t.Context(), ref, "windows/arm64"); !errors.Is(err, engine.ErrImageNotFound) {
			t.Errorf("resolve for another platform: %v", err)
		}
		r.Stop(t)
		check("the registry away", known, ref, "", engine.ErrRegistryUnavailable)
		r.Start(t)
		if _, err := known.Pull(t.Context(), ref, "", nil); err != nil {
			t.Errorf("pull with the registry back: %v", err)
		}
		_ = e.Do(t.Context(), "DELETE", "/images/"+ref, nil, nil)
	})
}

// TestCredentialsAreReadAnew logs in while the adapter runs, then moves the
// password to a helper.
func TestCredentialsAreReadAnew(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	r := rig.StartRegistry(t, rig.RegistryOptions{Auth: login})
	ref, digest := r.Push(t, e, e.LoadImage(t, rig.Image{Name: "adapter:v1"}), "team/shop:v1")
	dir := t.TempDir()
	d := open(t, e, func(o *docker.Options) { o.ConfigDir = dir })
	if _, err := d.Resolve(t.Context(), ref, ""); !errors.Is(err, engine.ErrRegistryAuth) {
		t.Errorf("before the login: %v", err)
	}
	config, err := os.ReadFile(r.DockerConfig(t, e))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600))
	if got, err := d.Resolve(t.Context(), ref, ""); err != nil || got != digest {
		t.Errorf("after the login: %s, %v", got, err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"credHelpers": {"`+r.Host(e)+`": "rig"}}`), 0o600))
	if _, err := d.Resolve(t.Context(), ref, ""); err == nil || !strings.Contains(err.Error(), "docker-credential-rig") {
		t.Errorf("with a helper that is not there: %v", err)
	}
	bin := t.TempDir()
	answer, err := json.Marshal(map[string]string{"ServerURL": r.Host(e), "Username": login.Username, "Secret": login.Password})
	must(t, err)
	script := fmt.Sprintf("#!/bin/sh\necho '%s'\n", answer)
	must(t, os.WriteFile(filepath.Join(bin, "docker-credential-rig"), []byte(script), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	if got, err := d.Resolve(t.Context(), ref, ""); err != nil || got != digest {
		t.Errorf("with a helper: %s, %v", got, err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"auths": `), 0o600))
	if _, err := d.Resolve(t.Context(), ref, ""); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "config.json")) {
		t.Errorf("with a torn config file: %v", err)
	}
}

func TestImage(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		ref := e.LoadImage(t, rig.Image{
			Name: rig.Unique("shop") + ":v1", Volumes: []string{"/data", "/a"}, Expose: []string{"8080/tcp", "53/udp", "80"}, Stop: "SIGINT",
			Healthcheck: &rig.Healthcheck{Interval: 3 * time.Second, Retries: 2},
		})
		i, err := d.Image(t.Context(), ref)
		must(t, err)
		if !slices.Equal(i.Volumes, []string{"/a", "/data"}) || !slices.Equal(i.Exposed, []uint16{80, 8080}) || i.StopSignal != "SIGINT" {
			t.Errorf("image: %+v", i)
		}
		want := &manifests.Healthcheck{Test: []string{"CMD", "/testprogram", "healthcheck"}, Interval: 3 * time.Second, Retries: 2}
		if diff := cmp.Diff(want, i.Healthcheck); diff != "" {
			t.Errorf("healthcheck: %s", diff)
		}
		if !i.HostLocal() {
			t.Errorf("an image that was only loaded has the digest %s", i.Digest)
		}
		byID, err := d.Image(t.Context(), i.ID)
		if err != nil || byID.ID != i.ID {
			t.Errorf("by ID: %+v, %v", byID, err)
		}
	})
}
