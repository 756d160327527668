package policy

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

func fields(found []Violation) []string {
	var out []string
	for _, v := range found {
		out = append(out, v.Field)
	}
	return out
}

func wantFields(t *testing.T, what string, found []Violation, want ...string) {
	t.Helper()
	if got := fields(found); !slices.Equal(got, want) {
		t.Errorf("%s: denied %v, want %v: %v", what, got, want, found)
	}
}

// TestLinksAreFollowed: a container that may write an allowed folder puts a
// link there, and the next commit mounts it.
func TestLinksAreFollowed(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	allowed, state := filepath.Join(top, "srv"), filepath.Join(top, "state")
	for _, dir := range []string{allowed + "/real", state + "/data/shop"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		allowed + "/evil": "/etc", allowed + "/good": "real", allowed + "/up": "..", allowed + "/socket": "/run",
		state + "/data/shop/evil": "/", top + "/alias": "srv", top + "/state2": "state",
	} {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	judged := func(source string, binds ...string) []Violation {
		p := manifests.Policy{Preset: manifests.PresetStrict, Binds: binds}
		return Judge(p, engine.Create{Mounts: []engine.Mount{{Type: "bind", Source: source}}},
			filepath.Join(state, "data/shop"), filepath.Join(top, "state2/blobs"))
	}
	for source, denied := range map[string]bool{
		"/srv/evil": true, "/srv/evil/shadow": true, "/srv/up/state": true, "/srv/socket/docker.sock": true, "/state/data/shop/evil": true,
		"/srv/good": false, "/srv/real": false, "/srv/new": false, "/srv/good/new": false,
		"/state2/blobs/x": false, "/state/data/shop/x": false,
	} {
		if got := judged(top+source, allowed); len(got) > 0 != denied {
			t.Errorf("%s: %v, want a denial: %t", source, got, denied)
		}
	}
	// A person may write an allowed folder by a name that is a link itself.
	if v := judged(top+"/alias/real", top+"/alias"); len(v) > 0 {
		t.Errorf("by a link of the policy: %v", v)
	}
	if v := judged(top+"/alias/evil", top+"/alias"); len(v) != 1 {
		t.Errorf("out of a link of the policy: %v, want a denial", v)
	}
}

func service(name string, mounts ...manifests.Mount) manifests.Service {
	return manifests.Service{Name: name, Container: manifests.Container{Mounts: mounts}}
}

// TestNestedBinds: who may write a folder may put a link where another mount's
// source is, whenever it likes.
func TestNestedBinds(t *testing.T) {
	data := func(source string, ro bool) manifests.Mount {
		return manifests.Mount{Kind: manifests.MountData, Source: source, ReadOnly: ro}
	}
	host := manifests.Mount{Kind: manifests.MountHost, Source: "/srv/a/b"}
	strict := manifests.Policy{Preset: manifests.PresetStrict, Binds: []string{"/srv"}}
	for name, c := range map[string]struct {
		app  []manifests.Service
		want []string
	}{
		"above":     {[]manifests.Service{service("a", data("up", false)), service("b", data("up/x", true))}, []string{"services.b.volumes[0]"}},
		"deep":      {[]manifests.Service{service("a", data("up", false)), service("b", data("up/x/../y/z", false))}, []string{"services.b.volumes[0]"}},
		"itself":    {[]manifests.Service{service("a", data("up", false), data("up/x", false))}, []string{"services.a.volumes[1]"}},
		"host":      {[]manifests.Service{service("a", manifests.Mount{Kind: manifests.MountHost, Source: "/srv/a"}), service("b", host)}, []string{"services.b.volumes[0]"}},
		"read-only": {[]manifests.Service{service("a", data("up", true)), service("b", data("up/x", false))}, nil},
		"beside":    {[]manifests.Service{service("a", data("up", false)), service("b", data("upper/x", false))}, nil},
		"same":      {[]manifests.Service{service("a", data("up", false)), service("b", data("up", false))}, nil},
	} {
		app := &manifests.App{Services: c.app}
		wantFields(t, name, JudgeApp(strict, app, "/repo", nil), c.want...)
		wantFields(t, name+" in preset compose", JudgeApp(manifests.Policy{Preset: manifests.PresetCompose}, app, "/repo", nil))
	}
}

// TestSubnets: a subnet of a file's own takes the host's traffic to it.
func TestSubnets(t *testing.T) {
	for _, c := range []struct {
		subnet string
		policy manifests.Policy
		denied bool
	}{
		{"172.28.0.0/16", manifests.Policy{}, false},
		{"fd00:1::/64", manifests.Policy{}, false},
		{"10.0.0.0/8", manifests.Policy{}, true},
		{"8.8.8.0/24", manifests.Policy{}, true},
		{"169.254.169.0/24", manifests.Policy{}, true},
		{"2001:4860::/32", manifests.Policy{}, true},
		{"8.8.8.0/24", manifests.Policy{Preset: manifests.PresetCompose}, false},
		{"8.8.8.0/24", manifests.Policy{Subnets: []string{"8.8.0.0/16"}}, false},
		{"8.8.0.0/15", manifests.Policy{Subnets: []string{"8.8.0.0/16"}}, true},
		{"172.28.0.0/16", manifests.Policy{Preset: manifests.PresetCompose, Subnets: []string{"10.0.0.0/8"}}, true},
	} {
		app := &manifests.App{Project: "shop", Networks: []manifests.Network{
			{Key: "n", Name: "shop_n", Subnets: []manifests.Subnet{{Subnet: c.subnet}}},
		}}
		if got := JudgeApp(c.policy, app, "/repo", nil); len(got) > 0 != c.denied {
			t.Errorf("%s with %+v: %v, want a denial: %t", c.subnet, c.policy, got, c.denied)
		}
	}
}

// TestRoutesKeepToTheirNames: a route without a host name takes all of them,
// and one may name its ports.
func TestRoutesKeepToTheirNames(t *testing.T) {
	p := manifests.Policy{Hostnames: []string{"*.example.com"}, Ports: []string{"8000-8999"}}
	app := &manifests.App{Services: []manifests.Service{{Name: "a", Routes: []manifests.Route{
		{Path: "/", Target: 1},
		{Host: "a.example.com", Target: 1, Listen: []uint16{80, 22, 8080}},
		{Published: 8080, Target: 1},
	}}}}
	wantFields(t, "routes", JudgeApp(p, app, "/repo", []uint16{80}),
		"services.a.x-remora.routes[0].host", "services.a.x-remora.routes[1].listen[1]")
	p.Hostnames = []string{"*"}
	wantFields(t, "all names", JudgeApp(p, app, "/repo", []uint16{80, 22}))
}

// TestVolumesOnFolders: a volume of the local driver mounts what its options
// say; a host that allows them still names the folders.
func TestVolumesOnFolders(t *testing.T) {
	yes := true
	p := manifests.Policy{DriverOpts: &yes, Binds: []string{"/srv"}}
	denied := map[string]bool{}
	opts := map[string]map[string]string{
		"absolute": {"type": "none", "o": "bind", "device": "/etc"},
		"relative": {"type": "none", "o": "bind", "device": "etc"},
		"dots":     {"type": "none", "o": "bind", "device": "/repo/../etc"},
		"overlay":  {"type": "overlay", "o": "lowerdir=/etc,upperdir=/srv/u,workdir=/srv/w", "device": "overlay"},
		"disk":     {"type": "ext4", "device": "/dev/sda1"},
		"allowed":  {"type": "none", "o": "bind", "device": "/srv/x"},
		"memory":   {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"},
		"nfs":      {"type": "nfs", "device": ":/export", "o": "addr=10.0.0.1"},
	}
	for key, o := range opts {
		app := &manifests.App{Project: "shop", Volumes: []manifests.Volume{{Key: key, Name: "shop_" + key, DriverOpts: o}}}
		denied[key] = len(JudgeApp(p, app, "/repo", nil)) > 0
	}
	want := map[string]bool{
		"absolute": true, "relative": true, "dots": true, "overlay": true, "disk": true,
		"allowed": false, "memory": false, "nfs": false,
	}
	if diff := cmp.Diff(want, denied); diff != "" {
		t.Errorf("denied (-want +got):\n%s", diff)
	}
}
