package gitsource

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/gitid"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

func openFolder(t *testing.T, dir string, opts Options) *Folder {
	t.Helper()
	f, err := NewFolder(manifests.Source{Name: "local", Folder: dir}, opts)
	check(t, err)
	t.Cleanup(func() { check(t, f.Close()) })
	return f
}

func folderFetch(t *testing.T, f *Folder) status.Revision {
	t.Helper()
	rev, err := f.Fetch(t.Context())
	check(t, err)
	return rev
}

func TestFolderRevision(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "shop/compose.yaml"), "one")
	writeFile(t, filepath.Join(dir, ".git/index"), "git's own")
	f := openFolder(t, dir, Options{})
	if !f.Current().IsZero() {
		t.Errorf("before the first fetch: %+v", f.Current())
	}
	one := folderFetch(t, f)
	tree, err := gitid.OfPath(dir)
	check(t, err)
	if one.String() != "folder@"+tree.ID[:8] || one.Folder != dir || !one.Live || one.SHA != tree.ID {
		t.Errorf("%+v, tree %s", one, tree.ID)
	}
	writeFile(t, filepath.Join(dir, ".git/index"), "changed")
	check(t, os.MkdirAll(filepath.Join(dir, "empty"), 0o755))
	check(t, os.Chtimes(filepath.Join(dir, "shop/compose.yaml"), time.Now(), time.Now().Add(-time.Hour)))
	if same := folderFetch(t, f); same.SHA != one.SHA {
		t.Errorf("equal content became %s", same)
	}
	writeFile(t, filepath.Join(dir, "shop/compose.yaml"), "two")
	two := folderFetch(t, f)
	check(t, os.Chmod(filepath.Join(dir, "shop/compose.yaml"), 0o755))
	three := folderFetch(t, f)
	if two.SHA == one.SHA || three.SHA == two.SHA || two.Previous != one.SHA || f.Current().SHA != three.SHA {
		t.Errorf("%s, %s, %s", one, two, three)
	}
	check(t, os.Chmod(filepath.Join(dir, "shop/compose.yaml"), 0o644))
	writeFile(t, filepath.Join(dir, "shop/compose.yaml"), "one")
	if back := folderFetch(t, openFolder(t, dir, Options{})); back.SHA != one.SHA {
		t.Errorf("the first content became %s, was %s", back, one)
	}
}

// A file is rewritten within the clock's step, with the same size: the memory
// of what was read must not hide it.
func TestFolderQuickRewrites(t *testing.T) {
	dir := t.TempDir()
	f := openFolder(t, dir, Options{})
	for i := range 200 {
		content := fmt.Sprintf("%03d", i)
		writeFile(t, filepath.Join(dir, "a"), content)
		want, err := gitid.Tree([]gitid.Entry{{Name: "a", Mode: gitid.ModeFile, ID: gitid.Blob([]byte(content))}})
		check(t, err)
		if got := folderFetch(t, f); got.SHA != want {
			t.Fatalf("rewrite %d was not seen", i)
		}
	}
}

func TestFolderMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	f := openFolder(t, dir, Options{})
	_, err := f.Fetch(t.Context())
	wantError(t, err, status.GitOperationFailed, dir)
	if !errors.Is(err, ErrFolderGone) {
		t.Errorf("%v is not ErrFolderGone", err)
	}
	hints := f.Changes(t.Context())
	writeFile(t, filepath.Join(dir, "a"), "1")
	wantHint(t, hints, "the folder was made", f, func(r status.Revision) bool { return !r.IsZero() })
}

// Each kind of edit is seen within a second.
func TestFolderEdits(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "real")
	file := filepath.Join(dir, "shop/compose.yaml")
	writeFile(t, file, "0")
	steps := []struct {
		name string
		edit func()
	}{
		{"write in place", func() { writeFile(t, file, "1") }},
		{"rename and replace", func() {
			writeFile(t, file+"~", "2")
			check(t, os.Rename(file+"~", file))
		}},
		{"move away and write anew", func() {
			check(t, os.Rename(file, file+".bak"))
			writeFile(t, file, "3")
		}},
		{"write after that", func() { writeFile(t, file, "4") }},
		{"mode", func() { check(t, os.Chmod(file, 0o755)) }},
		{"new folders", func() { writeFile(t, filepath.Join(dir, "x/y/z/deep"), "1") }},
		{"file in a new folder", func() { writeFile(t, filepath.Join(dir, "x/y/z/deep"), "2") }},
		{"folder moved in", func() {
			writeFile(t, filepath.Join(top, "in/a/b"), "1")
			check(t, os.Rename(filepath.Join(top, "in"), filepath.Join(dir, "in")))
		}},
		{"file in the moved folder", func() { writeFile(t, filepath.Join(dir, "in/a/b"), "2") }},
		{"removed", func() { check(t, os.RemoveAll(filepath.Join(dir, "in"))) }},
		{"link", func() { check(t, os.Symlink("compose.yaml", filepath.Join(dir, "shop/link"))) }},
		{"root replaced", func() {
			writeFile(t, filepath.Join(top, "next/shop/compose.yaml"), "5")
			check(t, os.Rename(dir, filepath.Join(top, "former")))
			check(t, os.Rename(filepath.Join(top, "next"), dir))
		}},
		{"write in the new root", func() { writeFile(t, file, "6") }},
	}
	f := openFolder(t, dir, Options{})
	hints := f.Changes(t.Context())
	for _, s := range steps {
		before := folderFetch(t, f)
		drain(hints)
		start := time.Now()
		s.edit()
		wantHint(t, hints, s.name, f, func(r status.Revision) bool { return r.SHA != before.SHA })
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s: seen after %s", s.name, took)
		}
	}
}

