package gitsource

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// Folder is a local folder that a host follows: its revision is a hash of its
// content, and its files are the folder itself.
type Folder struct {
	src  manifests.Source
	path string
	log  *slog.Logger
	busy chan struct{} // holds one element while Fetch runs
	sums *sums         // guarded by busy

	current  atomic.Pointer[status.Revision]
	done     chan struct{}
	close    sync.Once
	watchers sync.WaitGroup
}

// NewFolder opens a folder source. The folder need not exist yet.
func NewFolder(src manifests.Source, opts Options) (*Folder, error) {
	if err := checkSource(src.Name); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(src.Folder)
	if err != nil || src.Folder == "" {
		return nil, fmt.Errorf("source %s: folder %q is no path", src.Name, src.Folder)
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Folder{
		src: src, path: path, log: opts.Logger.With("source", src.Name),
		busy: make(chan struct{}, 1),
		sums: newSums(opts.Limits.orDefault()),
		done: make(chan struct{}),
	}, nil
}

// Name returns the source's name in the host file.
func (f *Folder) Name() string { return f.src.Name }

// URL returns the folder's path.
func (f *Folder) URL() string { return f.path }

// Current returns the revision that Fetch last saw; zero before the first.
func (f *Folder) Current() status.Revision {
	if rev := f.current.Load(); rev != nil {
		return *rev
	}
	return status.Revision{}
}

// Fetch reads the folder and returns its revision; equal content gives an
// equal one. Files that did not change since the last call, judged by size,
// times and inode, are not read again. Errors are [*Error].
func (f *Folder) Fetch(ctx context.Context) (status.Revision, error) {
	select {
	case f.busy <- struct{}{}:
		defer func() { <-f.busy }()
	case <-ctx.Done():
		return f.Current(), f.failure(context.Cause(ctx))
	}
	sum, err := f.sums.of(ctx, f.path)
	if err != nil {
		return f.Current(), f.failure(err)
	}
	rev := status.Revision{
		Source: f.src.Name, Ref: "folder", SHA: sum.id, Folder: f.path, Live: true,
		Reports: sum.reports, FetchedAt: time.Now().UTC(),
	}
	if former := f.Current(); former.SHA != rev.SHA {
		rev.Previous = former.SHA
	} else {
		rev.Previous = former.Previous
	}
	f.current.Store(&rev)
	return rev, nil
}

// Prune does nothing: a folder has no former revisions.
func (f *Folder) Prune(context.Context, func(sha string) bool) error { return nil }

// Close ends all Changes and returns when they have ended.
func (f *Folder) Close() error {
	f.close.Do(func() { close(f.done) })
	f.watchers.Wait()
	return nil
}

func (f *Folder) failure(err error) *Error {
	e := &Error{Reason: status.GitOperationFailed, Source: f.src.Name, Op: "read folder " + f.path, Err: err, cause: causeAnswer}
	if errors.Is(err, fs.ErrNotExist) && !dirExists(f.path) {
		e.Err, e.Remedy = ErrFolderGone, "create it; remora sees it at once"
	}
	return e
}

func dirExists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
