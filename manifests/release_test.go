package manifests_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/remorahq/remora/manifests"
)

// fixture is an app with the releases that this version gave it for good.
type fixture struct {
	App      manifests.App
	Images   map[string]manifests.ImageIdentity
	Releases map[string]manifests.Release
}

// TestReleaseFixtures: a release computed once never changes, or an upgrade
// would recreate every container. The files are never rewritten.
func TestReleaseFixtures(t *testing.T) {
	files, err := filepath.Glob("testdata/release-v1/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var f fixture
			if err := json.Unmarshal(data, &f); err != nil {
				t.Fatal(err)
			}
			got := map[string]manifests.Release{}
			for _, s := range f.App.Services {
				if got[s.Name], err = f.App.Release(s.Name, f.Images); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(f.Releases, got); diff != "" {
				t.Errorf("releases (-want +got):\n%s", diff)
			}
		})
	}
}

func example() manifests.App {
	grace := 20 * time.Second
	return manifests.App{
		Source: "main", Environment: "prod", Name: "shop", Project: "shop",
		Networks: []manifests.Network{{Key: "default", Name: "shop_default"}},
		Volumes:  []manifests.Volume{{Key: "data", Name: "shop_data"}},
		Services: []manifests.Service{
			{
				Name: "web", Unit: "web", Kind: manifests.KindEndpoint, Replicas: 2,
				Container: manifests.Container{
					Image: "web:v1", Environment: map[string]string{"A": "1", "B": "2"}, StopGrace: &grace,
					Networks: []manifests.Attachment{{Network: "default"}},
					Mounts:   []manifests.Mount{{Kind: manifests.MountVolume, Source: "data", Target: "/data"}},
				},
				Files: []manifests.File{{Path: "a", Mode: "100644", ID: "1"}, {Path: "b", Mode: "100755", ID: "2"}},
			},
			{
				Name: "side", Unit: "web",
				Container: manifests.Container{Image: "side:v1", NetworkMode: "service:web"},
			},
			{Name: "db", Unit: "db", Container: manifests.Container{Image: "db:16"}},
		},
	}
}

func images(a manifests.App) map[string]manifests.ImageIdentity {
	out := map[string]manifests.ImageIdentity{}
	for _, s := range a.Services {
		out[s.Name] = manifests.ImageIdentity{Digest: "sha256:" + s.Name}
	}
	return out
}

