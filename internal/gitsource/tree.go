package gitsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"golang.org/x/sync/errgroup"

	"github.com/remorahq/remora/internal/gitid"
	"github.com/remorahq/remora/internal/status"
)

// Limits bound what is written of one revision. Zero takes the default.
type Limits struct {
	// FileBytes is the size of one file, default 100 MiB; a larger one is left
	// out and reported.
	FileBytes int64
	// Files and Bytes bound all files of a revision, default 50,000 and 1 GiB;
	// what exceeds them is left out and reported. The folder of the
	// environments is written first.
	Files int
	Bytes int64
	// PackBytes bounds what a server may send, default 2 GiB; more is an
	// error.
	PackBytes int64
}

func (l Limits) orDefault() Limits {
	fill := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	fill(&l.FileBytes, 100<<20)
	fill(&l.Bytes, 1<<30)
	fill(&l.PackBytes, 2<<30)
	if l.Files <= 0 {
		l.Files = 50_000
	}
	return l
}

const (
	maxFolders = 100 // depth of folders
	maxReports = 100
	syncers    = 32 // files made durable at a time
	// entriesPerFile bounds the entries that are looked at, of all kinds, for
	// each file that may be written.
	entriesPerFile = 4
)

// treeWriter writes a commit's files below a folder. Every name is checked,
// nothing is followed, and links come last, so that no content goes through
// one.
type treeWriter struct {
	objects *objects
	limits  Limits
	// first is the folder that is written before all others.
	first string
	// root is the folder that is written, former the one of the revision
	// before, nil without one: files of the same content are linked from it.
	// Both lie below base.
	base         *os.Root
	root, former *os.Root
	rootName     string
	formerName   string

	files   int
	bytes   int64
	entries int // of all kinds, looked at
	links   []treeLink
	dirs    []string
	sync    errgroup.Group
	reports []status.Report
	left    int // out of the reports
	full    bool
	// differs says that what is written is not the whole tree as it is.
	differs bool
}

type treeLink struct{ name, target string }

// write writes the whole tree, durably.
func (w *treeWriter) write(ctx context.Context, tree plumbing.Hash) error {
	w.sync.SetLimit(syncers)
	err := w.folder(ctx, tree, ".", 0)
	err = errors.Join(err, w.sync.Wait())
	if err != nil {
		return err
	}
	if err := w.writeLinks(); err != nil {
		return err
	}
	return w.seal()
}

func (w *treeWriter) folder(ctx context.Context, id plumbing.Hash, name string, level int) error {
	tree, err := object.GetTree(w.objects, id)
	if err != nil {
		return fmt.Errorf("read tree of %q: %w", name, err)
	}
	w.dirs = append(w.dirs, name)
	w.differs = w.differs || level > 0 && len(tree.Entries) == 0
	for _, e := range w.order(name, tree.Entries) {
		child := path.Join(name, e.Name)
		if !w.look(child) {
			return nil
		}
		if err := checkName(e.Name); err != nil {
			w.report(child, status.LoadFailed, err.Error(), "rename it")
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.entry(ctx, e, child, level); err != nil {
			return err
		}
	}
	return nil
}

// order puts the entry that leads to the first folder before the others.
func (w *treeWriter) order(name string, entries []object.TreeEntry) []object.TreeEntry {
	leads := func(e object.TreeEntry) bool {
		child := path.Join(name, e.Name)
		return w.first == child || strings.HasPrefix(w.first, child+"/")
	}
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b object.TreeEntry) int {
		switch {
		case leads(a) == leads(b):
			return 0
		case leads(a):
			return -1
		}
		return 1
	})
	return sorted
}

