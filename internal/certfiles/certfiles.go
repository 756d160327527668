// Package certfiles keeps certificates that lie in files of the host as others
// renew them: it watches the files and every link on the way to them, and takes
// a new certificate only when it is whole. A bad one leaves the former in force
// and is told. It must not know routes, apps or the ambassador.
//
// All methods of a [Keeper] may be called from any goroutine, also from
// [Options.Changed].
package certfiles

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Files are a certificate's: a chain and its key, or, with an empty Key,
// authorities.
type Files struct{ Chain, Key string }

// Options are what a [Keeper] needs.
type Options struct {
	Log *slog.Logger
	// Changed is called when a certificate or its trouble changed, and must
	// return soon.
	Changed func(Files)
	// Settle is how long files must be left alone before they are read, so that
	// a certificate and its key are written; default 300 ms. Look is how often
	// they are read though nothing was heard, as on network file systems; default
	// a minute.
	Settle, Look time.Duration
}

// State is how a certificate stands.
type State struct {
	// Chain and Key are PEM: the last that were good. Chain is empty while there
	// were none.
	Chain, Key []byte
	// Trouble says what is wrong with the files as they are now, as of Since.
	Trouble string
	Since   time.Time
}

// Keeper keeps certificates. Make it with [New].
type Keeper struct {
	opt   Options
	watch *fsnotify.Watcher
	stop  context.CancelFunc
	done  chan struct{}

	mu      sync.Mutex
	kept    map[Files]*State
	watched map[string]bool
}

// New begins to watch nothing yet. Call [Keeper.Close].
func New(opt Options) (*Keeper, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch certificates: %w", err)
	}
	if opt.Settle == 0 {
		opt.Settle = 300 * time.Millisecond
	}
	if opt.Look == 0 {
		opt.Look = time.Minute
	}
	ctx, stop := context.WithCancel(context.Background())
	k := &Keeper{
		opt: opt, watch: w, stop: stop, done: make(chan struct{}),
		kept: map[Files]*State{}, watched: map[string]bool{},
	}
	go func() {
		defer close(k.done)
		k.follow(ctx)
	}()
	return k, nil
}

// Close ends the watch and returns when it has ended.
func (k *Keeper) Close() error {
	k.stop()
	<-k.done
	return k.watch.Close()
}

// Keep makes the certificates that are kept exactly these. New ones have been
// read when it returns.
func (k *Keeper) Keep(list []Files) {
	k.mu.Lock()
	var added []Files
	for _, f := range list {
		if k.kept[f] == nil {
			added = append(added, f)
		}
	}
	maps.DeleteFunc(k.kept, func(f Files, _ *State) bool { return !slices.Contains(list, f) })
	k.mu.Unlock()
	for _, f := range added {
		k.follows(f) // first, so that no change is missed
		state := f.state(State{}, time.Now())
		k.mu.Lock()
		k.kept[f] = &state
		k.mu.Unlock()
	}
}

// State returns how a certificate stands; the zero State for one that is not
// kept.
func (k *Keeper) State(f Files) State {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.kept[f]; s != nil {
		return *s
	}
	return State{}
}

// follow reads the files again after changes, until ctx ends.
func (k *Keeper) follow(ctx context.Context) {
	look := time.NewTicker(k.opt.Look)
	defer look.Stop()
	settled := time.NewTimer(time.Hour)
	settled.Stop()
	defer settled.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-k.watch.Events:
			if !ok {
				return
			}
			settled.Reset(k.opt.Settle)
		case err := <-k.watch.Errors:
			k.opt.Log.Warn("watch certificates", "err", err)
			settled.Reset(k.opt.Settle) // events may have been lost
		case <-settled.C:
			k.readAll()
		case <-look.C:
			k.readAll()
		}
	}
}

// readAll reads every certificate again and tells which changed.
func (k *Keeper) readAll() {
	k.mu.Lock()
	list := slices.Collect(maps.Keys(k.kept))
	k.mu.Unlock()
	for _, f := range list {
		k.follows(f) // links may lead elsewhere now
		was := k.State(f)
		now := f.state(was, time.Now())
		if was.same(now) {
			continue
		}
		k.mu.Lock()
		_, still := k.kept[f]
		if still {
			k.kept[f] = &now
		}
		k.mu.Unlock()
		if still {
			k.opt.Changed(f)
		}
	}
}

// follows watches every folder in which a change could make the files others.
// What cannot be watched is looked at from time to time.
func (k *Keeper) follows(f Files) {
	for _, path := range []string{f.Chain, f.Key} {
		if path == "" {
			continue
		}
		for _, dir := range folders(path) {
			k.watchFolder(dir)
		}
	}
}

func (k *Keeper) watchFolder(dir string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.watched[dir] && slices.Contains(k.watch.WatchList(), dir) {
		return
	}
	if err := k.watch.Add(dir); err != nil {
		k.opt.Log.Debug("watch certificates", "folder", dir, "err", err)
		return
	}
	k.watched[dir] = true
}
