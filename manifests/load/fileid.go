package load

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/remorahq/remora/internal/gitid"
	"github.com/remorahq/remora/internal/loader/input"
	"github.com/remorahq/remora/manifests"
)

// Limits of what an app mounts from the repository.
const (
	maxMountedFiles = 10_000
	maxMountedBytes = 256 << 20
)

// mountedSize is what an app mounts from the repository so far.
type mountedSize struct {
	files int
	bytes int64
}

// identify returns git's identity of a file or folder of the repository and
// counts it against the app's limits.
func (a *app) identify(path string) (manifests.File, error) {
	rel, ok := a.repo.rel(path)
	if !ok {
		return manifests.File{}, errOutside
	}
	if f, known := a.identified[path]; known {
		return f, nil
	}
	if err := a.measure(path); err != nil {
		return manifests.File{}, err
	}
	o, err := gitid.OfPath(path)
	if err != nil {
		return manifests.File{}, fmt.Errorf("hash %s: %w", rel, err)
	}
	a.note(manifests.Input{Path: rel, Kind: manifests.InputObject, ID: o.Mode + " " + o.ID})
	f := manifests.File{Path: rel, Mode: o.Mode, ID: o.ID}
	if a.identified == nil {
		a.identified = map[string]manifests.File{}
	}
	a.identified[path] = f
	return f, nil
}

// measure walks what is to be mounted before it is hashed: its size, links
// that leave the repository, and pointers to large-file storage.
func (a *app) measure(path string) error {
	return filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case d.Type()&fs.ModeSymlink != 0:
			if _, exists, err := a.repo.resolve(file); err != nil || !exists {
				return fmt.Errorf("link %s %s", a.shown(file), why(err))
			}
			return nil
		case !d.Type().IsRegular():
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		a.mounted.files++
		a.mounted.bytes += info.Size()
		if a.mounted.files > maxMountedFiles || a.mounted.bytes > maxMountedBytes {
			return fmt.Errorf("the app mounts more than %d files or %d MiB of the repository", maxMountedFiles, maxMountedBytes>>20)
		}
		return a.pointer(file, info.Size())
	})
}

// pointer reports a file that only points to large-file storage.
func (a *app) pointer(file string, size int64) error {
	const prefix = "version https://git-lfs.github.com/spec/"
	if size < int64(len(prefix)) || size > 1024 {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if strings.HasPrefix(string(data), prefix) {
		return fmt.Errorf("%s is a pointer to large-file storage, not the file: %w", a.shown(file), errPointer)
	}
	return nil
}

var errPointer = errors.New("commit the content itself")

// noteNames makes an answer depend on the names in a folder.
func noteNames(note func(manifests.Input), r repo, dir string) {
	rel, ok := r.rel(dir)
	if !ok {
		return
	}
	if id, err := input.Names(dir); err == nil {
		note(manifests.Input{Path: rel, Kind: manifests.InputNames, ID: id})
	}
}
