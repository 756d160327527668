package load

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/remorahq/remora/manifests"
)

// FuzzLoad loads arbitrary compose files: an app has errors that say
// something, or is whole; no path of it leaves the repository.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"!reset", "s:\n a: &a\n    <<: *a", "services: {a: {image: a}}", "services: {a: !reset null}",
		"services: {a: {image: a, ports: !override ['80:80']}}",
		"services:\n  a: &x\n    image: a\n  b:\n    <<: [*x, *x]\n    command: ${A:-${B:-c}}\n",
		"services: {a: {extends: a}}", "include: [compose.yaml]\nservices: {a: {image: a}}", "a: b\n---\nservices: {a: {image: a}}",
		"services: {a: {image: a, volumes: ['../../..:/x', '~:/y', ':/z', 'a:', '/x', './x:/x:rw,z']}}",
		"services: {a: {image: a, deploy: {replicas: 9223372036854775807}}}",
		"services: {a: {image: a, x-remora: {standby: {for: 1m}, routes: [{}], probe: 5}}}",
	} {
		f.Add([]byte(seed))
	}
	archives, err := filepath.Glob("testdata/load/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range archives {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, a := range ar.Files {
			if strings.HasSuffix(a.Name, ".yaml") {
				f.Add(a.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		root := t.TempDir()
		if err := os.WriteFile(filepath.Join(root, "compose.yaml"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		out := Load(t.Context(), manifests.LoadRequest{
			Root: root, Bare: true, Primary: true, Host: "h", Environment: "e", CPUs: 2,
			Policy: manifests.Policy{Preset: manifests.PresetCompose},
		})
		if len(out.Apps)+len(out.Failed)+len(out.Diagnostics) == 0 {
			t.Fatal("neither an app nor an error")
		}
		for _, fail := range out.Failed {
			checkFailed(t, fail)
		}
		for i := range out.Apps {
			checkApp(t, &out.Apps[i])
		}
	})
}

func checkFailed(t *testing.T, f manifests.Failed) {
	t.Helper()
	if len(f.Diagnostics.Errors()) == 0 {
		t.Error("failed without an error")
	}
	for _, d := range f.Diagnostics {
		if d.Message == "" || d.File == "" || strings.HasPrefix(d.File, "/") {
			t.Errorf("diagnostic says not what or where: %+v", d)
		}
		if strings.Contains(d.Message, "made the loader panic") {
			t.Log(d.Message) // the library's, and survived
		}
	}
}

func checkApp(t *testing.T, a *manifests.App) {
	t.Helper()
	data, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var back manifests.App
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*a, back, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("the answer changes on its way (-sent +received):\n%s", diff)
	}
	for _, s := range a.Services {
		if s.Kind == "" || s.Order == "" || s.OrderWhy == "" || s.Standby.State == "" || s.Replicas < 0 || s.Replicas > maxReplicas {
			t.Errorf("service is not whole: %+v", s)
		}
		for _, m := range s.Container.Mounts {
			inside := m.Kind == manifests.MountRepo || m.Kind == manifests.MountData
			if inside && slices.Contains(strings.Split(m.Source, "/"), "..") {
				t.Errorf("mount %+v leaves the repository", m)
			}
		}
	}
}

// FuzzVariables: the judgement of unset variables agrees with the library: a
// text without unset variables interpolates, and setting the variables that
// are reported leaves none.
func FuzzVariables(f *testing.F) {
	for _, seed := range []string{"$A", "${A}", "$$A", "${A:-b}", "${A:?b}", "${A:+${B}}", "${A:-${B-$C}}", "${", "$", "${A-}$B", "a$1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		env := map[string]string{"SET": "1", "EMPTY": ""}
		var asked []string
		for _, ref := range unset(text, env) {
			asked = append(asked, ref.name)
		}
		if len(asked) > 0 {
			for _, name := range asked {
				env[name] = "x"
			}
			return
		}
		if _, err := substitute(text, env); err != nil && strings.Contains(err.Error(), "required variable") {
			t.Errorf("%q: nothing is unset, yet: %v", text, err)
		}
	})
}