func (w *treeWriter) entry(ctx context.Context, e object.TreeEntry, name string, level int) error {
	switch e.Mode {
	case filemode.Dir:
		if level >= maxFolders {
			w.report(name, status.LoadFailed, fmt.Sprintf("lies more than %d folders deep and is left out", maxFolders), "")
			return nil
		}
		if len(w.dirs) >= w.limits.Files {
			w.exhausted(name)
			return nil
		}
		if err := w.root.Mkdir(name, 0o755); err != nil {
			return w.unwritable(name, err)
		}
		return w.folder(ctx, e.Hash, name, level+1)
	case filemode.Submodule:
		w.report(name, status.NotInThisVersion, "is a submodule; submodules are not fetched, and its folder is missing",
			"copy its files into the repository, or follow that repository as a source of its own")
		return nil
	case filemode.Symlink:
		return w.link(e, name)
	case filemode.Regular, filemode.Deprecated, filemode.Executable:
		return w.file(e, name)
	}
	w.report(name, status.LoadFailed, fmt.Sprintf("has the unknown mode %v and is left out", e.Mode), "")
	return nil
}

// look counts an entry and says whether there is room for more. A tree may
// hold the same folder many times at every level: a few hundred bytes of git
// are then more folders than any disk can hold.
func (w *treeWriter) look(name string) bool {
	if w.full {
		return false
	}
	w.entries++
	if w.entries > entriesPerFile*w.limits.Files {
		w.exhausted(name)
	}
	return !w.full
}

// exhausted reports the first name that is left out; all that comes after it
// is, too.
func (w *treeWriter) exhausted(name string) {
	if !w.full {
		w.report(name, status.LoadFailed,
			fmt.Sprintf("and what comes after it is left out: the repository has more than %d files or folders, or %d bytes", w.limits.Files, w.limits.Bytes),
			"split the repository")
	}
	w.full = true
}

// room says whether another file of that size fits, and counts it.
func (w *treeWriter) room(name string, size int64) bool {
	switch {
	case size > w.limits.FileBytes:
		w.report(name, status.LoadFailed,
			fmt.Sprintf("has %d bytes, more than the limit of %d, and is left out", size, w.limits.FileBytes),
			"take it out of the repository")
		return false
	case w.files >= w.limits.Files || w.bytes+size > w.limits.Bytes:
		w.exhausted(name)
		return false
	}
	w.files++
	w.bytes += size
	return true
}

func (w *treeWriter) file(e object.TreeEntry, name string) error {
	blob, err := object.GetBlob(w.objects, e.Hash)
	if err != nil {
		return fmt.Errorf("read %q: %w", name, err)
	}
	if !w.room(name, blob.Size) {
		return nil
	}
	// Old programs wrote group-writable files, which read back as plain ones.
	w.differs = w.differs || e.Mode == filemode.Deprecated
	perm := fs.FileMode(0o644)
	if e.Mode == filemode.Executable {
		perm = 0o755
	}
	if w.reuse(name, e.Hash.String(), blob.Size, perm) {
		return w.checkLFS(name, blob)
	}
	if err := w.copy(name, blob, e.Hash.String(), perm); err != nil {
		return err
	}
	return w.checkLFS(name, blob)
}

// reuse links the file of the former revision where its content, judged by
// reading it, is the same: most commits change one file of many.
func (w *treeWriter) reuse(name, id string, size int64, perm fs.FileMode) bool {
	if w.former == nil {
		return false
	}
	info, err := w.former.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() != size || info.Mode().Perm() != perm {
		return false
	}
	if o, err := gitid.Of(w.former, name); err != nil || o.ID != id {
		return false
	}
	return w.base.Link(path.Join(w.formerName, name), path.Join(w.rootName, name)) == nil
}

func (w *treeWriter) copy(name string, blob *object.Blob, id string, perm fs.FileMode) (err error) {
	f, err := w.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return w.unwritable(name, err)
	}
	content, err := blob.Reader()
	if err != nil {
		return fmt.Errorf("read %q: %w", name, errors.Join(err, f.Close()))
	}
	sum := gitid.NewBlob(blob.Size)
	_, err = io.Copy(io.MultiWriter(f, sum), content)
	err = errors.Join(err, content.Close(), f.Chmod(perm))
	if err == nil && gitid.Hex(sum) != id {
		err = errors.New("its content does not have the id that the commit names")
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", name, errors.Join(err, f.Close()))
	}
	w.sync.Go(func() error {
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("write %q: %w", name, err)
		}
		return nil
	})
	return nil
}

// lfsPointer is how every pointer file of Git LFS begins.
const lfsPointer = "version https://git-lfs.github.com/spec/"

