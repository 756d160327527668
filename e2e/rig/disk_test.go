package rig_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/remorahq/remora/e2e/rig"
)

func TestSmallDiskIsFull(t *testing.T) {
	dir := rig.SmallDisk(t, 1<<20)
	empty := rig.FillDisk(t, dir)
	file := filepath.Join(dir, "more")
	if err := os.WriteFile(file, []byte("x"), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing to a full disk gives %v", err)
	}
	empty()
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Errorf("writing after making room: %v", err)
	}
}
