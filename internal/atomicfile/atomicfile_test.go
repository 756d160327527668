package atomicfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/internal/atomicfile"
)

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	for i, perm := range []fs.FileMode{0o666, 0o600} {
		content := fmt.Sprintf("content %d", i)
		if err := atomicfile.WriteFile(path, []byte(content), perm); err != nil {
			t.Fatal(err)
		}
		if got := read(t, path); got != content {
			t.Errorf("got %q, want %q", got, content)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != perm {
			t.Errorf("mode %v, %v; want %v", info.Mode(), err, perm)
		}
	}
	wantNames(t, dir, "a")
}

func TestReplaceKeepsPrevious(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	for _, content := range []string{"1", "2", "3"} {
		if err := atomicfile.Replace(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, path) + read(t, path+".prev"); got != "32" {
		t.Errorf("file and previous copy are %q, want 32", got)
	}
	wantNames(t, dir, "a", "a.prev")
}

// A reader beside a writer sees whole contents only.
func TestReadersNeverSeeAMixture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	contents := [][]byte{bytes.Repeat([]byte("x"), 100_000), bytes.Repeat([]byte("y"), 50_000)}
	if err := atomicfile.Replace(path, contents[0], 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				got, err := os.ReadFile(path)
				if err != nil || !bytes.Equal(got, contents[0]) && !bytes.Equal(got, contents[1]) {
					t.Errorf("read %d bytes, %v", len(got), err)
					return
				}
			}
		})
	}
	for i := range 50 {
		if err := atomicfile.Replace(path, contents[i%2], 0o600); err != nil {
			t.Error(err)
		}
	}
	close(done)
	readers.Wait()
}

func TestClean(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".ledger.json.tmp-123", "ledger.json", ".keep", "x.tmp-y"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := atomicfile.Clean(dir); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, ".keep", "ledger.json", "x.tmp-y")
}

// On a full disk the former content stays, nothing is left behind, and the
// error says why.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("needs the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "a")
	store := atomicfile.NewStore(path, 1)
	if err := store.Save("small"); err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("x"), 128<<10)
	if err := store.Save(big); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("save: %v, want ENOSPC", err)
	}
	if err := atomicfile.WriteFile(path, big, 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write: %v, want ENOSPC", err)
	}
	var got string
	if recovery, err := store.Load(&got); recovery != nil || err != nil || got != "small" {
		t.Errorf("load: %q, %v, %v", got, recovery, err)
	}
	wantNames(t, dir, "a")
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range list {
		got = append(got, d.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
