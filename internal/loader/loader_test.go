package loader_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/remorahq/remora/internal/loader"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/manifests/load"
)

// The test binary is its own loader, and the loaders that misbehave.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "load":
			os.Exit(load.Main(context.Background(), os.Stdin, os.Stdout, os.Stderr))
		case "misbehave":
			misbehave(os.Args[2])
		}
	}
	goleak.VerifyTestMain(m)
}

func misbehave(how string) {
	switch how {
	case "flood":
		line := strings.Repeat("x", 1<<16)
		for range 1 << 12 {
			fmt.Println(line)
		}
	case "panic":
		panic("no such luck")
	case "hang":
		select {}
	case "garbage":
		fmt.Println("{")
	case "burn", "gorge":
		if err := load.Limit(); err != nil {
			panic(err)
		}
		var kept [][]byte
		for n := 0; ; n++ {
			if how == "gorge" {
				kept = append(kept, make([]byte, 1<<20))
				kept[n][n%(1<<20)] = 1
			}
		}
	case "silent":
		os.Exit(3)
	}
	os.Exit(0)
}

// write lays out files below a new root.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func request(root string) manifests.LoadRequest {
	return manifests.LoadRequest{
		Root: root, Path: "environments", Environment: "prod", Source: "main", Host: "web-1", Primary: true, CPUs: 2,
		Policy: manifests.Policy{Preset: manifests.PresetStrict},
	}
}

const environment = "environments/prod/environment.yaml"

// TestHazards loads files that make the Compose library panic or run for
// minutes: each is an error of its own app in well under six seconds.
func TestHazards(t *testing.T) {
	root := write(t, map[string]string{
		environment:                        "{version: 1, default_placement: all}",
		"environments/prod/a/compose.yaml": "!reset",
		"environments/prod/b/compose.yaml": "s:\n a: &a\n    <<: *a",
		"environments/prod/c/compose.yaml": "services: {web: {image: c}}",
	})
	begin := time.Now()
	out, err := loader.New().Load(t.Context(), request(root))
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 6*time.Second {
		t.Errorf("took %v, want under 6s", took)
	}
	if len(out.Apps) != 1 || out.Apps[0].Name != "c" {
		t.Errorf("apps = %v, want c alone", names(out))
	}
	var failed []string
	for _, f := range out.Failed {
		failed = append(failed, f.App)
		if len(f.Diagnostics) == 0 || f.Diagnostics[0].Line == 0 {
			t.Errorf("%s: %v names no line", f.App, f.Diagnostics)
		}
	}
	if diff := cmp.Diff([]string{"a", "b"}, failed); diff != "" {
		t.Errorf("failed (-want +got):\n%s", diff)
	}
}

func names(out manifests.LoadResult) []string {
	var list []string
	for _, a := range out.Apps {
		list = append(list, a.Name)
	}
	return list
}

// TestDeath shows what becomes of each way in which a process may end.
func TestDeath(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for how, want := range map[string]string{
		"flood": "gave more than 16 MiB", "panic": "ended in a panic: no such luck", "hang": "ran out of time",
		"garbage": "cannot be read", "silent": "exit status 3",
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			deadline := time.Minute // for what ends by itself
			if how == "hang" {
				deadline = 500 * time.Millisecond
			}
			l := loader.New(loader.WithCommand(self, "misbehave", how), loader.WithDeadline(deadline))
			out, err := l.Load(t.Context(), request(t.TempDir()))
			if err != nil {
				t.Fatal(err)
			}
			if len(out.Diagnostics) != 1 || !strings.Contains(out.Diagnostics[0].Message, want) {
				t.Errorf("diagnostics = %v, want %q", out.Diagnostics, want)
			}
		})
	}
}

