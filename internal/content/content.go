// Package content puts what containers mount where the engine finds it: files
// of a revision and inline content under `blobs/`, addressed by mode and git
// object id, so that a mount's source changes exactly when its content does;
// and the host data of apps under `data/`.
//
// It must not know revisions, containers or the engine, and never removes
// anything under `data/`. Blobs are written once, verified against their id
// while they are copied, and renamed into place; they are only ever mounted
// read-only. [Store] may be used concurrently, also by several processes.
package content

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/internal/atomicfile"
	"github.com/remorahq/remora/internal/gitid"
	"github.com/remorahq/remora/manifests"
)

// The limits of what one app mounts from its repository.
const (
	MaxFiles = 10_000
	MaxBytes = 256 << 20
)

// ErrAltered says that the content is not what its id names.
var ErrAltered = errors.New("the content does not have the id that the manifest was loaded with")

// ErrPath says that a path leaves the place it belongs to.
var ErrPath = errors.New("the path leaves its folder")

// ErrLimit says that an app mounts more than [MaxFiles] or [MaxBytes].
var ErrLimit = errors.New("more than an app may mount from its repository")

// ErrPointer says that a file is a Git LFS pointer.
var ErrPointer = errors.New("a Git LFS pointer, whose content is not in the repository")

// Ownership is the uid, gid and mode of a config or secret; the zero value
// keeps the repository's mode and gives the file to the agent's user.
type Ownership struct {
	// UID and GID are numbers; a name would be one of the container's.
	UID, GID string
	// Mode is the permission of a file; nil keeps it.
	Mode *uint32
}

// Budget counts what one app mounts; the zero value is an empty one. It is not
// for concurrent use.
type Budget struct {
	Files int
	Bytes int64
}

// Store is the blobs and data below one state folder.
type Store struct {
	state string

	mu   sync.Mutex
	keys map[string]*blob
}

// blob is what this process knows of one name under blobs/.
type blob struct {
	mu sync.Mutex
	// object is set once the blob was read and found good.
	object *gitid.Object
}

const unfinished = ".new-"

// New opens the store of a state folder and removes what a killed process left
// unfinished. Only one process may call it at a time.
func New(state string) (*Store, error) {
	s := &Store{state: state, keys: map[string]*blob{}}
	for _, dir := range []string{s.blobs(), s.data()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("open content store: %w", err)
		}
	}
	list, err := os.ReadDir(s.blobs())
	if err != nil {
		return nil, fmt.Errorf("open content store: %w", err)
	}
	for _, d := range list {
		if strings.HasPrefix(d.Name(), unfinished) {
			if err := atomicfile.RemoveTree(filepath.Join(s.blobs(), d.Name())); err != nil {
				return nil, fmt.Errorf("open content store: %w", err)
			}
		}
	}
	return s, nil
}

func (s *Store) blobs() string { return filepath.Join(s.state, "blobs") }
func (s *Store) data() string  { return filepath.Join(s.state, "data") }

// Materialize copies a file or folder of a revision, whose files lie in root,
// and returns the path to mount. The id is computed from what is copied; where
// it differs from f.ID, nothing is kept and the error is [ErrAltered]. Calling
// it again costs nothing. budget may be nil.
func (s *Store) Materialize(root string, f manifests.File, o Ownership, budget *Budget) (string, error) {
	name, err := blobName(f.Mode, f.ID, o)
	if err != nil {
		return "", fmt.Errorf("mount %s: %w", f.Path, err)
	}
	path, object, err := s.once(name, f, o, func(temp string) (gitid.Object, error) {
		return s.copyFrom(root, f, temp, o)
	})
	if err != nil {
		return "", fmt.Errorf("mount %s: %w", f.Path, err)
	}
	if err := budget.take(object); err != nil {
		return "", fmt.Errorf("mount %s: %w", f.Path, err)
	}
	return path, nil
}

// Inline writes content that a manifest holds itself, and returns the path to
// mount.
func (s *Store) Inline(content string, o Ownership) (string, error) {
	f := manifests.File{Mode: gitid.ModeFile, ID: gitid.Blob([]byte(content))}
	name, err := blobName(f.Mode, f.ID, o)
	if err != nil {
		return "", fmt.Errorf("mount inline content: %w", err)
	}
	path, _, err := s.once(name, f, o, func(temp string) (gitid.Object, error) {
		c := newCopier(nil, o)
		object, err := c.write(filepath.Join(temp, "content"), f.Mode, int64(len(content)), strings.NewReader(content))
		return object, errors.Join(err, c.sync.Wait())
	})
	if err != nil {
		return "", fmt.Errorf("mount inline content: %w", err)
	}
	return path, nil
}

// Path is where Materialize puts a file or folder; it may not be there.
func (s *Store) Path(f manifests.File, o Ownership) (string, error) {
	name, err := blobName(f.Mode, f.ID, o)
	if err != nil {
		return "", err
	}
	return filepath.Join(s.blobs(), name), nil
}

// InlinePath is where Inline puts content; it may not be there.
func (s *Store) InlinePath(content string, o Ownership) (string, error) {
	return s.Path(manifests.File{Mode: gitid.ModeFile, ID: gitid.Blob([]byte(content))}, o)
}

