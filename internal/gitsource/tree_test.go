package gitsource

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// reports returns "path: reason" of each.
func reports(rev status.Revision) []string {
	var out []string
	for _, r := range rev.Reports {
		out = append(out, r.Path+": "+string(r.Reason))
	}
	return out
}

func wantReports(t *testing.T, rev status.Revision, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, reports(rev)); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
}

func link(t *testing.T, target, name string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(name), 0o755))
	check(t, os.Symlink(target, name))
}

func TestLinks(t *testing.T) {
	r := newRepo(t)
	r.write("dir/file", "content")
	in := map[string]string{"good": "dir/file", "dir/up": "../good", "dangling": "nowhere", "folder": "dir", "through": "folder/file"}
	out := map[string]string{
		"abs": "/etc/passwd", "dir/out": "../../x", "self": "self", "dir/l": "..",
		// By the text it stays inside; followed, it leaves.
		"a/b/root": "../..", "a/b/sly": "root/../etc/passwd",
	}
	delete(out, "dir/l")
	for name, target := range in {
		link(t, target, filepath.Join(r.work, name))
	}
	for name, target := range out {
		link(t, target, filepath.Join(r.work, name))
	}
	r.push("links")
	for _, url := range []string{r.fileURL(), r.serveHTTP((*httptest.Server).Start).url} {
		rev := mustFetch(t, openSource(t, manifests.Source{URL: url}, Options{}))
		wantReports(t, rev, "abs: PolicyDenied", "dir/out: PolicyDenied", "a/b/sly: PolicyDenied", "self: PolicyDenied")
		for name, target := range in {
			if got, err := os.Readlink(filepath.Join(rev.Folder, name)); err != nil || got != target {
				t.Errorf("%s -> %s, %v; want %s", name, got, err, target)
			}
		}
		for _, name := range []string{"abs", "dir/out", "self", "a/b/sly"} {
			if exists(filepath.Join(rev.Folder, name)) {
				t.Errorf("%s was written", name)
			}
		}
	}
}

func TestSubmoduleAndPointer(t *testing.T) {
	other := newRepo(t)
	other.commit("x", "1")
	r := newRepo(t)
	r.git(r.work, "submodule", "add", "-q", other.bare, "vendor/other")
	r.write("model.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
	r.push("both")
	s := openSource(t, manifests.Source{URL: r.fileURL()}, Options{})
	rev := mustFetch(t, s)
	wantReports(t, rev, "model.bin: NotInThisVersion", "vendor/other: NotInThisVersion")
	if !strings.Contains(rev.Reports[1].Message, "submodule") || !strings.Contains(rev.Reports[0].Message, "Git LFS") {
		t.Errorf("%+v", rev.Reports)
	}
	if again := mustFetch(t, s); cmp.Diff(rev.Reports, again.Reports) != "" {
		t.Errorf("unchanged: %v", again.Reports)
	}
}

func TestLimits(t *testing.T) {
	r := newRepo(t)
	for i := range 10 {
		r.write(fmt.Sprintf("aaa/%d", i), strings.Repeat("x", 100))
	}
	r.write("environments/prod/app/compose.yaml", "services: {}\n")
	r.write("environments/prod/app/huge", strings.Repeat("x", 2000))
	r.push("x")
	for name, c := range map[string]struct {
		limits Limits
		want   []string
		files  int
	}{
		"file":  {Limits{FileBytes: 1000}, []string{"environments/prod/app/huge: LoadFailed"}, 11},
		"files": {Limits{Files: 5}, []string{"aaa/3: LoadFailed"}, 3},
		"bytes": {Limits{Bytes: 2500}, []string{"aaa/4: LoadFailed"}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			rev := mustFetch(t, openSource(t, manifests.Source{URL: r.fileURL()}, Options{Limits: c.limits}))
			wantReports(t, rev, c.want...)
			if !exists(filepath.Join(rev.Folder, "environments/prod/app/compose.yaml")) {
				t.Error("the environments were not written first")
			}
			list, err := os.ReadDir(filepath.Join(rev.Folder, "aaa"))
			if want := map[string]int{"file": 10, "files": 3, "bytes": 4}[name]; err != nil || len(list) != want {
				t.Errorf("aaa has %d files, %v; want %d", len(list), err, want)
			}
		})
	}
}

