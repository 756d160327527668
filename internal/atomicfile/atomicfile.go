// Package atomicfile replaces files so that a reader, or a restart after a
// crash or power loss, finds either the old content or the new one, never a
// mixture: temporary file in the same folder, fsync, rename, fsync of the
// folder.
//
// It must not know what the files mean. Functions may be called concurrently;
// of two writers of one path the last rename wins, and callers that keep a
// previous copy must be serialised ([Store] does so).
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// PreviousSuffix is what [Replace] and [Store] append to the name of the
// previous copy.
const PreviousSuffix = ".prev"

// tempMark is part of the name of every unfinished file.
const tempMark = ".tmp-"

// WriteFile replaces path with data. Permissions are set exactly, whatever the
// umask. On an error the former file is untouched and nothing is left behind.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	temp, err := writeTemp(path, data, perm)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(temp)))
	}
	return SyncDir(filepath.Dir(path))
}

// Replace is [WriteFile] and keeps the former content, if any, as path.prev.
// At no moment are both missing: the former file is linked, not moved.
func Replace(path string, data []byte, perm fs.FileMode) error {
	temp, err := writeTemp(path, data, perm)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := keepPrevious(path); err != nil {
		return fmt.Errorf("keep previous copy of %s: %w", path, errors.Join(err, os.Remove(temp)))
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(temp)))
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a folder durable.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, errors.Join(err, f.Close()))
	}
	return f.Close()
}

// Clean removes what writers that were killed left in dir. Call it before the
// first write, not beside one.
func Clean(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("clean %s: %w", dir, err)
	}
	for _, d := range list {
		if !strings.HasPrefix(d.Name(), ".") || !strings.Contains(d.Name(), tempMark) || d.IsDir() {
			continue
		}
		if err := os.Remove(filepath.Join(dir, d.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("clean %s: %w", dir, err)
		}
	}
	return nil
}

// writeTemp writes a durable file beside path and returns its name.
func writeTemp(path string, data []byte, perm fs.FileMode) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+tempMark)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(perm))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// keepPrevious gives the present file a second name, by rename over the former
// one so that it too is replaced atomically.
func keepPrevious(path string) error {
	link := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+tempMark+"prev")
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := os.Link(path, link)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Rename(link, path+PreviousSuffix)
}

// RemoveTree removes a folder with all in it, also where its folders are
// read-only. A folder that is not there is no error.
func RemoveTree(dir string) error {
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(p, 0o700)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, os.RemoveAll(dir))
}