// once returns the blob of that name, after making it if it is not there or
// not what it should be.
func (s *Store) once(name string, f manifests.File, o Ownership, fill func(temp string) (gitid.Object, error)) (string, gitid.Object, error) {
	b := s.blob(name)
	b.mu.Lock()
	defer b.mu.Unlock()
	path := filepath.Join(s.blobs(), name)
	if b.object != nil && exists(path) {
		return path, *b.object, nil
	}
	b.object = nil
	if object, err := gitid.OfPath(path); err == nil && same(object, f, o) {
		b.object = &object
		return path, object, nil
	}
	object, err := s.place(path, f, o, fill)
	if err != nil {
		return "", gitid.Object{}, err
	}
	b.object = &object
	return path, object, nil
}

// place fills a temporary folder, compares the id, and renames the result.
func (s *Store) place(path string, f manifests.File, o Ownership, fill func(temp string) (gitid.Object, error)) (object gitid.Object, err error) {
	temp, err := os.MkdirTemp(s.blobs(), unfinished)
	if err != nil {
		return object, err
	}
	defer func() { err = errors.Join(err, atomicfile.RemoveTree(temp)) }()
	if object, err = fill(temp); err != nil {
		return object, err
	}
	if object.ID != f.ID {
		return object, fmt.Errorf("%w: it has %s, not %s", ErrAltered, object.ID, f.ID)
	}
	good := func() bool {
		there, err := gitid.OfPath(path)
		return err == nil && same(there, f, o)
	}
	if err := settle(filepath.Join(temp, "content"), path, object.Mode, good); err != nil {
		return object, err
	}
	return object, atomicfile.SyncDir(s.blobs())
}

// settle gives fresh the blob's name. Where another process was faster and its
// blob is good, that one stays: it may be in use already. What is not good was
// altered: containers that mount it keep it, no new one gets it. A folder must
// be writable to be moved.
func settle(fresh, path, mode string, good func() bool) error {
	if mode == gitid.ModeTree {
		if err := os.Chmod(fresh, 0o755); err != nil {
			return err
		}
	}
	err := unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if errors.Is(err, fs.ErrExist) {
		if good() {
			return nil
		}
		err = exchange(fresh, path, mode)
	}
	if err != nil {
		return fmt.Errorf("rename to %s: %w", path, err)
	}
	if mode == gitid.ModeTree {
		return os.Chmod(path, 0o555)
	}
	return nil
}

// exchange swaps the two, so that at no moment there is none.
func exchange(fresh, path, mode string) error {
	if mode == gitid.ModeTree {
		if err := os.Chmod(path, 0o755); err != nil {
			return err
		}
	}
	return unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE)
}

func (s *Store) blob(name string) *blob {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.keys[name]
	if b == nil {
		b = &blob{}
		s.keys[name] = b
	}
	return b
}

// Prune removes the blobs that keep does not name, by the paths that
// Materialize and Inline returned. The caller sees to it that no container is
// being created meanwhile with a path that keep does not know.
func (s *Store) Prune(keep func(path string) bool) (removed int, err error) {
	list, err := os.ReadDir(s.blobs())
	if err != nil {
		return 0, fmt.Errorf("prune content: %w", err)
	}
	for _, d := range list {
		path := filepath.Join(s.blobs(), d.Name())
		if strings.HasPrefix(d.Name(), unfinished) || keep(path) {
			continue
		}
		if err := s.discard(d.Name(), path); err != nil {
			return removed, fmt.Errorf("prune content: %w", err)
		}
		removed++
	}
	return removed, nil
}

func (s *Store) discard(name, path string) error {
	b := s.blob(name)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.object = nil
	return atomicfile.RemoveTree(path)
}

// take adds an object, if it fits.
func (b *Budget) take(o gitid.Object) error {
	if b == nil {
		b = &Budget{}
	}
	if b.Files+o.Files > MaxFiles || b.Bytes+o.Bytes > MaxBytes {
		return fmt.Errorf("%w: %d files and %d bytes, the limits are %d and %d; put the content into an image or a volume",
			ErrLimit, b.Files+o.Files, b.Bytes+o.Bytes, MaxFiles, int64(MaxBytes))
	}
	b.Files += o.Files
	b.Bytes += o.Bytes
	return nil
}

// blobName names a blob after all that its form depends on. A git id does not
// contain the mode.
func blobName(mode, id string, o Ownership) (string, error) {
	switch mode {
	case gitid.ModeFile, gitid.ModeExec:
	case gitid.ModeTree:
		if o.Mode != nil {
			return "", errors.New("a mode cannot be set for a folder; set it in the repository")
		}
	default:
		return "", fmt.Errorf("git mode %q cannot be mounted; name a file or a folder", mode)
	}
	if len(id) != 40 || strings.Trim(id, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%q is no object id", id)
	}
	var name strings.Builder
	name.WriteString(mode + "-" + id)
	for _, v := range []struct{ mark, value string }{{"u", o.UID}, {"g", o.GID}} {
		if v.value == "" {
			continue
		}
		n, err := strconv.ParseUint(v.value, 10, 31)
		if err != nil {
			return "", fmt.Errorf("%sid %q is no number; the names of a container's users are not known on the host", v.mark, v.value)
		}
		name.WriteString("-" + v.mark + strconv.FormatUint(n, 10))
	}
	if o.Mode != nil {
		if *o.Mode > 0o777 {
			return "", fmt.Errorf("mode %#o has more than permission bits", *o.Mode)
		}
		name.WriteString("-m" + strconv.FormatUint(uint64(*o.Mode), 8))
	}
	return name.String(), nil
}

// same says whether a blob on disk is the file; a file's mode may have been
// set to another.
func same(o gitid.Object, f manifests.File, owner Ownership) bool {
	return o.ID == f.ID && (o.Mode == f.Mode || owner.Mode != nil && o.Mode != gitid.ModeTree)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