// Trees that git itself would not make.
func TestHostileTree(t *testing.T) {
	r := newRepo(t)
	r.commit("ok", "1")
	blob := r.git(r.work, "hash-object", "-w", "ok")
	raw := func(entries ...string) string {
		var body strings.Builder
		for _, e := range entries {
			mode, name, _ := strings.Cut(e, " ")
			id := blob
			if mode == "40000" {
				id = r.git(r.work, "rev-parse", "HEAD^{tree}")
			}
			body.WriteString(mode + " " + name + "\x00" + hexBytes(t, id))
		}
		file := filepath.Join(r.top, "tree")
		writeFile(t, file, body.String())
		return r.git(r.work, "hash-object", "-w", "-t", "tree", "--literally", file)
	}
	tree := raw("100644 ..", "100644 .GIT", "100644 a/b", "40000 .git", "100644 good", "100644 good", "100664 old", "100644 "+strings.Repeat("n", 300))
	commit := r.git(r.work, "commit-tree", "-m", "hostile", tree)
	r.git(r.work, "push", "-q", "-f", "origin", commit+":refs/heads/main")
	state := t.TempDir()
	rev := mustFetch(t, openSource(t, manifests.Source{URL: r.fileURL()}, Options{State: state}))
	if len(rev.Reports) != 6 {
		t.Errorf("reports: %v", reports(rev))
	}
	wantNames(t, rev.Folder, "good", "old")
	wantNames(t, state, "revisions", "sources")
}

func hexBytes(t *testing.T, id string) string {
	t.Helper()
	var out []byte
	for i := 0; i < len(id); i += 2 {
		var b byte
		if _, err := fmt.Sscanf(id[i:i+2], "%02x", &b); err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return string(out)
}

// Unchanged files are shared with the revision before, by content.
func TestReuse(t *testing.T) {
	r := newRepo(t)
	r.write("same", "same")
	r.write("exec", "same")
	r.write("damaged", "good")
	r.commit("a", "1")
	s := openSource(t, manifests.Source{URL: r.fileURL()}, Options{})
	one := mustFetch(t, s)
	writeFile(t, filepath.Join(one.Folder, "damaged"), "evil")
	check(t, os.Chmod(filepath.Join(r.work, "exec"), 0o755))
	r.commit("a", "2")
	two := mustFetch(t, s)
	for name, shared := range map[string]bool{"same": true, "exec": false, "damaged": false, "a": false} {
		before, err := os.Stat(filepath.Join(one.Folder, name))
		check(t, err)
		after, err := os.Stat(filepath.Join(two.Folder, name))
		check(t, err)
		if os.SameFile(before, after) != shared {
			t.Errorf("%s: shared %v, want %v", name, !shared, shared)
		}
	}
	if got := readFile(t, filepath.Join(two.Folder, "damaged")); got != "good" {
		t.Errorf("damage was carried over: %q", got)
	}
}

func FuzzCheckName(f *testing.F) {
	for _, s := range []string{"a", ".", "..", ".git", ".GiT", "a/b", "a\x00", "", "a\\b", "é", strings.Repeat("x", 256)} {
		f.Add(s)
	}
	dir := f.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = root.Close() })
	f.Fuzz(func(t *testing.T, name string) {
		if checkName(name) != nil {
			return
		}
		// An accepted name makes exactly one entry, and that here.
		if err := root.Mkdir(name, 0o755); err != nil {
			t.Fatalf("accepted %q: %v", name, err)
		}
		list, err := os.ReadDir(dir)
		if err != nil || len(list) != 1 || list[0].Name() != name {
			t.Errorf("%q made %v, %v", name, list, err)
		}
		check(t, root.Remove(name))
	})
}
