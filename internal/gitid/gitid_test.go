package gitid_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/internal/gitid"
)

func TestBlob(t *testing.T) {
	for content, want := range map[string]string{
		"":        "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
		"hello\n": "ce013625030ba8dba906f756967f9e9ca394464a",
	} {
		if got := gitid.Blob([]byte(content)); got != want {
			t.Errorf("Blob(%q) = %s, want %s", content, got, want)
		}
	}
}

func TestTreeRefuses(t *testing.T) {
	id := gitid.Blob(nil)
	for name, entries := range map[string][]gitid.Entry{
		"twice":     {{Name: "a", Mode: gitid.ModeFile, ID: id}, {Name: "a", Mode: gitid.ModeExec, ID: id}},
		"separator": {{Name: "a/b", Mode: gitid.ModeFile, ID: id}},
		"parent":    {{Name: "..", Mode: gitid.ModeFile, ID: id}},
		"id":        {{Name: "a", Mode: gitid.ModeFile, ID: "12"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := gitid.Tree(entries); err == nil {
				t.Errorf("got %s, want an error", got)
			}
		})
	}
}

// The oracle is git itself: a tree with names that sort differently as files
// and as folders, a link, an executable, an empty folder and a nested one.
func TestOfAgreesWithGit(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", "1", 0o644)
	write(t, dir, "a.b", "2", 0o644)
	write(t, dir, "a0", "3", 0o755)
	write(t, dir, "d/x/y.txt", "deep\n", 0o600)
	write(t, dir, "d.txt", "sorts before d/", 0o644)
	write(t, dir, "d0", "", 0o644)
	write(t, dir, "täglich  ", "name", 0o644)
	if err := os.MkdirAll(filepath.Join(dir, "empty", "emptier"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../outside", filepath.Join(dir, "d", "link")); err != nil {
		t.Fatal(err)
	}
	git(t, dir, "init", "-q")
	git(t, dir, "add", "-A")
	want := git(t, dir, "write-tree")

	got, err := gitid.OfPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	wantObject := gitid.Object{Mode: gitid.ModeTree, ID: want, Files: 8, Bytes: 1 + 1 + 1 + 5 + 15 + 0 + 4 + 10}
	if diff := cmp.Diff(wantObject, got); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}

	for entry := range strings.SplitSeq(git(t, dir, "ls-tree", "-r", "-t", "-z", want), "\x00") {
		if entry != "" {
			checkEntry(t, dir, entry)
		}
	}
}

func TestOfMissing(t *testing.T) {
	if _, err := gitid.OfPath(filepath.Join(t.TempDir(), "gone")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want not-exist", err)
	}
}

func TestOfStaysInside(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "secret", "s", 0o644)
	write(t, dir, "in/a", "a", 0o644)
	if err := os.Symlink("..", filepath.Join(dir, "in", "up")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(filepath.Join(dir, "in"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	if o, err := gitid.Of(root, "up/secret"); err == nil {
		t.Errorf("read %v through a link that leaves the folder", o)
	}
}

func checkEntry(t *testing.T, dir, entry string) {
	t.Helper()
	object, name, _ := strings.Cut(entry, "\t")
	fields := strings.Fields(object)
	got, err := gitid.OfPath(filepath.Join(dir, name))
	if err != nil {
		t.Error(err)
		return
	}
	if got.Mode != fields[0] || got.ID != fields[2] {
		t.Errorf("%s: got %s %s, want %s %s", name, got.Mode, got.ID, fields[0], fields[2])
	}
}

func write(t *testing.T, dir, name, content string, mode os.FileMode) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %v: %v", args, err)
	}
	return strings.TrimRight(string(out), "\n")
}
