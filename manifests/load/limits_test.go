package load

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remorahq/remora/manifests"
)

// TestLimits: each limit is an error that names it; one below it loads.
func TestLimits(t *testing.T) {
	services := func(n int) string {
		var b strings.Builder
		b.WriteString("services:\n")
		for i := range n {
			fmt.Fprintf(&b, "  s%d: {image: a}\n", i)
		}
		return b.String()
	}
	scaled := func(n int) string {
		var b strings.Builder
		b.WriteString("services:\n")
		for i := range n {
			fmt.Fprintf(&b, "  s%d: {image: a, scale: 1000}\n", i)
		}
		return b.String()
	}
	includes := func(n int) map[string]string {
		var b strings.Builder
		files := map[string]string{}
		b.WriteString("include:\n")
		for i := range n {
			name := fmt.Sprintf("f%d.yaml", i)
			fmt.Fprintf(&b, "  - %s\n", name)
			files[name] = fmt.Sprintf("services: {s%d: {image: a}}\n", i)
		}
		files["compose.yaml"] = b.String() + "services: {a: {image: a}}\n"
		return files
	}
	mounted := func(n int) map[string]string {
		files := map[string]string{"compose.yaml": "services: {a: {image: a, configs: [c]}}\nconfigs: {c: {file: ./d}}\n"}
		for i := range n {
			files[fmt.Sprintf("d/f%d", i)] = ""
		}
		return files
	}
	shared := map[string]string{"compose.yaml": "x-m: &m {image: a, configs: [c]}\nconfigs: {c: {file: ./d}}\nservices:\n"}
	for i := range 20 {
		shared["compose.yaml"] += fmt.Sprintf("  s%d: *m\n", i)
		for n := range 30 {
			shared[fmt.Sprintf("d/%d/%d", i, n)] = ""
		}
	}
	one := func(text string) map[string]string { return map[string]string{"compose.yaml": text} }
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"services":          {one(services(maxServices)), ""},
		"too many services": {one(services(maxServices + 1)), "the app has 1001 services; at most 1000 are read"},
		"size":              {one(services(1) + strings.Repeat("#", maxFileSize-100)), ""},
		"too large":         {one(services(1) + strings.Repeat("#", maxFileSize)), "is larger than 1 MiB"},
		"files":             {includes(maxFiles - 1), ""},
		"too many files":    {includes(maxFiles), "more than 64 files belong to the app"},
		"depth":             {one("x-a: " + strings.Repeat("[", 99) + strings.Repeat("]", 99) + "\n" + services(1)), ""},
		"too deep":          {one("x-a: " + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "\n" + services(1)), "nested more than 100 levels deep"},
		"replicas":          {one("services: {a: {image: a, deploy: {replicas: 1000}}}"), ""},
		"too many replicas": {one("services: {a: {image: a, deploy: {replicas: 1001}}}"), "1001 replicas"},
		"containers":        {one(scaled(10)), ""},
		"a million":         {one(scaled(1000)), "the app has 1000000 containers; at most 10000 are possible"},
		"ports":             {one("services: {a: {image: a, ports: ['1000-1999:1000-1999']}}"), ""},
		"too many ports":    {one("services: {a: {image: a, ports: ['1000-2000:1000-2000']}}"), "more than 1000 ports"},
		"one range":         {one("services: {a: {image: a, ports: ['1-60000:80']}}"), "more than 1000 ports"},
		"mounted":           {mounted(maxMountedFiles), ""},
		"one folder often":  {shared, ""},
		"too much mounted":  {mounted(maxMountedFiles + 1), "mounts more than 10000 files"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			for file, content := range c.files {
				path := filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out := Load(t.Context(), manifests.LoadRequest{
				Root: root, Bare: true, Primary: true, Host: "h", Policy: manifests.Policy{Preset: manifests.PresetCompose},
			})
			switch {
			case c.want == "" && len(out.Apps) != 1:
				t.Errorf("failed: %v", out.Failed)
			case c.want != "" && (len(out.Failed) != 1 || !strings.Contains(out.Failed[0].Diagnostics.Error(), c.want)):
				t.Errorf("failed = %v, want %q", out.Failed, c.want)
			}
		})
	}
}
