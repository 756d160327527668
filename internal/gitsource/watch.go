package gitsource

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is the silence after an edit before it is reported; an edit that
	// goes on is reported every settleMost.
	settle     = 50 * time.Millisecond
	settleMost = 400 * time.Millisecond
	// look is how often the folder itself is looked at: it may vanish, come
	// back, or be a link that is set anew, none of which a watch inside it
	// tells.
	look = 250 * time.Millisecond
	// blind is how often a hint is given where the kernel has no watches left.
	blind = 2 * time.Second
)

// Changes returns a channel that gets a hint within a second of an edit: of
// files, new folders, an editor's rename-and-replace, and of the folder
// itself. The channel is closed when ctx or the source ends. A reader that is
// late misses nothing: one hint is kept, and Fetch reads everything.
func (f *Folder) Changes(ctx context.Context) <-chan struct{} {
	w := &watch{folder: f, hints: make(chan struct{}, 1)}
	w.begin()
	f.watchers.Go(func() {
		defer close(w.hints)
		w.run(ctx)
	})
	return w.hints
}

// watch follows one folder for one reader.
type watch struct {
	folder *Folder
	hints  chan struct{}

	notify *fsnotify.Watcher // nil while the folder is gone
	root   fs.FileInfo       // what is watched; nil while it is gone
	blind  bool              // the kernel refused a watch

	first time.Time // of the edits not yet reported; zero for none
	last  time.Time
	told  time.Time
}

func (w *watch) run(ctx context.Context) {
	defer w.unwatch()
	timer := time.NewTimer(look)
	defer timer.Stop()
	for {
		timer.Reset(w.pause(time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-w.folder.done:
			return
		case e, ok := <-w.events():
			if ok {
				w.event(e)
			}
		case err, ok := <-w.errors():
			if ok {
				w.trouble(err)
			}
		case <-timer.C:
			w.tick(time.Now())
		}
	}
}

// pause is how long to wait for the next event at most.
func (w *watch) pause(now time.Time) time.Duration {
	if w.first.IsZero() {
		return look
	}
	due := min(w.last.Add(settle).Sub(now), w.first.Add(settleMost).Sub(now))
	return max(0, min(due, look))
}

// tick reports edits that have settled and looks at the folder itself.
func (w *watch) tick(now time.Time) {
	w.compare()
	if w.blind && now.Sub(w.told) >= blind {
		w.edited(now.Add(-settle))
	}
	if w.first.IsZero() || now.Sub(w.last) < settle && now.Sub(w.first) < settleMost {
		return
	}
	w.first, w.told = time.Time{}, now
	hint(w.hints)
}

// compare begins anew where the path holds another folder than before.
func (w *watch) compare() {
	info, err := os.Stat(w.folder.path)
	if err != nil || !info.IsDir() {
		info = nil
	}
	switch {
	case info == nil && w.root == nil:
	case info != nil && w.root != nil && os.SameFile(info, w.root):
	default:
		w.begin()
		w.edited(time.Now())
	}
}

// begin watches the folder as it is now.
func (w *watch) begin() {
	w.unwatch()
	w.blind, w.root = false, nil
	info, err := os.Stat(w.folder.path)
	if err != nil || !info.IsDir() {
		return
	}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		w.folder.log.Warn("cannot watch the folder; it is read every two seconds", "error", err)
		w.blind, w.root = true, info
		return
	}
	w.notify, w.root = notify, info
	dir, err := filepath.EvalSymlinks(w.folder.path)
	if err != nil {
		dir = w.folder.path // it vanished just now; the next look sees that
	}
	w.add(dir)
}

// add watches a folder and all below it. A folder is watched before it is
// read, so that nothing made in between is missed.
func (w *watch) add(dir string) {
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil, p != dir && !d.IsDir():
			return nil // it vanished, or may not be read: Fetch says so
		case d.Name() == ".git" && p != dir:
			return fs.SkipDir
		}
		err = w.notify.Add(p)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil
		}
		return err
	})
	if err != nil && !w.blind {
		w.folder.log.Warn("cannot watch every folder; the source is read every two seconds; raise fs.inotify.max_user_watches", "error", err)
		w.blind = true
	}
}

func (w *watch) event(e fsnotify.Event) {
	if e.Op == fsnotify.Chmod && isVolatile(e.Name) {
		return
	}
	if e.Has(fsnotify.Create) {
		if info, err := os.Lstat(e.Name); err == nil && info.IsDir() {
			w.add(e.Name)
		}
	}
	w.edited(time.Now())
}

// isVolatile says that a name's times alone do not matter: a folder's.
func isVolatile(name string) bool {
	info, err := os.Lstat(name)
	return err == nil && info.IsDir()
}

// trouble begins anew: events were lost.
func (w *watch) trouble(err error) {
	w.folder.log.Warn("lost track of the folder's changes; reading it anew", "error", err)
	w.begin()
	w.edited(time.Now())
}

func (w *watch) edited(at time.Time) {
	if w.first.IsZero() {
		w.first = at
	}
	w.last = at
}

func (w *watch) unwatch() {
	if w.notify != nil {
		_ = w.notify.Close() // its end is all that is wanted
		w.notify = nil
	}
}

func (w *watch) events() <-chan fsnotify.Event {
	if w.notify == nil {
		return nil
	}
	return w.notify.Events
}

func (w *watch) errors() <-chan error {
	if w.notify == nil {
		return nil
	}
	return w.notify.Errors
}
