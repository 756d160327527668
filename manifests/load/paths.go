package load

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Limits of what one app may read.
const (
	maxFileSize = 1 << 20
	maxFiles    = 64
)

// errOutside says that a path leaves the repository.
var errOutside = errors.New("leads out of the repository")

// repo is the folder that every path must lie in.
type repo struct {
	// root is absolute and free of links.
	root string
}

func openRepo(root string) (repo, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return repo{}, fmt.Errorf("open repository: %w", err)
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return repo{}, fmt.Errorf("open repository: %w", err)
	}
	return repo{root: real}, nil
}

// rel returns path relative to the root, slash-separated; ok is false for a
// path outside of it. It does not look at links.
func (r repo) rel(path string) (string, bool) {
	rel, err := filepath.Rel(r.root, filepath.Clean(path))
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", false
	}
	return filepath.ToSlash(rel), true
}

// resolve follows the links of an absolute path and returns where it leads;
// it must lie inside. A path that does not exist is returned as it is, once
// its nearest existing folder is inside; exists is then false.
func (r repo) resolve(path string) (real string, exists bool, err error) {
	path = filepath.Clean(path)
	if _, ok := r.rel(path); !ok {
		return "", false, errOutside
	}
	real, err = filepath.EvalSymlinks(path)
	if err == nil {
		if _, ok := r.rel(real); !ok {
			return "", true, errOutside
		}
		return real, true, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", false, err
	}
	if info, lerr := os.Lstat(path); lerr == nil && info.Mode()&fs.ModeSymlink != 0 {
		return "", true, errors.New("is a link that leads nowhere")
	}
	if _, _, err := r.resolve(filepath.Dir(path)); err != nil {
		return "", false, err
	}
	return path, false, nil
}

// read returns the content of a regular file of at most 1 MiB inside the
// repository.
func (r repo) read(path string) ([]byte, error) {
	real, exists, err := r.resolve(path)
	if err != nil {
		return nil, err
	}
	if !exists {
		return nil, fs.ErrNotExist
	}
	return readBounded(real)
}

func readBounded(path string) ([]byte, error) {
	// A pipe or a device in a manifest's place would block or never end.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileSize {
		return nil, errors.New("is larger than 1 MiB")
	}
	return data, nil
}