func (w *treeWriter) checkLFS(name string, blob *object.Blob) error {
	if blob.Size < int64(len(lfsPointer)) || blob.Size > 1024 {
		return nil
	}
	content, err := readBlob(blob)
	if err != nil {
		return fmt.Errorf("read %q: %w", name, err)
	}
	if strings.HasPrefix(string(content), lfsPointer) {
		w.note(name, status.NotInThisVersion, "is a Git LFS pointer: its content is not in the repository",
			"store the file itself in git, or put it into an image")
	}
	return nil
}

func readBlob(blob *object.Blob) ([]byte, error) {
	r, err := blob.Reader()
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	return content, errors.Join(err, r.Close())
}

func (w *treeWriter) link(e object.TreeEntry, name string) error {
	blob, err := object.GetBlob(w.objects, e.Hash)
	if err != nil {
		return fmt.Errorf("read link %q: %w", name, err)
	}
	if blob.Size == 0 || blob.Size >= 4096 {
		w.report(name, status.LoadFailed, fmt.Sprintf("is a link with a target of %d bytes and is left out", blob.Size), "remove it")
		return nil
	}
	target, err := readBlob(blob)
	if err != nil {
		return fmt.Errorf("read link %q: %w", name, err)
	}
	if w.room(name, blob.Size) {
		w.links = append(w.links, treeLink{name: name, target: string(target)})
	}
	return nil
}

// writeLinks creates the links and takes those away that lead outside, judged
// by following them as the kernel would.
func (w *treeWriter) writeLinks() error {
	var made []treeLink
	for _, l := range w.links {
		if strings.Contains(l.target, "\x00") || path.IsAbs(l.target) || !filepath.IsLocal(path.Join(path.Dir(l.name), l.target)) {
			w.reportLink(l)
			continue
		}
		if err := w.root.Symlink(l.target, l.name); err != nil {
			if err := w.unwritable(l.name, err); err != nil {
				return err
			}
			continue
		}
		made = append(made, l)
	}
	for _, l := range made {
		_, err := w.root.Stat(l.name)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		w.reportLink(l)
		if err := w.root.Remove(l.name); err != nil {
			return fmt.Errorf("remove link %q: %w", l.name, err)
		}
	}
	return nil
}

func (w *treeWriter) reportLink(l treeLink) {
	w.report(l.name, status.PolicyDenied,
		fmt.Sprintf("is a link to %q, which leaves the repository or leads nowhere for ever; it is left out", printable(l.target)),
		"link to a file of the repository, or copy it there")
}

// seal makes the folders durable and read-only, many at a time: the file
// system commits them together.
func (w *treeWriter) seal() error {
	for _, name := range w.dirs {
		f, err := w.root.Open(name)
		if err != nil {
			return errors.Join(fmt.Errorf("seal %q: %w", name, err), w.sync.Wait())
		}
		w.sync.Go(func() error {
			if err := errors.Join(f.Chmod(0o555), f.Sync(), f.Close()); err != nil {
				return fmt.Errorf("seal %q: %w", name, err)
			}
			return nil
		})
	}
	return w.sync.Wait()
}

// unwritable reports what this file system cannot hold; all else is an error.
func (w *treeWriter) unwritable(name string, err error) error {
	if errors.Is(err, fs.ErrExist) || isNameError(err) {
		w.report(name, status.LoadFailed, "cannot be written here: "+errors.Unwrap(err).Error(), "rename it")
		return nil
	}
	return fmt.Errorf("write %q: %w", name, err)
}

// report enters a finding about something that is left out.
func (w *treeWriter) report(name string, reason status.Reason, message, remedy string) {
	w.differs = true
	w.note(name, reason, message, remedy)
}

func (w *treeWriter) note(name string, reason status.Reason, message, remedy string) {
	if len(w.reports) >= maxReports {
		w.left++
		return
	}
	w.reports = append(w.reports, status.Report{Path: printable(name), Reason: reason, Message: message, Remedy: remedy})
}

// findings returns all reports.
func (w *treeWriter) findings() []status.Report {
	if w.left == 0 {
		return w.reports
	}
	return append(w.reports, status.Report{Path: ".", Reason: status.LoadFailed, Message: fmt.Sprintf("has %d more findings", w.left)})
}
