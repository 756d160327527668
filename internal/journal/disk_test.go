package journal_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk returns a folder, and what makes it refuse writes and take them
// again.
func smallDisk(t *testing.T) (dir string, fill, free func()) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=128k"); err != nil {
		t.Logf("no small file system (%v); taking the right to write away instead", err)
		chmod := func(mode os.FileMode) func() {
			return func() {
				if err := os.Chmod(dir, mode); err != nil {
					t.Fatal(err)
				}
			}
		}
		return dir, chmod(0o500), chmod(0o700)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	stuff := filepath.Join(dir, "stuff")
	return dir, func() {
			f, err := os.Create(stuff)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close() //nolint:errcheck // the disk is full
			for buf := make([]byte, 4096); err == nil; {
				_, err = f.Write(buf)
			}
		}, func() {
			if err := os.Remove(stuff); err != nil {
				t.Fatal(err)
			}
		}
}
