// Package input identifies what an answer of the loader depends on, so that
// the loader's process notes it and its parent can tell whether the answer
// still holds.
//
// It only reads, keeps no state, and may be called from any goroutine.
package input

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/remorahq/remora/internal/gitid"
	"github.com/remorahq/remora/manifests"
)

// Names returns a hash of the names in a folder.
func Names(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	for _, e := range entries {
		fmt.Fprintf(&b, "%q %t\n", e.Name(), e.IsDir())
	}
	return gitid.Blob(b.Bytes()), nil
}

// Object returns "mode id" of a file or folder.
func Object(path string) (string, error) {
	o, err := gitid.OfPath(path)
	if err != nil {
		return "", err
	}
	return o.Mode + " " + o.ID, nil
}

// File returns "mode id" of a regular file, following links, whose content was
// read already.
func File(path string, content []byte) string {
	mode := gitid.ModeFile
	if info, err := os.Stat(path); err == nil {
		if m, ok := gitid.FileMode(info.Mode()); ok {
			mode = m
		}
	}
	return mode + " " + gitid.Blob(content)
}

// maxFile bounds what is read to compare one manifest file.
const maxFile = 1 << 20

// Same says whether in is still as it was noted, below root.
func Same(root string, in manifests.Input) bool {
	path := in.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(root, filepath.FromSlash(path))
	}
	var id string
	var err error
	switch in.Kind {
	case manifests.InputAbsent:
		_, err = os.Lstat(path)
		return errors.Is(err, fs.ErrNotExist)
	case manifests.InputNames:
		id, err = Names(path)
	case manifests.InputFile:
		id, err = file(path)
	case manifests.InputObject:
		id, err = Object(path)
	default:
		return false
	}
	return err == nil && id == in.ID
}

func file(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return "", errors.New("not a manifest file")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return File(path, data), nil
}
