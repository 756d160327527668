package gitsource

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"github.com/remorahq/remora/internal/gitid"
	"github.com/remorahq/remora/internal/status"
)

// sums hashes a folder as git would hash its tree, and remembers the files
// that it read.
type sums struct {
	limits Limits
	known  map[string]fileSum
}

// fileSum is the id of a file as long as its stamp stays the same.
type fileSum struct {
	stamp stamp
	id    string
}

// stamp changes whenever a file's content may have.
type stamp struct {
	size         int64
	inode        uint64
	mtime, ctime syscall.Timespec
}

// folderSum is the result of one reading.
type folderSum struct {
	id      string
	reports []status.Report
}

// young is how old a file's time must be before its stamp is trusted: two
// writes within the clock's step of a file system look alike.
const young = 100 * time.Millisecond

func newSums(limits Limits) *sums { return &sums{limits: limits, known: map[string]fileSum{}} }

func (s *sums) of(ctx context.Context, dir string) (folderSum, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return folderSum{}, err
	}
	defer func() { _ = root.Close() }() // opened for reading
	r := &sumReader{sums: s, ctx: ctx, root: root, seen: map[string]fileSum{}, now: time.Now()}
	id, _, err := r.folder(".")
	if err != nil {
		return folderSum{}, err
	}
	s.known = r.seen
	return folderSum{id: id, reports: r.reports}, nil
}

// sumReader is one reading of a folder.
type sumReader struct {
	*sums
	ctx     context.Context // lives for one call
	root    *os.Root
	seen    map[string]fileSum
	reports []status.Report
	now     time.Time
}

// folder returns a folder's id and the number of files in it. What vanishes
// while it is read is left out: the watcher will say so.
func (r *sumReader) folder(name string) (string, int, error) {
	list, err := readDir(r.root, name)
	if err != nil {
		return "", 0, err
	}
	var entries []gitid.Entry
	files := 0
	for _, d := range list {
		if d.Name() == ".git" {
			continue
		}
		if err := r.ctx.Err(); err != nil {
			return "", 0, context.Cause(r.ctx)
		}
		e, n, err := r.entry(path.Join(name, d.Name()), d.Name())
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, fs.ErrPermission):
			r.report(path.Join(name, d.Name()), "cannot be read by remora, so its changes are not noticed")
		case err != nil:
			return "", 0, err
		case n > 0:
			files += n
			entries = append(entries, e)
		}
	}
	id, err := gitid.Tree(entries)
	return id, files, err
}

// entry returns what a name holds, and how many files; 0 counts for nothing.
func (r *sumReader) entry(name, base string) (gitid.Entry, int, error) {
	info, err := r.root.Lstat(name)
	if err != nil {
		return gitid.Entry{}, 0, err
	}
	mode, ok := gitid.FileMode(info.Mode())
	if !ok {
		return gitid.Entry{}, 0, nil
	}
	e, files := gitid.Entry{Name: base, Mode: mode}, 1
	switch mode {
	case gitid.ModeTree:
		e.ID, files, err = r.folder(name)
	case gitid.ModeLink:
		var target string
		target, err = r.root.Readlink(name)
		e.ID = gitid.Blob([]byte(target))
	default:
		e.ID, err = r.file(name, info)
	}
	return e, files, err
}

func (r *sumReader) file(name string, info fs.FileInfo) (string, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", fmt.Errorf("stat %s: unknown form", name)
	}
	now := stamp{size: st.Size, inode: st.Ino, mtime: st.Mtim, ctime: st.Ctim}
	if k, ok := r.known[name]; ok && k.stamp == now {
		r.seen[name] = k
		return k.id, nil
	}
	if len(r.seen) >= r.limits.Files || st.Size > r.limits.FileBytes {
		r.report(name, "is too large, or one of too many files: changes are noticed by its size and time only")
		return gitid.Blob(fmt.Appendf(nil, "%+v", now)), nil
	}
	o, err := gitid.Of(r.root, name)
	if errors.Is(err, gitid.ErrChanged) {
		return gitid.Blob(fmt.Appendf(nil, "%+v", now)), nil // another hint follows
	}
	if err != nil {
		return "", err
	}
	if r.now.Sub(time.Unix(st.Ctim.Sec, st.Ctim.Nsec)) > young {
		r.seen[name] = fileSum{stamp: now, id: o.ID}
	}
	return o.ID, nil
}

func (r *sumReader) report(name, message string) {
	if len(r.reports) < maxReports {
		r.reports = append(r.reports, status.Report{Path: printable(name), Reason: status.LoadFailed, Message: message})
	}
}

func readDir(root *os.Root, name string) ([]fs.DirEntry, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading
	return f.ReadDir(-1)
}