// TestOneKiller: a process that dies takes only the app that killed it along.
func TestOneKiller(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{environment: "{version: 1, default_placement: all}"}
	for _, name := range []string{"a", "b", "killer", "z"} {
		files["environments/prod/"+name+"/compose.yaml"] = "services: {web: {image: " + name + "}}"
	}
	root := write(t, files)
	// The process ends when the request asks to load the killer.
	script := write(t, map[string]string{"run": "#!/bin/sh\nin=$(cat)\ncase \"$in\" in *'\"apps\":['*killer*) echo 'panic: killed' >&2; exit 2;; esac\n" +
		"printf '%s' \"$in\" | " + self + " load\n"})
	l := loader.New(loader.WithCommand("/bin/sh", filepath.Join(script, "run")))
	out, err := l.Load(t.Context(), request(root))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b", "z"}, names(out)); diff != "" {
		t.Errorf("apps (-want +got):\n%s", diff)
	}
	if len(out.Failed) != 1 || out.Failed[0].App != "killer" ||
		!strings.Contains(out.Failed[0].Diagnostics.Error(), "ended in a panic: killed") {
		t.Errorf("failed = %v, want killer", out.Failed)
	}
}

// TestLimits: what a process sets on itself ends it before its deadline does.
func TestLimits(t *testing.T) {
	if testing.Short() {
		t.Skip("burns five seconds of CPU time")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for how, want := range map[string]string{"burn": "used up its CPU time", "gorge": "used up its memory"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			l := loader.New(loader.WithCommand(self, "misbehave", how), loader.WithDeadline(time.Minute))
			out, err := l.Load(t.Context(), request(t.TempDir()))
			if err != nil || len(out.Diagnostics) != 1 {
				t.Fatalf("diagnostics = %v, error %v", out.Diagnostics, err)
			}
			message := out.Diagnostics[0].Message
			// The race detector's runtime meets the limit first, in its own words.
			if !strings.Contains(message, want) && (how != "gorge" || !strings.Contains(message, "Sanitizer failed to allocate")) {
				t.Errorf("message = %q, want %q", message, want)
			}
		})
	}
}

// TestExpect: a process that was started beforehand answers, and one that
// nobody asks is ended.
func TestExpect(t *testing.T) {
	root := write(t, map[string]string{environment: "{version: 1, default_placement: all}", "environments/prod/a/compose.yaml": "services: {web: {image: a}}"})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	count := filepath.Join(t.TempDir(), "count")
	script := write(t, map[string]string{"run": "#!/bin/sh\necho x >> " + count + "\nexec " + self + " load\n"})
	l := loader.New(loader.WithCommand("/bin/sh", filepath.Join(script, "run")))
	l.Expect()
	l.Expect()
	out, err := l.Load(t.Context(), request(root))
	if err != nil || len(out.Apps) != 1 {
		t.Fatalf("apps %v, error %v", names(out), err)
	}
	if data, err := os.ReadFile(count); err != nil || strings.Count(string(data), "x") != 1 {
		t.Errorf("processes: %q, error %v, want one", data, err)
	}
	l.Expect()
	l.Close()
	l.Close()
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := loader.New().Load(ctx, request(t.TempDir())); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want canceled", err)
	}
}