func release(t testing.TB, a manifests.App, service string) manifests.Release {
	t.Helper()
	r, err := a.Release(service, images(a))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestReleaseKeeps: how a release is rolled out makes no new one.
func TestReleaseKeeps(t *testing.T) {
	want := release(t, example(), "web")
	if want.Version() != "v1" || len(want.Short()) != 8 || !strings.Contains(string(want), ":"+want.Short()) {
		t.Fatalf("release %q has short form %q", want, want.Short())
	}
	for name, change := range map[string]func(*manifests.App){
		"source": func(a *manifests.App) { a.Source = "other" },
		"environment": func(a *manifests.App) {
			a.Environment, a.Project = "test", "test-shop"
			a.Networks[0].Name = "test-shop_default"
			a.Volumes[0].Name = "test-shop_data"
		},
		"replicas":     func(a *manifests.App) { a.Services[0].Replicas = 5 },
		"dependencies": func(a *manifests.App) { a.Services[0].DependsOn = []manifests.Dependency{{Service: "db"}} },
		"order":        func(a *manifests.App) { a.Services[0].Order, a.Services[0].OrderWhy = manifests.StopFirst, "why" },
		"update":       func(a *manifests.App) { a.Services[0].Update.Monitor = time.Hour },
		"standby":      func(a *manifests.App) { a.Services[0].Standby.For = time.Hour },
		"probe":        func(a *manifests.App) { a.Services[0].Probe = &manifests.Probe{HTTP: "/"} },
		"routes":       func(a *manifests.App) { a.Services[0].Routes = []manifests.Route{{Host: "a", Target: 80}} },
		"ports": func(a *manifests.App) {
			a.Services[0].Ports = []manifests.Port{{Published: 80, Target: 80}}
			a.Services[0].Expose = []uint16{80}
		},
		"positions": func(a *manifests.App) { a.Services[0].Positions = map[string]manifests.Position{"image": {Line: 1}} },
		"host inputs": func(a *manifests.App) {
			a.Services[0].HostInputs = map[string]string{"/e": "1"}
			a.Services[0].HostEnv = map[string]string{"X": "1"}
		},
		"pull policy":        func(a *manifests.App) { a.Services[0].PullPolicy = "always" },
		"another unit":       func(a *manifests.App) { a.Services[2].Container.Image = "db:17" },
		"file order":         func(a *manifests.App) { f := a.Services[0].Files; f[0], f[1] = f[1], f[0] },
		"label of a network": func(a *manifests.App) { a.Networks[0].Labels = map[string]string{"a": "b"} },
		"warnings":           func(a *manifests.App) { a.Warnings = []manifests.Diagnostic{{Message: "x"}}; a.Tree = "t" },
	} {
		a := example()
		change(&a)
		if got := release(t, a, "web"); got != want {
			t.Errorf("%s: made a new release", name)
		}
	}
}

// TestReleaseChanges: what the containers are made from makes a new one, of
// the whole unit.
func TestReleaseChanges(t *testing.T) {
	before := release(t, example(), "web")
	if joined := release(t, example(), "side"); joined != before {
		t.Errorf("members of a unit have releases %s and %s", before, joined)
	}
	for name, change := range map[string]func(*manifests.App, map[string]manifests.ImageIdentity){
		"digest": func(_ *manifests.App, im map[string]manifests.ImageIdentity) {
			im["web"] = manifests.ImageIdentity{Digest: "sha256:x"}
		},
		"local image": func(_ *manifests.App, im map[string]manifests.ImageIdentity) {
			im["web"] = manifests.ImageIdentity{Digest: "sha256:web", Local: true}
		},
		"sidecar":         func(a *manifests.App, _ map[string]manifests.ImageIdentity) { a.Services[1].Container.User = "1" },
		"file content":    func(a *manifests.App, _ map[string]manifests.ImageIdentity) { a.Services[0].Files[0].ID = "9" },
		"file mode":       func(a *manifests.App, _ map[string]manifests.ImageIdentity) { a.Services[0].Files[0].Mode = "100755" },
		"network":         func(a *manifests.App, _ map[string]manifests.ImageIdentity) { a.Networks[0].Internal = true },
		"name of network": func(a *manifests.App, _ map[string]manifests.ImageIdentity) { a.Networks[0].Name = "other" },
		"volume":          func(a *manifests.App, _ map[string]manifests.ImageIdentity) { a.Volumes[0].External = true },
		"command": func(a *manifests.App, _ map[string]manifests.ImageIdentity) {
			a.Services[0].Container.Command = &[]string{}
		},
	} {
		a := example()
		im := images(a)
		change(&a, im)
		got, err := a.Release("web", im)
		if err != nil {
			t.Fatal(err)
		}
		if got == before {
			t.Errorf("%s: made no new release", name)
		}
	}
}

func TestReleaseNeedsImages(t *testing.T) {
	a := example()
	for service, im := range map[string]map[string]manifests.ImageIdentity{
		"none": images(a), "web": {"web": {Digest: "sha256:x"}}, "db": {"db": {}},
	} {
		if r, err := a.Release(service, im); err == nil {
			t.Errorf("%s: got %s, want an error", service, r)
		}
	}
}

// TestEveryFieldOfAContainerCounts sets each field of a container by
// reflection and expects another release for it.
func TestEveryFieldOfAContainerCounts(t *testing.T) {
	base := release(t, example(), "db")
	seen := map[manifests.Release]string{base: "none"}
	typ := reflect.TypeFor[manifests.Container]()
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		a := example()
		fill(reflect.ValueOf(&a.Services[2].Container).Elem().Field(i))
		got := release(t, a, "db")
		if other, twice := seen[got]; twice {
			t.Errorf("%s: same release as with %s set", name, other)
		}
		seen[got] = name
	}
}

// fill gives v a value that is not its zero.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("filled")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"k": "v"}))
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field)
		}
	default:
		panic(fmt.Sprintf("fill %s", v.Type()))
	}
}

// TestReleaseProperties: the release does not depend on the order of maps and
// lists of services, survives its JSON form, and two values of the environment
// never share one.
func TestReleaseProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		env := rapid.MapOf(rapid.StringMatching(`[A-Z]{1,3}`), rapid.String()).Draw(t, "env")
		a := example()
		a.Services[2].Container.Environment = env
		want, err := a.Release("db", images(a))
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var back manifests.App
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		shuffled := rapid.Permutation(back.Services).Draw(t, "services")
		back.Services = shuffled
		if got, _ := back.Release("db", images(back)); got != want {
			t.Fatalf("release %s, in another order %s", want, got)
		}
		key := rapid.StringMatching(`[A-Z]{4}`).Draw(t, "key")
		changed := map[string]string{key: "x"}
		maps.Copy(changed, env)
		a.Services[2].Container.Environment = changed
		if got, _ := a.Release("db", images(a)); got == want {
			t.Fatalf("adding %s made no new release", key)
		}
	})
}

func TestHostrev(t *testing.T) {
	a := example()
	if got := a.Hostrev("web", []byte("key")); got != "" {
		t.Errorf("hostrev without host inputs = %q, want none", got)
	}
	a.Services[1].HostInputs = map[string]string{"/etc/a.env": "1"}
	first := a.Hostrev("web", []byte("key"))
	if first == "" || first != a.Hostrev("side", []byte("key")) {
		t.Errorf("members of a unit have hostrevs %q and %q", first, a.Hostrev("side", []byte("key")))
	}
	if first == a.Hostrev("web", []byte("other")) {
		t.Error("hostrev does not depend on the key")
	}
	a.Services[1].HostInputs["/etc/a.env"] = "2"
	if first == a.Hostrev("web", []byte("key")) {
		t.Error("hostrev does not depend on the content")
	}
}
