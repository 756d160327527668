package docker_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

func TestNetworks(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		a := newApp(t, e, d)
		made := a.network(t, "default", "10.79.0.0/24")
		want := []manifests.Subnet{{Subnet: "10.79.0.0/24", Range: "10.79.0.0/25", Gateway: "10.79.0.1"}}
		if diff := cmp.Diff(want, made.Subnets); diff != "" {
			t.Errorf("subnets: %s", diff)
		}
		if !strings.HasPrefix(made.Bridge, "br-") || made.Driver != "bridge" || made.Scope != "local" || made.Internal {
			t.Errorf("network: %+v", made)
		}
		if again := a.network(t, "default", "10.79.0.0/24"); again.ID != made.ID {
			t.Errorf("made twice: %s, %s", made.ID, again.ID)
		}
		for what, spec := range map[string]engine.NetworkSpec{
			"subnets": {Name: made.Name, Labels: made.Labels, Subnets: []manifests.Subnet{{Subnet: "10.79.1.0/24"}}},
			"label " + engine.LabelApp: {Name: made.Name, Labels: map[string]string{
				engine.LabelEnvironment: "production", engine.LabelApp: "another",
			}},
			"internal": {Name: made.Name, Labels: made.Labels, Internal: true},
		} {
			if _, err := d.EnsureNetwork(t.Context(), spec); !errors.Is(err, engine.ErrConflict) || !strings.Contains(err.Error(), what) {
				t.Errorf("another %s: %v", what, err)
			}
		}
		overlap := engine.NetworkSpec{Name: a.name + "_overlap", Subnets: want}
		if _, err := d.EnsureNetwork(t.Context(), overlap); !errors.Is(err, engine.ErrConflict) || !strings.Contains(err.Error(), "overlaps") {
			t.Errorf("an overlapping subnet: %v", err)
		}
		id := a.run(t, a.create("web", "aaaa", func(c *engine.Create) { c.Networks = []engine.Endpoint{{Network: made.Name}} }))
		all, err := d.Networks(t.Context())
		must(t, err)
		i := slices.IndexFunc(all, func(n engine.Network) bool { return n.ID == made.ID })
		if i < 0 || all[i].Addresses[id] != a.container(t, id).Addresses[made.Name] || !all[i].Addresses[id].Is4() {
			t.Errorf("addresses in use: %+v", all)
		}
		if i := slices.IndexFunc(all, func(n engine.Network) bool { return n.Name == "bridge" }); i < 0 || all[i].Bridge != "docker0" {
			t.Errorf("the engine's own bridge: %+v", all)
		}
		testConnect(t, a, id)
		must(t, d.Remove(t.Context(), id))
		must(t, d.RemoveNetwork(t.Context(), made.Name))
		if err := d.RemoveNetwork(t.Context(), made.Name); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("removed twice: %v", err)
		}
	})
}

func testConnect(t *testing.T, a *app, id string) {
	t.Helper()
	n := a.network(t, "back", "10.79.2.0/24")
	for range 2 {
		must(t, a.engine.Connect(t.Context(), n.Name, id, engine.Endpoint{Network: n.Name, Aliases: []string{"x"}}))
	}
	if got := a.container(t, id).Addresses; len(got) != 2 || !strings.HasPrefix(got[n.Name].String(), "10.79.2.") {
		t.Errorf("addresses: %v", got)
	}
	for range 2 {
		must(t, a.engine.Disconnect(t.Context(), n.Name, id))
	}
	if got := a.container(t, id).Addresses; len(got) != 1 {
		t.Errorf("addresses: %v", got)
	}
}

func TestVolumes(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		a := newApp(t, e, d)
		spec := engine.VolumeSpec{Name: a.name + "_data", Labels: a.labels(map[string]string{engine.LabelComposeVolume: "data"})}
		t.Cleanup(func() { _ = e.Do(context.WithoutCancel(t.Context()), "DELETE", "/volumes/"+spec.Name, nil, nil) })
		for range 2 {
			must(t, d.EnsureVolume(t.Context(), spec))
		}
		all, err := d.Volumes(t.Context())
		must(t, err)
		i := slices.IndexFunc(all, func(v engine.Volume) bool { return v.Name == spec.Name })
		if i < 0 || all[i].Driver != "local" || all[i].Created.IsZero() || all[i].Labels[engine.LabelComposeVolume] != "data" {
			t.Fatalf("volumes: %+v", all)
		}
		other := spec
		other.Labels = a.labels(map[string]string{engine.LabelApp: "another"})
		if err := d.EnsureVolume(t.Context(), other); !errors.Is(err, engine.ErrConflict) || !strings.Contains(err.Error(), "data is left alone") {
			t.Errorf("a volume of another app: %v", err)
		}
		other = spec
		other.DriverOpts = map[string]string{"type": "tmpfs"}
		if err := d.EnsureVolume(t.Context(), other); !errors.Is(err, engine.ErrConflict) {
			t.Errorf("a volume with other options: %v", err)
		}
	})
}
