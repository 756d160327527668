package docker_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/docker"
	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

// TestLifecycle takes one container through all that a rollout does to it,
// each step twice.
func TestLifecycle(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		a := newApp(t, e, d)
		front, back := a.network(t, "front", "10.77.0.0/24"), a.network(t, "back", "10.77.1.0/24")
		must(t, d.EnsureVolume(t.Context(), engine.VolumeSpec{Name: a.name + "_data", Labels: a.labels(nil)}))
		t.Cleanup(func() { _ = e.Do(context.WithoutCancel(t.Context()), "DELETE", "/volumes/"+a.name+"_data", nil, nil) })
		want := map[string]netip.Addr{front.Name: netip.MustParseAddr("10.77.0.200"), back.Name: netip.MustParseAddr("10.77.1.200")}
		spec := a.create("web", "aaaa", func(c *engine.Create) {
			c.Networks = []engine.Endpoint{
				{Network: front.Name, Address: want[front.Name]}, {Network: back.Name, Address: want[back.Name]},
			}
			c.Mounts = []engine.Mount{{Type: "volume", Source: a.name + "_data", Target: "/data"}}
		})
		id := a.make(t, spec)
		at := func(state engine.State) engine.Container {
			t.Helper()
			c := a.container(t, id)
			if c.State != state {
				t.Fatalf("container is %s, not %s", c.State, state)
			}
			if diff := cmp.Diff(want, c.Addresses, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("%s: addresses (-want +got):\n%s", state, diff)
			}
			return c
		}
		twice := func(what string, f func() error) {
			t.Helper()
			for range 2 {
				if err := f(); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
			}
		}
		ctx := t.Context()
		at(engine.Created)
		twice("start", func() error { return d.Start(ctx, id) })
		if c := at(engine.Running); c.Started.IsZero() || c.Pid == 0 || !c.Ours() || c.Restart != "no" {
			t.Errorf("running container: %+v", c)
		}
		a.exec(t, id, "/testprogram", "write", "/data/row", "important")
		twice("pause", func() error { return d.Pause(ctx, id) })
		at(engine.Paused)
		if err := d.Start(ctx, id); !errors.Is(err, engine.ErrConflict) {
			t.Errorf("start of a paused container: %v", err)
		}
		twice("set restart policy while paused", func() error { return d.SetRestart(ctx, id, "unless-stopped") })
		if c := at(engine.Paused); c.Restart != "unless-stopped" {
			t.Errorf("restart policy is %q", c.Restart)
		}
		twice("unpause", func() error { return d.Unpause(ctx, id) })
		at(engine.Running)
		twice("rename", func() error { return d.Rename(ctx, id, a.name+"-web-1") })
		if c := at(engine.Running); c.Name != a.name+"-web-1" {
			t.Errorf("name is %q", c.Name)
		}
		must(t, d.Kill(ctx, id, "SIGUSR1"))
		rig.Eventually(t, 5*time.Second, "wait for the signal", func() error {
			out, err := d.Logs(ctx, id, 4096)
			if err == nil && strings.Count(string(out.Text), "signal user defined signal 1") != 1 {
				err = fmt.Errorf("not sent once: %s", out.Text)
			}
			return err
		})
		twice("pause", func() error { return d.Pause(ctx, id) })
		twice("stop while paused", func() error { return d.Stop(ctx, id, "", 5*time.Second) })
		if c := at(engine.Exited); c.ExitCode != 0 || c.Finished.IsZero() {
			t.Errorf("stopped gracefully: %+v", c)
		}
		if err := d.Pause(ctx, id); !errors.Is(err, engine.ErrConflict) {
			t.Errorf("pause of a stopped container: %v", err)
		}
		if err := d.Unpause(ctx, id); !errors.Is(err, engine.ErrConflict) {
			t.Errorf("unpause of a stopped container: %v", err)
		}
		twice("kill", func() error { return d.Kill(ctx, id, "") })
		twice("signal", func() error { return d.Kill(ctx, id, "SIGHUP") })
		twice("start again", func() error { return d.Start(ctx, id) })
		at(engine.Running)
		must(t, d.Remove(ctx, id))
		for what, err := range map[string]error{
			"remove": d.Remove(ctx, id), "start": d.Start(ctx, id), "stop": d.Stop(ctx, id, "", 0), "kill": d.Kill(ctx, id, ""),
			"pause": d.Pause(ctx, id), "unpause": d.Unpause(ctx, id), "rename": d.Rename(ctx, id, a.name), "restart": d.SetRestart(ctx, id, "no"),
		} {
			if !errors.Is(err, engine.ErrNotFound) {
				t.Errorf("%s of a container that is gone: %v", what, err)
			}
		}
		next := a.run(t, a.create("web", "bbbb", func(c *engine.Create) { c.Networks, c.Mounts = spec.Networks, spec.Mounts }))
		if got := a.exec(t, next, "/testprogram", "cat", "/data/row"); got != "important\n" {
			t.Errorf("the volume lost its data: %q", got)
		}
	})
}

