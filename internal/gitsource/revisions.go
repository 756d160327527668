package gitsource

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/remorahq/remora/internal/atomicfile"
	"github.com/remorahq/remora/internal/gitid"
	"github.com/remorahq/remora/internal/status"
)

// revisions are the folders of one source's commits:
//
//	<dir>/<sha>/       the files, read-only
//	<dir>/<sha>.json   written before the folder gets its name
//	<dir>/.new-*       unfinished
//
// A revision counts only when both are there and the files have the id that
// the second names. Methods need the source's lock.
type revisions struct {
	dir    string
	limits Limits
	first  string
	log    *slog.Logger
}

// seal is what is known of a written revision.
type seal struct {
	// Tree is the commit's tree; Written the id of what was written, which
	// differs where something was left out.
	Tree    string          `json:"tree"`
	Written string          `json:"written"`
	Commit  status.Commit   `json:"commit"`
	History history         `json:"history"`
	Reports []status.Report `json:"reports,omitempty"`
}

const (
	sealVersion = 1
	unfinished  = ".new-"
)

func (r *revisions) folder(sha string) string { return filepath.Join(r.dir, sha) }

func (r *revisions) seal(sha string) *atomicfile.Store {
	return atomicfile.NewStore(filepath.Join(r.dir, sha+".json"), sealVersion)
}

// check returns the seal of a revision that is on disk, whole and unaltered.
func (r *revisions) check(sha string) (seal, error) {
	var s seal
	if !isSHA(sha) {
		return s, fmt.Errorf("%q is no commit id", sha)
	}
	if _, err := r.seal(sha).Load(&s); err != nil {
		return s, err
	}
	got, err := gitid.OfPath(r.folder(sha))
	if err != nil {
		return s, err
	}
	if got.ID != s.Written {
		return s, fmt.Errorf("the files of revision %s were altered", sha)
	}
	return s, nil
}

// present is a cheap look whether a revision that was whole is still there.
func (r *revisions) present(sha string) bool {
	folder, err := os.Stat(r.folder(sha))
	return err == nil && folder.IsDir() && exists(filepath.Join(r.dir, sha+".json"))
}

// write makes the revision of a commit from objects. former is the sha of a
// revision whose files may be reused, or empty.
func (r *revisions) write(ctx context.Context, o *objects, c *object.Commit, former string) (seal, error) {
	past, err := walk(o, c)
	if err != nil {
		return seal{}, err
	}
	sha := c.Hash.String()
	if err := r.remove(sha); err != nil {
		return seal{}, err
	}
	temp, err := os.MkdirTemp(r.dir, unfinished)
	if err != nil {
		return seal{}, fmt.Errorf("write revision: %w", err)
	}
	s := seal{Tree: c.TreeHash.String(), Commit: describe(c), History: past}
	if err := r.fill(ctx, o, c.TreeHash, temp, former, &s); err != nil {
		return seal{}, errors.Join(err, atomicfile.RemoveTree(temp))
	}
	if err := r.seal(sha).Save(s); err != nil {
		return seal{}, errors.Join(err, atomicfile.RemoveTree(temp))
	}
	if err := os.Rename(temp, r.folder(sha)); err != nil {
		return seal{}, fmt.Errorf("write revision: %w", errors.Join(err, atomicfile.RemoveTree(temp)))
	}
	return s, atomicfile.SyncDir(r.dir)
}

// fill writes the files into temp and proves that they are what was asked for.
func (r *revisions) fill(ctx context.Context, o *objects, tree plumbing.Hash, temp, former string, s *seal) (err error) {
	base, err := os.OpenRoot(r.dir)
	if err != nil {
		return fmt.Errorf("write revision: %w", err)
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	root, err := base.OpenRoot(filepath.Base(temp))
	if err != nil {
		return fmt.Errorf("write revision: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	w := &treeWriter{objects: o, limits: r.limits, first: r.first, base: base, root: root, rootName: filepath.Base(temp)}
	if isSHA(former) {
		if w.former, err = base.OpenRoot(former); err == nil {
			w.formerName = former
			defer func() { err = errors.Join(err, w.former.Close()) }()
		}
	}
	if err := w.write(ctx, tree); err != nil {
		return err
	}
	s.Reports = w.findings()
	written, err := gitid.Of(root, ".")
	if err != nil {
		return err
	}
	s.Written = written.ID
	if !w.differs && s.Written != s.Tree {
		return fmt.Errorf("the written files have the id %s, the commit's tree %s", s.Written, s.Tree)
	}
	return nil
}

// remove deletes a revision, its seal first, so that half of it never counts.
func (r *revisions) remove(sha string) error {
	for _, f := range []string{sha + ".json", sha + ".json" + atomicfile.PreviousSuffix} {
		if err := os.Remove(filepath.Join(r.dir, f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove revision: %w", err)
		}
	}
	return atomicfile.RemoveTree(r.folder(sha))
}

// tidy removes what was left by a process that was killed: unfinished folders,
// folders without a seal and seals without a folder.
func (r *revisions) tidy() error {
	if err := atomicfile.Clean(r.dir); err != nil {
		return err
	}
	list, err := os.ReadDir(r.dir)
	if err != nil {
		return fmt.Errorf("tidy revisions: %w", err)
	}
	for _, d := range list {
		sha := strings.TrimSuffix(d.Name(), ".json")
		switch {
		case strings.HasPrefix(d.Name(), unfinished):
			err = atomicfile.RemoveTree(filepath.Join(r.dir, d.Name()))
		case isSHA(sha) && !r.present(sha):
			err = r.remove(sha)
		default:
			continue
		}
		r.log.Info("removed an unfinished revision", "name", d.Name())
		if err != nil {
			return err
		}
	}
	return nil
}

// list returns the ids of all revisions on disk.
func (r *revisions) list() ([]string, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("list revisions: %w", err)
	}
	var out []string
	for _, d := range entries {
		if d.IsDir() && isSHA(d.Name()) {
			out = append(out, d.Name())
		}
	}
	return out, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