// TestCache: an environment of which nothing changed starts no process, in
// another folder too, and one changed file loads one app again.
func TestCache(t *testing.T) {
	files := map[string]string{
		environment:                            "{version: 1, default_placement: all}",
		"environments/prod/a/compose.yaml":     "services: {web: {image: 'a:${TAG}', volumes: ['./conf:/conf:ro']}}",
		"environments/prod/a/.env":             "TAG=1",
		"environments/prod/a/conf/x":           "x",
		"environments/prod/b/compose.yaml":     "include: [../../../base/b.yaml]",
		"base/b.yaml":                          "services: {web: {image: b}}",
		"environments/prod/broken/compose.yml": "services: {web: {imag: b}}",
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	count := filepath.Join(dir, "count")
	script := write(t, map[string]string{"run": "#!/bin/sh\nin=$(cat)\nprintf '%s\\n' \"$in\" >> " + count + "\nprintf '%s' \"$in\" | " + self + " load\n"})
	l := loader.New(loader.WithCommand("/bin/sh", filepath.Join(script, "run")))
	started := func(files map[string]string) []string {
		t.Helper()
		if err := os.WriteFile(count, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := l.Load(t.Context(), request(write(t, files)))
		if err != nil || len(out.Apps) != 2 || len(out.Failed) != 1 {
			t.Fatalf("apps %v, failed %v, error %v", names(out), out.Failed, err)
		}
		data, err := os.ReadFile(count)
		if err != nil {
			t.Fatal(err)
		}
		var asked []string
		for line := range strings.SplitSeq(strings.TrimSpace(string(data)), "\n") {
			switch {
			case strings.Contains(line, `"placementOnly":true`):
				asked = append(asked, "list")
			case line != "":
				_, rest, _ := strings.Cut(line, `"apps":[`)
				apps, _, _ := strings.Cut(rest, "]")
				asked = append(asked, apps)
			}
		}
		return asked
	}
	change := func(name, content string) map[string]string {
		next := map[string]string{}
		maps.Copy(next, files)
		next[name] = content
		return next
	}
	for _, step := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"first", files, []string{"list", `"a","b","broken"`}},
		{"same elsewhere", files, nil},
		{"a tag", change("environments/prod/a/.env", "TAG=2"), []string{"list", `"a"`}},
		{"back", files, nil},
		{"an included file", change("base/b.yaml", "services: {web: {image: b2}}"), []string{"list", `"b"`}},
		{"mounted content", change("environments/prod/a/conf/x", "y"), []string{`"a"`}},
		{"an override file appears", change("environments/prod/b/compose.override.yaml", "services: {web: {command: x}}"), []string{"list", `"b"`}},
		{"an unrelated file", change("docs/x.md", "x"), nil},
	} {
		if diff := cmp.Diff(step.want, started(step.files)); diff != "" {
			t.Errorf("%s: processes (-want +got):\n%s", step.name, diff)
		}
	}
}

// TestFewAppsTakeOneProcess: an environment of two apps is listed and loaded
// in one go, and a revert to it takes none.
func TestFewAppsTakeOneProcess(t *testing.T) {
	files := map[string]string{
		environment:                        "{version: 1, default_placement: all}",
		"environments/prod/a/compose.yaml": "services: {web: {image: 'a:${TAG}'}}",
		"environments/prod/a/.env":         "TAG=1",
		"environments/prod/b/compose.yaml": "services: {web: {image: b}}",
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	count := filepath.Join(t.TempDir(), "count")
	script := write(t, map[string]string{"run": "#!/bin/sh\necho x >> " + count + "\nexec " + self + " load\n"})
	l := loader.New(loader.WithCommand("/bin/sh", filepath.Join(script, "run")))
	next := maps.Clone(files)
	next["environments/prod/a/.env"] = "TAG=2"
	for i, step := range []struct {
		files map[string]string
		image string
		want  int // processes so far
	}{{files, "a:1", 1}, {next, "a:2", 2}, {files, "a:1", 2}} {
		out, err := l.Load(t.Context(), request(write(t, step.files)))
		if err != nil || len(out.Apps) != 2 || out.Apps[0].Services[0].Container.Image != step.image {
			t.Fatalf("step %d: %+v, error %v", i, out, err)
		}
		data, err := os.ReadFile(count)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(data), "x"); got != step.want {
			t.Errorf("step %d: %d processes, want %d", i, got, step.want)
		}
	}
}