// The folder may be a link that a deployment sets anew.
func TestFolderLinkSetAnew(t *testing.T) {
	top := t.TempDir()
	writeFile(t, filepath.Join(top, "v1/a"), "1")
	writeFile(t, filepath.Join(top, "v2/a"), "2")
	check(t, os.Symlink("v1", filepath.Join(top, "current")))
	f := openFolder(t, filepath.Join(top, "current"), Options{})
	hints := f.Changes(t.Context())
	before := folderFetch(t, f)
	check(t, os.Symlink("v2", filepath.Join(top, "next")))
	check(t, os.Rename(filepath.Join(top, "next"), filepath.Join(top, "current")))
	wantHint(t, hints, "link set anew", f, func(r status.Revision) bool { return r.SHA != before.SHA })
	before = folderFetch(t, f)
	writeFile(t, filepath.Join(top, "v2/a"), "3")
	wantHint(t, hints, "edit behind the link", f, func(r status.Revision) bool { return r.SHA != before.SHA })
}

func TestFolderVanishes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	writeFile(t, filepath.Join(dir, "a"), "1")
	f := openFolder(t, dir, Options{})
	hints := f.Changes(t.Context())
	rev := folderFetch(t, f)
	check(t, os.RemoveAll(dir))
	eventually(t, "a hint and the error", func() bool {
		select {
		case <-hints:
			_, err := f.Fetch(t.Context())
			return errors.Is(err, ErrFolderGone)
		default:
			return false
		}
	})
	if f.Current().SHA != rev.SHA {
		t.Errorf("in force: %+v", f.Current())
	}
	writeFile(t, filepath.Join(dir, "a"), "2")
	wantHint(t, hints, "it is back", f, func(r status.Revision) bool { return r.SHA != rev.SHA })
}

// A burst of writes gives few hints, and the last of them sees everything.
func TestFolderBurst(t *testing.T) {
	dir := t.TempDir()
	f := openFolder(t, dir, Options{})
	hints := f.Changes(t.Context())
	folderFetch(t, f)
	var writers sync.WaitGroup
	start := time.Now()
	for i := range 4 {
		writers.Go(func() {
			for j := range 100 {
				writeFile(t, filepath.Join(dir, fmt.Sprint(i), fmt.Sprint(j)), "x")
			}
		})
	}
	writers.Wait()
	took := time.Since(start)
	got := 0
	eventually(t, "all files", func() bool {
		select {
		case <-hints:
			got++
			rev, err := f.Fetch(t.Context())
			check(t, err)
			tree, err := gitid.OfPath(dir)
			return err == nil && tree.Files == 400 && tree.ID == rev.SHA
		default:
			return false
		}
	})
	if most := 3 + int(took/settleMost); got > most {
		t.Errorf("%d hints in %s for one burst, want at most %d", got, took, most)
	}
}

func TestFolderUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read everything")
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a"), "1")
	check(t, os.Mkdir(filepath.Join(dir, "pgdata"), 0))
	wantReports(t, folderFetch(t, openFolder(t, dir, Options{})), "pgdata: LoadFailed")
}

func TestFolderClose(t *testing.T) {
	f := openFolder(t, t.TempDir(), Options{})
	hints := f.Changes(t.Context())
	check(t, f.Close())
	check(t, f.Close())
	if _, open := <-hints; open {
		t.Error("the channel is open after Close")
	}
}

// wantHint takes hints until the revision is as wanted.
func wantHint(t *testing.T, hints <-chan struct{}, what string, f *Folder, ok func(status.Revision) bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case <-hints:
			rev, err := f.Fetch(t.Context())
			if err == nil && ok(rev) {
				return
			}
		case <-deadline:
			t.Fatalf("no hint: %s", what)
		}
	}
}

func drain(hints <-chan struct{}) {
	for {
		select {
		case <-hints:
		default:
			return
		}
	}
}