func TestCreate(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		a := newApp(t, e, d)
		first := a.create("web", "aaaa")
		id := a.make(t, first)
		if again, err := d.Create(t.Context(), first); err != nil || again != id {
			t.Errorf("created again: %s, %v; not %s", again, err, id)
		}
		other := a.create("web", "bbbb", func(c *engine.Create) { c.Name = first.Name })
		_, err := d.Create(t.Context(), other)
		if !errors.Is(err, engine.ErrConflict) || !strings.Contains(err.Error(), engine.LabelRelease) {
			t.Errorf("another release of the same name: %v", err)
		}
		other = a.create("web", "aaaa", func(c *engine.Create) { c.Labels[engine.LabelHostrev] = "another" })
		if _, err := d.Create(t.Context(), other); !errors.Is(err, engine.ErrConflict) || !strings.Contains(err.Error(), engine.LabelHostrev) {
			t.Errorf("other inputs of the host: %v", err)
		}
		n := a.network(t, "default", "10.82.0.0/24")
		at := func(address string) func(c *engine.Create) {
			return func(c *engine.Create) {
				c.Networks = []engine.Endpoint{{Network: n.Name, Address: netip.MustParseAddr(address)}}
			}
		}
		a.make(t, a.create("db", "aaaa", at("10.82.0.200")))
		if _, err := d.Create(t.Context(), a.create("db", "aaaa", at("10.82.0.201"))); !errors.Is(err, engine.ErrConflict) {
			t.Errorf("another address: %v", err)
		}
		missing := a.create("web", "cccc", func(c *engine.Create) { c.Image = "nobody/has:this" })
		if _, err := d.Create(t.Context(), missing); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("an image that is not there: %v", err)
		}
	})
}

func TestCreateAsksThePolicy(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	denial := errors.New("privileged is not allowed: set policy.privileged")
	d := open(t, e, func(o *docker.Options) {
		o.Judge = func(c engine.Create) error {
			if c.Spec.Privileged {
				return denial
			}
			return nil
		}
	})
	a := newApp(t, e, d)
	a.make(t, a.create("web", "aaaa"))
	c := a.create("web", "bbbb", func(c *engine.Create) { c.Spec.Privileged = true })
	if _, err := d.Create(t.Context(), c); !errors.Is(err, engine.ErrPolicy) || !errors.Is(err, denial) {
		t.Errorf("a denied payload: %v", err)
	}
	if _, err := d.Container(t.Context(), c.Name); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("the denied container: %v", err)
	}
}

// TestEmptyCommandClearsTheImages: the engine by itself would run the image's.
func TestEmptyCommandClearsTheImages(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		a := newApp(t, e, d)
		a.image = e.LoadImage(t, rig.Image{Name: "adapter:cmd", Cmd: []string{"once"}})
		var path struct{ Args []string }
		e.Call(t, "GET", "/containers/"+a.make(t, a.create("web", "aaaa", args()))+"/json", nil, &path)
		if len(path.Args) != 0 {
			t.Errorf("`command: []` runs with %v", path.Args)
		}
	})
}

// TestAnonymousVolumeIsCarriedOver finds an anonymous volume of one container
// and gives it to the next.
func TestAnonymousVolumeIsCarriedOver(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		a := newApp(t, e, d)
		first := a.run(t, a.create("db", "aaaa"))
		a.exec(t, first, "/testprogram", "write", "/anonymous/row", "kept")
		mounts := a.container(t, first).Mounts
		if len(mounts) != 1 || mounts[0].Type != "volume" || len(mounts[0].Name) != 64 || mounts[0].Target != "/anonymous" || !mounts[0].Writable {
			t.Fatalf("mounts: %+v", mounts)
		}
		must(t, d.Remove(t.Context(), first))
		second := a.run(t, a.create("db", "bbbb", func(c *engine.Create) {
			c.Mounts = []engine.Mount{{Type: "volume", Source: mounts[0].Name, Target: mounts[0].Target}}
		}))
		if got := a.exec(t, second, "/testprogram", "cat", "/anonymous/row"); got != "kept\n" {
			t.Errorf("the next container reads %q", got)
		}
	})
}

