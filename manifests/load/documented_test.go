package load

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/remorahq/remora/manifests"
)

// TestRoutesDocumented: every key that a route, a canary or a probe may have is
// in README.md, and those of a route in the ambassador's, too, each with a row.
func TestRoutesDocumented(t *testing.T) {
	const file = `services:
  web:
    image: a
    x-remora:
      routes: [{host: a.test, target: 80, none: 1}]
      canary: {steps: [5%], none: 1}
      probe: {none: 1}
`
	own, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	ambassador, err := os.ReadFile("../../ambassador/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for field, known := range unknownKeys(t, file) {
		for _, key := range known {
			if !strings.Contains(string(own), "`"+key+"`") && !strings.Contains(string(own), key+",") && !strings.Contains(string(own), key+"}") {
				t.Errorf("manifests/README.md does not have %s of %s", key, field)
			}
			if strings.Contains(field, ".routes[") && !strings.Contains(string(ambassador), "\n| `"+key+"` |") {
				t.Errorf("ambassador/README.md has no row for %s of a route", key)
			}
		}
	}
}

// unknownKeys loads a compose file and returns what is known in the place of
// each unknown key.
func unknownKeys(t *testing.T, file string) map[string][]string {
	t.Helper()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "compose.yaml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	res := Load(t.Context(), manifests.LoadRequest{
		Root: root, Bare: true, Live: true, Environment: "app", Host: "h", Primary: true,
		CPUs: 1, HTTP: []uint16{80}, HTTPS: []uint16{443}, Policy: manifests.Policy{Preset: manifests.PresetCompose},
	})
	out := map[string][]string{}
	for _, app := range res.Failed {
		for _, d := range app.Diagnostics {
			if list, ok := strings.CutPrefix(d.Remedy, "known here: "); ok {
				out[d.Field] = strings.Split(list, ", ")
			}
		}
	}
	if len(out) != 3 {
		t.Fatalf("unknown keys in %v of %+v", slices.Sorted(maps.Keys(out)), res)
	}
	return out
}
