package content

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/remorahq/remora/internal/gitid"
	"github.com/remorahq/remora/manifests"
)

const lfsPointer = "version https://git-lfs.github.com/spec/"

// copier copies from a revision and computes the ids of what it copied.
type copier struct {
	from      *os.Root
	ownership Ownership
	files     int
	bytes     int64
	// sync makes written files durable, some at a time.
	sync errgroup.Group
}

func newCopier(from *os.Root, o Ownership) *copier {
	c := &copier{from: from, ownership: o}
	c.sync.SetLimit(8)
	return c
}

// copyFrom copies f into temp/content.
func (s *Store) copyFrom(root string, f manifests.File, temp string, o Ownership) (object gitid.Object, err error) {
	if !filepath.IsLocal(f.Path) {
		return object, fmt.Errorf("%w: %q", ErrPath, f.Path)
	}
	from, err := os.OpenRoot(root)
	if err != nil {
		return object, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	c := newCopier(from, o)
	to := filepath.Join(temp, "content")
	object, err = c.copy(path.Clean(f.Path), to)
	if err = errors.Join(err, c.sync.Wait()); err != nil {
		return object, err
	}
	if object.Mode != f.Mode {
		return object, fmt.Errorf("%w: it has the mode %s, not %s", ErrAltered, object.Mode, f.Mode)
	}
	if object.Mode == gitid.ModeTree {
		return object, checkLinks(to)
	}
	return object, nil
}

// copy copies what name holds. Empty folders and what is neither file, folder
// nor link have no files and are left out, as git leaves them out.
func (c *copier) copy(name, to string) (gitid.Object, error) {
	info, err := c.from.Lstat(name)
	if err != nil {
		return gitid.Object{}, err
	}
	mode, ok := gitid.FileMode(info.Mode())
	switch {
	case !ok:
		return gitid.Object{}, nil
	case mode == gitid.ModeTree:
		return c.folder(name, to)
	case mode == gitid.ModeLink:
		return c.link(name, to)
	}
	return c.file(name, mode, to)
}

func (c *copier) folder(name, to string) (gitid.Object, error) {
	sum := gitid.Object{Mode: gitid.ModeTree}
	if err := os.Mkdir(to, 0o755); err != nil {
		return sum, err
	}
	list, err := c.list(name)
	if err != nil {
		return sum, err
	}
	var entries []gitid.Entry
	for _, d := range list {
		if d.Name() == ".git" {
			continue
		}
		child := filepath.Join(to, d.Name())
		o, err := c.copy(path.Join(name, d.Name()), child)
		if err != nil {
			return sum, fmt.Errorf("copy %s: %w", d.Name(), err)
		}
		if o.Files == 0 {
			if err := os.RemoveAll(child); err != nil {
				return sum, err
			}
			continue
		}
		sum.Files += o.Files
		sum.Bytes += o.Bytes
		entries = append(entries, gitid.Entry{Name: d.Name(), Mode: o.Mode, ID: o.ID})
	}
	if sum.ID, err = gitid.Tree(entries); err != nil {
		return sum, err
	}
	return sum, c.sealFolder(to)
}

func (c *copier) list(name string) ([]fs.DirEntry, error) {
	f, err := c.from.Open(name)
	if err != nil {
		return nil, err
	}
	list, err := f.ReadDir(-1)
	return list, errors.Join(err, f.Close())
}

// sealFolder makes a folder durable and read-only.
func (c *copier) sealFolder(to string) error {
	f, err := os.Open(to)
	if err != nil {
		return err
	}
	return errors.Join(c.own(f), f.Chmod(0o555), f.Sync(), f.Close())
}

func (c *copier) link(name, to string) (gitid.Object, error) {
	target, err := c.from.Readlink(name)
	if err != nil {
		return gitid.Object{}, err
	}
	if err := c.count(int64(len(target))); err != nil {
		return gitid.Object{}, err
	}
	if path.IsAbs(target) {
		return gitid.Object{}, fmt.Errorf("%w: it is a link to %q", ErrPath, target)
	}
	id := gitid.Blob([]byte(target))
	return gitid.Object{Mode: gitid.ModeLink, ID: id, Files: 1, Bytes: int64(len(target))}, os.Symlink(target, to)
}

func (c *copier) file(name, mode, to string) (o gitid.Object, err error) {
	f, err := c.from.Open(name)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return o, err
	}
	if err := c.count(info.Size()); err != nil {
		return o, err
	}
	content, err := refusePointer(f, info.Size())
	if err != nil {
		return o, err
	}
	return c.write(to, mode, info.Size(), content)
}

// write writes one durable file and returns the id of what was written.
func (c *copier) write(to, mode string, size int64, content io.Reader) (o gitid.Object, err error) {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return o, err
	}
	sum := gitid.NewBlob(size)
	n, err := io.Copy(io.MultiWriter(f, sum), content)
	if err == nil && n != size {
		err = gitid.ErrChanged
	}
	if err == nil {
		err = errors.Join(c.own(f), f.Chmod(c.permission(mode)))
	}
	if err != nil {
		return o, errors.Join(err, f.Close())
	}
	c.sync.Go(func() error { return errors.Join(f.Sync(), f.Close()) })
	return gitid.Object{Mode: mode, ID: gitid.Hex(sum), Files: 1, Bytes: n}, nil
}

func (c *copier) permission(mode string) fs.FileMode {
	switch {
	case c.ownership.Mode != nil:
		return fs.FileMode(*c.ownership.Mode)
	case mode == gitid.ModeExec:
		return 0o755
	}
	return 0o644
}

// own sets the owner where the manifest names one.
func (c *copier) own(f *os.File) error {
	if c.ownership.UID == "" && c.ownership.GID == "" {
		return nil
	}
	return f.Chown(number(c.ownership.UID), number(c.ownership.GID))
}

// number is -1, no change, for the empty string; blobName checked the rest.
func number(s string) int {
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	return -1
}

// count stops a copy that exceeds the limits, before it is written.
func (c *copier) count(size int64) error {
	c.files++
	c.bytes += size
	if c.files > MaxFiles || c.bytes > MaxBytes {
		return fmt.Errorf("%w of %d files and %d MiB; put the content into an image or a volume", ErrLimit, MaxFiles, int64(MaxBytes)>>20)
	}
	return nil
}

// refusePointer returns f unread, unless it holds a pointer.
func refusePointer(f io.Reader, size int64) (io.Reader, error) {
	if size > 1024 {
		return f, nil
	}
	content, err := io.ReadAll(io.LimitReader(f, 1025))
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(content, []byte(lfsPointer)) {
		return nil, fmt.Errorf("%w; store the file itself in git, or put it into an image", ErrPointer)
	}
	return bytes.NewReader(content), nil
}

// checkLinks follows every link of a copied folder as the kernel would; one
// that leads nowhere inside is the container's business, one that leads
// outside is an error.
func checkLinks(dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Type() != fs.ModeSymlink {
			return err
		}
		if _, err := root.Stat(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: the link %s: %w", ErrPath, name, err)
		}
		return nil
	})
}
