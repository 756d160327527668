package load

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/remorahq/remora/manifests"
)

var update = flag.Bool("update", false, "write the wanted answers of testdata")

// TestLoad loads every archive of testdata/load and compares the answer with
// its file "want". The comment of an archive says what it shows; its last line
// may be a request as JSON.
func TestLoad(t *testing.T) {
	archives, err := filepath.Glob("testdata/load/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, file := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			root := t.TempDir()
			want := extract(t, ar, root)
			out := Load(t.Context(), request(t, ar, root))
			if answer := compact(out); strings.Contains(answer, root) {
				t.Errorf("the answer names the folder %s, which is another one for every commit:\n%s", root, answer)
			}
			got := describe(out)
			if *update {
				rewrite(t, file, ar, got)
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func request(t *testing.T, ar *txtar.Archive, root string) manifests.LoadRequest {
	t.Helper()
	req := manifests.LoadRequest{
		Root: root, Path: "environments", Environment: "prod", Source: "main", Host: "web-1", Primary: true,
		CPUs: 2, Policy: manifests.Policy{Preset: manifests.PresetStrict},
	}
	lines := strings.Split(strings.TrimSpace(string(ar.Comment)), "\n")
	if last := lines[len(lines)-1]; strings.HasPrefix(last, "{") {
		if err := json.Unmarshal([]byte(last), &req); err != nil {
			t.Fatalf("request: %v", err)
		}
	}
	return req
}

// extract writes the archive's files; "name -> target" is a link and a name
// that ends in "*" is executable.
func extract(t *testing.T, ar *txtar.Archive, root string) (want string) {
	t.Helper()
	for _, f := range ar.Files {
		if f.Name == "want" {
			want = string(f.Data)
			continue
		}
		name, target, isLink := strings.Cut(f.Name, " -> ")
		mode := fs.FileMode(0o644)
		if trimmed, ok := strings.CutSuffix(name, "*"); ok {
			name, mode = trimmed, 0o755
		}
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if isLink {
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, f.Data, mode); err != nil {
			t.Fatal(err)
		}
	}
	return want
}

func rewrite(t *testing.T, file string, ar *txtar.Archive, got string) {
	t.Helper()
	ar.Files = slices.DeleteFunc(ar.Files, func(f txtar.File) bool { return f.Name == "want" })
	ar.Files = append(ar.Files, txtar.File{Name: "want", Data: []byte(got)})
	if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
		t.Fatal(err)
	}
}

// describe prints what an answer says, one fact a line.
func describe(r manifests.LoadResult) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, d := range r.Diagnostics {
		p("error %s: %s", d.Reason, d)
	}
	p("folders %s", strings.Join(r.Folders, " "))
	for _, s := range r.Skipped {
		p("skipped %s %s: %s", s.App, s.Diagnostic.Reason, s.Diagnostic)
	}
	for _, f := range r.Failed {
		p("failed %s", f.App)
		for _, d := range f.Diagnostics {
			kind := string(d.Reason)
			if d.Warning {
				kind = "warning"
			}
			p("  %s: %s", kind, d)
		}
	}
	for i := range r.Apps {
		describeApp(p, &r.Apps[i])
	}
	return b.String()
}

func describeApp(p func(string, ...any), a *manifests.App) {
	p("app %s project %s", a.Name, a.Project)
	if len(a.AfterApps) > 0 {
		p("  after %v", a.AfterApps)
	}
	for _, d := range a.Warnings {
		p("  warning: %s", d)
	}
	for _, n := range a.Networks {
		p("  network %s", compact(n))
	}
	for _, v := range a.Volumes {
		p("  volume %s", compact(v))
	}
	for _, s := range a.Services {
		p("  service %s: %s unit=%s replicas=%d data=%t", s.Name, s.Kind, s.Unit, s.Replicas, s.WritesData)
		p("    %s", s.OrderWhy)
		p("    standby %s for %s; names %v", s.Standby.State, s.Standby.For, s.Names)
		p("    container %s", compact(s.Container))
		if len(s.Ports)+len(s.Expose)+len(s.Routes) > 0 {
			p("    ports %s expose %v routes %s", compact(s.Ports), s.Expose, compact(s.Routes))
		}
		for _, f := range s.Files {
			p("    file %s %s %s", f.Mode, f.ID[:8], f.Path)
		}
		if len(s.DependsOn) > 0 {
			p("    depends %s", compact(s.DependsOn))
		}
		if s.Probe != nil {
			p("    probe %s", compact(s.Probe))
		}
		if len(s.Assets) > 0 {
			p("    assets %v", s.Assets)
		}
		if s.Canary != nil {
			p("    canary %s", s.Canary)
		}
		if len(s.HostEnv) > 0 {
			p("    host env %s", compact(s.HostEnv))
		}
	}
}

func compact(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(data)
}
