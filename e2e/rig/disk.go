package rig

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// SmallDisk is a folder on a file system of its own that holds so many bytes,
// until the test ends: what is written in it must have been closed by then.
func SmallDisk(t TB, bytes int64) string {
	t.Helper()
	requireRoot(t, "a file system of one's own")
	dir := t.TempDir()
	must(t, "mount small disk", syscall.Mount("remora-rig", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", bytes)))
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount small disk: %v", err)
		}
	})
	return dir
}

// FillDisk writes a file of zeroes until the folder's disk is full, and
// returns what makes room again. Only for a [SmallDisk].
func FillDisk(t TB, dir string) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, Unique("ballast"))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	must(t, "fill disk", err)
	defer f.Close()                   //nolint:errcheck // its content is worth nothing
	for size := 64 << 10; size > 0; { // down to the last byte
		if _, err := f.Write(make([]byte, size)); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				must(t, "fill disk", err)
			}
			size /= 2
		}
	}
	return func() { must(t, "empty disk", os.Remove(path)) }
}
