package docker_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/docker"
	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

var engines rig.Engines

func TestMain(m *testing.M) {
	code := engines.Main(m)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// open is the adapter of a rig's engine; it is closed with the test.
func open(t *testing.T, e *rig.Engine, change ...func(*docker.Options)) *docker.Engine {
	t.Helper()
	opts := docker.Options{Host: e.Host(), ConfigDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, f := range change {
		f(&opts)
	}
	d, err := docker.New(opts)
	must(t, err)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// app is one test's app: unique names, and networks that go with it.
type app struct {
	name   string
	image  string
	rig    *rig.Engine
	engine *docker.Engine
}

func newApp(t *testing.T, e *rig.Engine, d *docker.Engine) *app {
	t.Helper()
	return &app{
		name: rig.Unique("shop"), rig: e, engine: d,
		image: e.LoadImage(t, rig.Image{Name: "adapter:v1", Volumes: []string{"/anonymous"}}),
	}
}

func (a *app) labels(more map[string]string) map[string]string {
	out := map[string]string{
		engine.LabelEnvironment: "production", engine.LabelApp: a.name,
		engine.LabelComposeProject: a.name,
	}
	maps.Copy(out, more)
	return out
}

// network makes a network of the app with a subnet of its own.
func (a *app) network(t *testing.T, key string, subnet string) engine.Network {
	t.Helper()
	p := netip.MustParsePrefix(subnet)
	n, err := a.engine.EnsureNetwork(t.Context(), engine.NetworkSpec{
		Name: a.name + "_" + key, Labels: a.labels(map[string]string{engine.LabelComposeNetwork: key}),
		Subnets: []manifests.Subnet{{
			Subnet: subnet, Range: netip.PrefixFrom(p.Addr(), p.Bits()+1).String(), Gateway: p.Addr().Next().String(),
		}},
	})
	must(t, err)
	t.Cleanup(func() { _ = a.engine.RemoveNetwork(context.WithoutCancel(t.Context()), n.Name) })
	return n
}

// create describes a container of the app that waits until it is stopped.
func (a *app) create(service, release string, change ...func(*engine.Create)) engine.Create {
	c := engine.Create{
		Name: fmt.Sprintf("%s-%s-%s-1", a.name, service, release), Image: a.image, Restart: "no",
		Labels: a.labels(map[string]string{
			engine.LabelService: service, engine.LabelRelease: release, engine.LabelInstance: service + "-" + release + "-1",
		}),
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

// run creates and starts a container that goes with the test.
func (a *app) run(t *testing.T, c engine.Create) string {
	t.Helper()
	id := a.make(t, c)
	must(t, a.engine.Start(t.Context(), id))
	return id
}

func (a *app) make(t *testing.T, c engine.Create) string {
	t.Helper()
	id, err := a.engine.Create(t.Context(), c)
	must(t, err)
	a.removeAfter(t, id)
	return id
}

func (a *app) removeAfter(t *testing.T, id string) {
	t.Cleanup(func() {
		_ = a.rig.Do(context.WithoutCancel(t.Context()), "DELETE", "/containers/"+id+"?force=1&v=1", nil, nil)
	})
}

// container reads one past the cache.
func (a *app) container(t *testing.T, id string) engine.Container {
	t.Helper()
	c, err := a.engine.Container(t.Context(), id)
	must(t, err)
	return c
}

// exec runs a command in a container and wants it to succeed.
func (a *app) exec(t *testing.T, id string, command ...string) string {
	t.Helper()
	out, err := a.engine.Exec(t.Context(), id, manifests.Hook{Command: command}, 10*time.Second)
	must(t, err)
	if out.ExitCode != 0 {
		t.Fatalf("%v ended with %d: %s", command, out.ExitCode, out.Text)
	}
	return string(out.Text)
}

func args(words ...string) func(*engine.Create) {
	return func(c *engine.Create) { c.Spec.Command = &words }
}

// configDir is the folder of a config.json.
func configDir(path string) func(*docker.Options) {
	return func(o *docker.Options) { o.ConfigDir = filepath.Dir(path) }
}
