package docker_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/docker"
	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/policy"
	"github.com/remorahq/remora/manifests"
)

// judging has the adapter ask a policy as the agent does.
func judging(p manifests.Policy, own ...string) func(*docker.Options) {
	return func(o *docker.Options) {
		o.Judge = func(c engine.Create) error {
			if v := policy.Judge(p, c, own...); len(v) > 0 {
				return fmt.Errorf("%w: %v", engine.ErrPolicy, v)
			}
			return nil
		}
	}
}

// escapes are payloads that would give a container something of the host, or
// of somebody else.
func escapes(dir string) map[string]func(*engine.Create) {
	spec := func(f func(*manifests.Container)) func(*engine.Create) {
		return func(c *engine.Create) { f(&c.Spec) }
	}
	bind := func(source string) func(*engine.Create) {
		return func(c *engine.Create) {
			c.Mounts = []engine.Mount{{Type: "bind", Source: source, Target: "/host", ReadOnly: true}}
		}
	}
	volume := func(name string) func(*engine.Create) {
		return func(c *engine.Create) {
			c.Mounts = []engine.Mount{{Type: "volume", Source: name, Target: "/host", Spec: manifests.Mount{Kind: manifests.MountVolume, Source: "data"}}}
		}
	}
	return map[string]func(*engine.Create){
		"privileged":       spec(func(c *manifests.Container) { c.Privileged = true }),
		"capability":       spec(func(c *manifests.Container) { c.CapAdd = []string{"sys_admin"} }),
		"all capabilities": spec(func(c *manifests.Container) { c.CapAdd = []string{"ALL"} }),
		"seccomp":          spec(func(c *manifests.Container) { c.SecurityOpt = []string{"seccomp=unconfined"} }),
		"apparmor":         spec(func(c *manifests.Container) { c.SecurityOpt = []string{"apparmor:unconfined"} }),
		"device": spec(func(c *manifests.Container) {
			c.Devices = []manifests.Device{{Source: "/dev/kmsg", Target: "/dev/kmsg", Permissions: "rwm"}}
		}),
		"device rule": spec(func(c *manifests.Container) { c.DeviceCgroupRules = []string{"a *:* rwm"} }),
		"gpu": spec(func(c *manifests.Container) {
			c.DeviceRequests = []manifests.DeviceRequest{{Driver: "cdi", IDs: []string{"a.b/c=d"}}}
		}),
		"sysctl":  spec(func(c *manifests.Container) { c.Sysctls = map[string]string{"net.ipv4.ip_forward": "1"} }),
		"runtime": spec(func(c *manifests.Container) { c.Runtime = "runc" }),
		"annotation": spec(func(c *manifests.Container) {
			c.Annotations = map[string]string{"org.systemd.property.DevicePolicy": "'auto'"}
		}),
		"cgroup parent":     spec(func(c *manifests.Container) { c.CgroupParent = "/" }),
		"cgroup namespace":  spec(func(c *manifests.Container) { c.CgroupNS = "host" }),
		"user namespace":    spec(func(c *manifests.Container) { c.UserNS = "host" }),
		"uts":               spec(func(c *manifests.Container) { c.UTS = "host" }),
		"oom":               spec(func(c *manifests.Container) { c.Resources.OOMScoreAdj = -1000 }),
		"log driver":        spec(func(c *manifests.Container) { c.Log = &manifests.Log{Driver: "syslog"} }),
		"external link":     spec(func(c *manifests.Container) { c.ExternalLinks = []string{"other:db"} }),
		"label":             spec(func(c *manifests.Container) { c.Labels = map[string]string{engine.LabelApp: "other"} }),
		"compose label":     spec(func(c *manifests.Container) { c.Labels = map[string]string{"com.docker.compose.project": "other"} }),
		"pid":               func(c *engine.Create) { c.PID, c.Spec.PID = "host", "host" },
		"pid of the agent":  func(c *engine.Create) { c.PID = "host" },
		"ipc":               func(c *engine.Create) { c.IPC, c.Spec.IPC = "host", "host" },
		"network":           func(c *engine.Create) { c.NetworkMode, c.Spec.NetworkMode = "host", "host" },
		"network of others": func(c *engine.Create) { c.NetworkMode, c.Spec.NetworkMode = "container:other", "container:other" },
		"joined network":    func(c *engine.Create) { c.Networks = []engine.Endpoint{{Network: "other_default"}} },
		"root":              bind("/"),
		"dots":              bind(dir + "/own/../../../../../../etc"),
		"socket":            bind("/var/run/docker.sock"),
		"state":             bind(dir),
		"link":              bind(dir + "/own/evil"),
		"below a link":      bind(dir + "/own/evil/shadow"),
		"volume":            volume("other_data"),
	}
}

// TestStrictCreatesNothing tries every way out on real engines.
func TestStrictCreatesNothing(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		dir := t.TempDir()
		own := filepath.Join(dir, "own")
		must(t, os.Mkdir(own, 0o755))
		must(t, os.Symlink("/etc", filepath.Join(own, "evil")))
		d := open(t, e, judging(manifests.Policy{}, own))
		a := newApp(t, e, d)
		for name, change := range escapes(dir) {
			c := a.create(strings.ReplaceAll(name, " ", "-"), "aaaa", func(c *engine.Create) { c.Spec.Image = a.image }, change)
			id, err := d.Create(t.Context(), c)
			if !errors.Is(err, engine.ErrPolicy) && !errors.Is(err, engine.ErrUnsupported) {
				t.Errorf("%s: created %q, %v; want %v", name, id, err, engine.ErrPolicy)
			}
		}
		all, err := d.Containers(t.Context())
		must(t, err)
		for _, c := range all {
			if c.Labels[engine.LabelApp] == a.name {
				t.Errorf("container %s exists", c.Name)
			}
		}
		// What is the app's own is made.
		a.make(t, a.create("web", "aaaa", func(c *engine.Create) {
			c.Mounts = []engine.Mount{{Type: "bind", Source: own, Target: "/own"}}
		}))
	})
}

// TestEnginesFollowLinks shows why the sources of binds are followed before
// the engine does.
func TestEnginesFollowLinks(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		dir := t.TempDir()
		secret, own := filepath.Join(dir, "secret"), filepath.Join(dir, "own")
		must(t, os.Mkdir(secret, 0o755))
		must(t, os.Mkdir(own, 0o755))
		must(t, os.WriteFile(filepath.Join(secret, "file"), []byte("of the host\n"), 0o644))
		must(t, os.Symlink("../secret", filepath.Join(own, "evil")))
		c := func(a *app) engine.Create {
			return a.create("web", "aaaa", func(c *engine.Create) {
				c.Mounts = []engine.Mount{{Type: "bind", Source: filepath.Join(own, "evil"), Target: "/host", ReadOnly: true}}
			})
		}
		free := newApp(t, e, open(t, e))
		if got := free.exec(t, free.run(t, c(free)), "/testprogram", "cat", "/host/file"); got != "of the host\n" {
			t.Errorf("through the link: %q", got)
		}
		strict := open(t, e, judging(manifests.Policy{Binds: []string{own}}))
		if _, err := strict.Create(t.Context(), c(newApp(t, e, strict))); !errors.Is(err, engine.ErrPolicy) {
			t.Errorf("in strict: %v, want %v", err, engine.ErrPolicy)
		}
	})
}