// TestTroubleIsNotKept: an error about a folder that cannot be read, such as
// that of a mistyped `plan --path`, is never the answer for another one.
func TestTroubleIsNotKept(t *testing.T) {
	good := map[string]string{
		environment:                        "{version: 1, default_placement: all}",
		"environments/prod/a/compose.yaml": "services: {web: {image: a}}",
	}
	for name, root := range map[string]string{
		"no such folder":      filepath.Join(t.TempDir(), "missing"),
		"a file":              filepath.Join(write(t, map[string]string{"file": ""}), "file"),
		"no such environment": write(t, map[string]string{"README": ""}),
		"an empty one":        write(t, map[string]string{environment: "version: 1"}),
	} {
		t.Run(name, func(t *testing.T) {
			l := loader.New()
			if out, err := l.Load(t.Context(), request(root)); err != nil || len(out.Apps) != 0 {
				t.Fatalf("%+v, error %v", out, err)
			}
			out, err := l.Load(t.Context(), request(write(t, good)))
			if err != nil || len(out.Apps) != 1 || len(out.Diagnostics) > 0 {
				t.Errorf("the next folder: %+v, error %v", out, err)
			}
		})
	}
}

// TestEnvironmentIsEmpty: what the agent's environment holds never reaches a
// manifest.
func TestEnvironmentIsEmpty(t *testing.T) {
	t.Setenv("LEAK", "secret")
	root := write(t, map[string]string{
		environment:                        "{version: 1, default_placement: all}",
		"environments/prod/a/compose.yaml": "services: {web: {image: a, command: ['${LEAK:-none}'], environment: ['HOME=${HOME:-none}']}}",
	})
	out, err := loader.New().Load(t.Context(), request(root))
	if err != nil || len(out.Apps) != 1 {
		t.Fatalf("failed %v, error %v", out.Failed, err)
	}
	c := out.Apps[0].Services[0].Container
	if !slices.Equal(*c.Command, []string{"none"}) || c.Environment["HOME"] != "none" {
		t.Errorf("command %v environment %v, want none of the process's", *c.Command, c.Environment)
	}
}

// thousand is an app of 1,000 services.
func thousand() string {
	var b strings.Builder
	b.WriteString("services:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "  s%d:\n    image: registry.example.com/app:${TAG}\n    expose: ['3000']\n    environment: {A: b, N: '%d'}\n    volumes: ['./conf:/conf:ro', 'data%d:/data']\n    healthcheck: {test: [CMD, /up], interval: 5s}\n", i, i, i%10)
	}
	b.WriteString("volumes:\n")
	for i := range 10 {
		fmt.Fprintf(&b, "  data%d: {}\n", i)
	}
	return b.String()
}

func BenchmarkLoad(b *testing.B) {
	apps := map[string]string{"small": "services: {web: {image: 'a:${TAG}', ports: ['80:3000']}}", "thousand": thousand()}
	for _, name := range []string{"small", "thousand"} {
		root := b.TempDir()
		dir := filepath.Join(root, "environments/prod", name)
		if err := os.MkdirAll(filepath.Join(dir, "conf"), 0o755); err != nil {
			b.Fatal(err)
		}
		for file, content := range map[string]string{
			filepath.Join(root, environment): "{version: 1, default_placement: all}", filepath.Join(dir, "compose.yaml"): apps[name],
			filepath.Join(dir, ".env"): "TAG=1", filepath.Join(dir, "conf/x"): "x",
		} {
			if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
				b.Fatal(err)
			}
		}
		check := func(b *testing.B, out manifests.LoadResult, err error) {
			if err != nil || len(out.Apps) != 1 {
				b.Fatalf("failed %v, diagnostics %v, error %v", out.Failed, out.Diagnostics, err)
			}
		}
		b.Run(name+"/in-process", func(b *testing.B) {
			for b.Loop() {
				check(b, load.Load(b.Context(), request(root)), nil)
			}
		})
		b.Run(name+"/process", func(b *testing.B) {
			for b.Loop() {
				out, err := loader.New().Load(b.Context(), request(root))
				check(b, out, err)
			}
		})
		b.Run(name+"/cached", func(b *testing.B) {
			l := loader.New()
			for b.Loop() {
				out, err := l.Load(b.Context(), request(root))
				check(b, out, err)
			}
		})
	}
}