func TestStopSignalAndGrace(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		a := newApp(t, e, d)
		stubborn := a.run(t, a.create("web", "aaaa", func(c *engine.Create) { c.Env = map[string]string{"APP_TEMPER": "stubborn"} }))
		rig.Eventually(t, 5*time.Second, "wait for the program", func() error { return listening(a, t, stubborn) })
		began := time.Now()
		must(t, d.Stop(t.Context(), stubborn, "", time.Second))
		if took := time.Since(began); took < 900*time.Millisecond || took > 4*time.Second {
			t.Errorf("a program that ignores SIGTERM was stopped after %s", took)
		}
		if c := a.container(t, stubborn); c.ExitCode != 137 || c.OOMKilled {
			t.Errorf("killed: exit code %d, OOM %v", c.ExitCode, c.OOMKilled)
		}
		other := a.run(t, a.create("web", "bbbb"))
		rig.Eventually(t, 5*time.Second, "wait for the program", func() error { return listening(a, t, other) })
		must(t, d.Stop(t.Context(), other, "SIGINT", 10*time.Second))
		out, err := d.Logs(t.Context(), other, 4096)
		if text := string(out.Text); err != nil || !strings.Contains(text, "signal interrupt") || strings.Contains(text, "signal terminated") {
			t.Errorf("stopped by SIGINT: %v: %s", err, text)
		}
	})
}

// listening says whether the program has begun, by its output.
func listening(a *app, t *testing.T, id string) error {
	out, err := a.engine.Logs(t.Context(), id, 4096)
	if err == nil && !strings.Contains(string(out.Text), "start version") {
		err = errors.New("no output yet")
	}
	return err
}

func TestExitCode(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		a := newApp(t, e, d)
		id := a.run(t, a.create("job", "aaaa", args("-exit-code", "7", "once")))
		var c engine.Container
		rig.Eventually(t, 10*time.Second, "wait for the job", func() error {
			if c = a.container(t, id); c.State != engine.Exited {
				return errors.New(string(c.State))
			}
			return nil
		})
		if c.ExitCode != 7 || c.OOMKilled || c.StateError != "" {
			t.Errorf("ended job: %+v", c)
		}
		broken := a.make(t, a.create("job", "bbbb", func(c *engine.Create) { c.Spec.Entrypoint = &[]string{"/nothing/here"} }))
		if err := d.Start(t.Context(), broken); err == nil {
			t.Error("a program that is not there was started")
		}
		if c := a.container(t, broken); c.StateError == "" {
			t.Errorf("failed start: %+v", c)
		}
	})
}

// TestConflicts has the errors that another container causes.
func TestConflicts(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		a := newApp(t, e, d)
		n := a.network(t, "default", "10.78.0.0/24")
		at := func(c *engine.Create) {
			c.Networks = []engine.Endpoint{{Network: n.Name, Address: netip.MustParseAddr("10.78.0.200")}}
		}
		a.run(t, a.create("web", "aaaa", at))
		second, err := d.Create(t.Context(), a.create("web", "bbbb", at))
		if err == nil {
			a.removeAfter(t, second)
			err = d.Start(t.Context(), second)
		}
		if !errors.Is(err, engine.ErrConflict) || !strings.Contains(err.Error(), "fixed address taken") {
			t.Errorf("the same fixed address: %v", err)
		}
		port := func(c *engine.Create) {
			c.Spec.Published = []manifests.Port{{Published: 5353, Target: 53, Protocol: "udp", Docker: true}}
		}
		a.run(t, a.create("dns", "aaaa", port))
		if err := d.Start(t.Context(), a.make(t, a.create("dns", "bbbb", port))); !errors.Is(err, engine.ErrPortInUse) {
			t.Errorf("the same published port: %v", err)
		}
		if err := d.RemoveNetwork(t.Context(), n.Name); !errors.Is(err, engine.ErrConflict) {
			t.Errorf("remove a network in use: %v", err)
		}
		if err := d.Rename(t.Context(), second, a.name+"-web-aaaa-1"); second != "" && !errors.Is(err, engine.ErrConflict) {
			t.Errorf("rename to a name that is taken: %v", err)
		}
	})
}

func TestUnavailable(t *testing.T) {
	d, err := docker.New(docker.Options{Host: "unix://" + t.TempDir() + "/docker.sock"})
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	for what, err := range map[string]error{
		"start": d.Start(t.Context(), "x"), "create": second(d.Create(t.Context(), engine.Create{Name: "x"})),
		"containers": second(d.Containers(t.Context())), "info": second(d.Info(t.Context())), "pull": second(d.Pull(t.Context(), "x", "", nil)),
	} {
		if !errors.Is(err, engine.ErrUnavailable) {
			t.Errorf("%s without an engine: %v", what, err)
		}
	}
}

// TestHungEngine takes connections and does not answer.
func TestHungEngine(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	l := newLine(t, e)
	d := open(t, e, l.through, func(o *docker.Options) { o.Timeout = 200 * time.Millisecond })
	_, err := d.Info(t.Context())
	must(t, err)
	l.cut()
	l.hangs.Store(true)
	l.connect(t)
	for what, err := range map[string]error{
		"containers": second(d.Containers(t.Context())), "info": second(d.Info(t.Context())), "image": second(d.Image(t.Context(), "x")),
	} {
		if !errors.Is(err, engine.ErrUnavailable) || !strings.Contains(err.Error(), "no answer within 200ms") {
			t.Errorf("%s of an engine that hangs: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
