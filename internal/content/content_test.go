package content_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/remorahq/remora/internal/atomicfile"
	"github.com/remorahq/remora/internal/content"
	"github.com/remorahq/remora/internal/gitid"
	"github.com/remorahq/remora/manifests"
)

func newStore(t *testing.T) (*content.Store, string) {
	t.Helper()
	state := t.TempDir()
	s, err := content.New(state)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := atomicfile.RemoveTree(filepath.Join(state, "blobs")); err != nil {
			t.Error(err)
		}
	})
	return s, state
}

func write(t *testing.T, name, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// file describes what is on disk, as the loader would.
func file(t *testing.T, root, path string) manifests.File {
	t.Helper()
	o, err := gitid.OfPath(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return manifests.File{Path: path, Mode: o.Mode, ID: o.ID}
}

func materialize(t *testing.T, s *content.Store, root string, f manifests.File, o content.Ownership) string {
	t.Helper()
	path, err := s.Materialize(root, f, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	if info, err := os.Lstat(path); err != nil || info.Mode() != want {
		t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range list {
		out = append(out, d.Name())
	}
	return out
}

func TestFileAndFolder(t *testing.T) {
	s, state := newStore(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "shop/nginx.conf"), "listen 80;\n", 0o644)
	write(t, filepath.Join(root, "shop/run"), "listen 80;\n", 0o755)
	write(t, filepath.Join(root, "shop/conf.d/a.conf"), "a", 0o644)
	if err := os.Symlink("a.conf", filepath.Join(root, "shop/conf.d/b.conf")); err != nil {
		t.Fatal(err)
	}
	conf := materialize(t, s, root, file(t, root, "shop/nginx.conf"), content.Ownership{})
	run := materialize(t, s, root, file(t, root, "shop/run"), content.Ownership{})
	folder := materialize(t, s, root, file(t, root, "shop/conf.d"), content.Ownership{})
	if conf == run {
		t.Error("a plain file and an executable of equal content share a blob")
	}
	wantMode(t, conf, 0o644)
	wantMode(t, run, 0o755)
	wantMode(t, folder, fs.ModeDir|0o555)
	if got, err := os.ReadFile(filepath.Join(folder, "b.conf")); err != nil || string(got) != "a" {
		t.Errorf("through the link: %q, %v", got, err)
	}
	before, err := os.Stat(conf)
	if err != nil {
		t.Fatal(err)
	}
	if again := materialize(t, s, root, file(t, root, "shop/nginx.conf"), content.Ownership{}); again != conf {
		t.Errorf("the second call gave %s, the first %s", again, conf)
	}
	if after, err := os.Stat(conf); err != nil || !os.SameFile(before, after) {
		t.Errorf("the second call replaced the file (%v)", err)
	}
	if got := names(t, filepath.Join(state, "blobs")); len(got) != 3 {
		t.Errorf("blobs: %v", got)
	}
}

func TestOwnership(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may give files away")
	}
	s, _ := newStore(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "key"), "k", 0o644)
	mode := uint32(0o440)
	path := materialize(t, s, root, file(t, root, "key"), content.Ownership{UID: "1000", GID: "103", Mode: &mode})
	if !strings.HasSuffix(path, "-u1000-g103-m440") {
		t.Errorf("path %s", path)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if info.Mode() != 0o440 || st.Uid != 1000 || st.Gid != 103 {
		t.Errorf("%v %d:%d", info.Mode(), st.Uid, st.Gid)
	}
	again, err := content.New(filepath.Dir(filepath.Dir(path)))
	if err != nil {
		t.Fatal(err)
	}
	if got := materialize(t, again, t.TempDir(), file(t, root, "key"), content.Ownership{UID: "1000", GID: "103", Mode: &mode}); got != path {
		t.Errorf("after a restart: %s", got)
	}
}

func TestRefuses(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "a"), "a", 0o644)
	write(t, filepath.Join(root, "in/a"), "a", 0o644)
	write(t, filepath.Join(root, "big.bin"), "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", 0o644)
	write(t, filepath.Join(root, "lfs/big.bin"), "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", 0o644)
	links := map[string]string{
		"up/link": "../a", "abs/link": "/etc/passwd", "sly/d/e/l": "../..", "sly/d/e/out": "l/../../a", "loop/l": "l",
	}
	for name, target := range links {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	outside := manifests.File{Path: "../" + filepath.Base(root) + "/a", Mode: gitid.ModeFile, ID: gitid.Blob([]byte("a"))}
	altered := file(t, root, "a")
	altered.ID = gitid.Blob([]byte("b"))
	mode := file(t, root, "a")
	mode.Mode = gitid.ModeExec
	named := content.Ownership{UID: "www-data"}
	perm := uint32(0o644)
	sticky := uint32(0o4755)
	for name, c := range map[string]struct {
		file  manifests.File
		owner content.Ownership
		want  error
	}{
		"outside":     {outside, content.Ownership{}, content.ErrPath},
		"altered":     {altered, content.Ownership{}, content.ErrAltered},
		"other mode":  {mode, content.Ownership{}, content.ErrAltered},
		"pointer":     {file(t, root, "big.bin"), content.Ownership{}, content.ErrPointer},
		"pointer in":  {file(t, root, "lfs"), content.Ownership{}, content.ErrPointer},
		"link up":     {file(t, root, "up"), content.Ownership{}, content.ErrPath},
		"link abs":    {file(t, root, "abs"), content.Ownership{}, content.ErrPath},
		"link sly":    {file(t, root, "sly"), content.Ownership{}, content.ErrPath},
		"link loop":   {file(t, root, "loop"), content.Ownership{}, content.ErrPath},
		"a link":      {file(t, root, "up/link"), content.Ownership{}, nil},
		"user name":   {file(t, root, "a"), named, nil},
		"folder mode": {file(t, root, "in"), content.Ownership{Mode: &perm}, nil},
		"setuid":      {file(t, root, "a"), content.Ownership{Mode: &sticky}, nil},
		"missing":     {manifests.File{Path: "no", Mode: gitid.ModeFile, ID: gitid.Blob(nil)}, content.Ownership{}, fs.ErrNotExist},
		"id":          {manifests.File{Path: "a", Mode: gitid.ModeFile, ID: "../../a"}, content.Ownership{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, state := newStore(t)
			got, err := s.Materialize(root, c.file, c.owner, nil)
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %q, %v; want %v", got, err, c.want)
			}
			if left := names(t, filepath.Join(state, "blobs")); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestBudget(t *testing.T) {
	s, _ := newStore(t)
	root := t.TempDir()
	for i := range content.MaxFiles/2 + 1 {
		write(t, filepath.Join(root, "many", fmt.Sprint(i)), "", 0o644)
	}
	write(t, filepath.Join(root, "one"), "1", 0o644)
	var b content.Budget
	if _, err := s.Materialize(root, file(t, root, "many"), content.Ownership{}, &b); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Materialize(root, file(t, root, "many"), content.Ownership{}, &b); !errors.Is(err, content.ErrLimit) {
		t.Errorf("twice half and one: %v, want ErrLimit", err)
	}
	if _, err := s.Materialize(root, file(t, root, "one"), content.Ownership{}, &b); err != nil {
		t.Errorf("one more file: %v", err)
	}
	if b.Files != content.MaxFiles/2+2 {
		t.Errorf("budget %+v", b)
	}
}

// What a container or a person wrote into a blob is found at the next start,
// and replaced; who mounts the old one keeps it.
func TestAlteredBlobIsReplaced(t *testing.T) {
	s, state := newStore(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "d/a"), "good", 0o644)
	f := file(t, root, "d")
	path := materialize(t, s, root, f, content.Ownership{})
	mounted, err := os.Open(filepath.Join(path, "a"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if got, err := io.ReadAll(mounted); err != nil || string(got) != "evil" {
			t.Errorf("who had it mounted reads %q, %v", got, err)
		}
		if err := mounted.Close(); err != nil {
			t.Error(err)
		}
	})
	write(t, filepath.Join(path, "a"), "evil", 0o644)

	next, err := content.New(state)
	if err != nil {
		t.Fatal(err)
	}
	path = materialize(t, next, root, f, content.Ownership{})
	if got, err := os.ReadFile(filepath.Join(path, "a")); err != nil || string(got) != "good" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestLeftoversAreRemoved(t *testing.T) {
	_, state := newStore(t)
	write(t, filepath.Join(state, "blobs/.new-1/content/x"), "half", 0o644)
	if _, err := content.New(state); err != nil {
		t.Fatal(err)
	}
	if got := names(t, filepath.Join(state, "blobs")); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestConcurrent(t *testing.T) {
	s, state := newStore(t)
	other, err := content.New(state)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for i := range 20 {
		write(t, filepath.Join(root, "d", fmt.Sprint(i)), strings.Repeat("x", i), 0o644)
	}
	f := file(t, root, "d")
	var wg sync.WaitGroup
	for i := range 16 {
		store := []*content.Store{s, other}[i%2]
		wg.Go(func() {
			path, err := store.Materialize(root, f, content.Ownership{}, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if o, err := gitid.OfPath(path); err != nil || o.ID != f.ID {
				t.Errorf("%v, %v", o, err)
			}
		})
	}
	wg.Wait()
	if got := names(t, filepath.Join(state, "blobs")); len(got) != 1 {
		t.Errorf("blobs: %v", got)
	}
}

func TestInlineAndPrune(t *testing.T) {
	s, state := newStore(t)
	keep, err := s.Inline("keep\n", content.Ownership{})
	if err != nil {
		t.Fatal(err)
	}
	drop, err := s.Inline("drop\n", content.Ownership{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(keep); err != nil || string(got) != "keep\n" {
		t.Errorf("%q, %v", got, err)
	}
	removed, err := s.Prune(func(p string) bool { return p == keep })
	if err != nil || removed != 1 {
		t.Errorf("removed %d, %v", removed, err)
	}
	if got := names(t, filepath.Join(state, "blobs")); len(got) != 1 || got[0] != filepath.Base(keep) {
		t.Errorf("left: %v", got)
	}
	if again, err := s.Inline("drop\n", content.Ownership{}); err != nil || again != drop {
		t.Errorf("after prune: %s, %v", again, err)
	}
	if _, err := os.Stat(drop); err != nil {
		t.Error(err)
	}
}

func TestDataDir(t *testing.T) {
	s, state := newStore(t)
	path, err := s.DataDir("shop", "./data/db")
	if err != nil {
		t.Fatal(err)
	}
	if path != filepath.Join(state, "data/shop/data/db") {
		t.Errorf("path %s", path)
	}
	wantMode(t, path, fs.ModeDir|0o755)
	write(t, filepath.Join(path, "rows"), "important", 0o600)
	if _, err := s.DataDir("shop", "data/db"); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(filepath.Join(path, "rows")); err != nil || string(got) != "important" {
		t.Errorf("%q, %v", got, err)
	}
	if file, err := s.DataDir("shop", "data/db/rows"); err != nil {
		t.Errorf("a file that is there: %s, %v", file, err)
	}
}

// A container writes its data folder; what it plants must not lead out.
func TestDataDirPlantedLink(t *testing.T) {
	s, _ := newStore(t)
	path, err := s.DataDir("shop", "data")
	if err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(path, "sub")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"data/sub", "data/sub/deep"} {
		if got, err := s.DataDir("shop", p); !errors.Is(err, content.ErrPath) {
			t.Errorf("%s: %q, %v; want ErrPath", p, got, err)
		}
	}
	if got := names(t, outside); len(got) != 0 {
		t.Errorf("made outside: %v", got)
	}
}

func FuzzDataDir(f *testing.F) {
	for _, p := range []string{"data", "./x", "..", "../x", "a/../../x", "/etc", "", ".", "a\x00b", "a//b", "...", "a/./.."} {
		f.Add("shop", p)
	}
	f.Add("..", "x")
	f.Add("a/b", "x")
	f.Fuzz(func(t *testing.T, project, path string) {
		if len(path) > 200 || strings.Count(path, "/") > 20 {
			t.Skip()
		}
		state := t.TempDir()
		s, err := content.New(state)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.DataDir(project, path)
		if err == nil && got != filepath.Join(state, "data", project) &&
			!strings.HasPrefix(got, filepath.Join(state, "data", project)+"/") {
			t.Errorf("DataDir(%q, %q) = %s", project, path, got)
		}
		if top := names(t, state); len(top) != 2 {
			t.Errorf("DataDir(%q, %q) left %v", project, path, top)
		}
		if below := names(t, filepath.Join(state, "data")); len(below) > 1 || len(below) == 1 && below[0] != project {
			t.Errorf("DataDir(%q, %q) made %v", project, path, below)
		}
	})
}

func FuzzMaterializePath(f *testing.F) {
	for _, p := range []string{"in/a", "../secret", "in/../../secret", "/secret", "in/up/secret", "", ".", "in"} {
		f.Add(p)
	}
	top := f.TempDir()
	root := filepath.Join(top, "root")
	if err := os.MkdirAll(filepath.Join(root, "in"), 0o755); err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(top, "secret"), []byte("secret"), 0o644),
		os.Symlink("../..", filepath.Join(root, "in/up"))); err != nil {
		f.Fatal(err)
	}
	id := gitid.Blob([]byte("secret"))
	f.Fuzz(func(t *testing.T, path string) {
		s, _ := newStore(t)
		if got, err := s.Materialize(root, manifests.File{Path: path, Mode: gitid.ModeFile, ID: id}, content.Ownership{}, nil); err == nil {
			t.Errorf("%q led out to %s", path, got)
		}
	})
}
