package reconciler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"sync"

	"github.com/remorahq/remora/internal/engine"
)

// world is what the engine is known to hold: a cache that events keep fresh.
// Readers get values; nothing in them is changed afterwards, so that they need
// no copies.
//
// Several goroutines read containers from the engine at once, and an answer
// that was asked for earlier may come later: each reading takes a ticket before
// it asks, and of one container only the reading with the highest counts.
type world struct {
	engine Engine

	mu         sync.Mutex
	containers containerSet
	apps       map[string]containerSet // ours, by "env/app"; sets are replaced, never changed
	read       map[string]uint64       // the ticket that a container, or its absence, was read with
	ticket     uint64
	info       engine.Info
	err        error // why the engine does not answer, or nil
	synced     bool
}

func newWorld(e Engine) *world {
	return &world{engine: e, containers: containerSet{}, apps: map[string]containerSet{}, read: map[string]uint64{}}
}

// begin takes a ticket for a reading.
func (w *world) begin() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ticket++
	return w.ticket
}

// resync reads everything again and returns the apps ("env/app") of which a
// container changed; all that have one when the engine was away or began anew.
func (w *world) resync(ctx context.Context) (changed []string, err error) {
	ticket := w.begin()
	info, err := w.engine.Info(ctx)
	if err != nil {
		err = fmt.Errorf("ask the engine: %w", err)
		w.lost(err)
		return nil, err
	}
	list, err := w.engine.Containers(ctx)
	if err != nil {
		err = fmt.Errorf("list containers: %w", err)
		w.lost(err)
		return nil, err
	}
	return w.replace(ticket, info, list), nil
}

// replace takes over a list of all containers, but for those that were read
// later than the list.
func (w *world) replace(ticket uint64, info engine.Info, list []engine.Container) (changed []string) {
	fresh := make(containerSet, len(list))
	for _, c := range list {
		fresh[c.ID] = c
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, at := range w.read {
		if at < ticket {
			delete(w.read, id)
			continue
		}
		if c, ok := w.containers[id]; ok {
			fresh[id] = c
		} else {
			delete(fresh, id)
		}
	}
	all := w.err != nil || !w.synced || w.info.Start != info.Start
	changed = changedContainers(w.containers, fresh, all)
	w.containers, w.info, w.err, w.synced = fresh, info, nil, true
	w.apps = byApp(fresh)
	return changed
}

// byApp sorts containers of ours by their app.
func byApp(containers containerSet) map[string]containerSet {
	apps := map[string]containerSet{}
	for id, c := range containers {
		if !c.Ours() {
			continue
		}
		app := c.AppID()
		if apps[app] == nil {
			apps[app] = containerSet{}
		}
		apps[app][id] = c
	}
	return apps
}

// changedContainers returns the apps of which a container differs.
func changedContainers(old, now containerSet, all bool) []string {
	apps := map[string]bool{}
	for id, c := range now {
		if o, ok := old[id]; c.Ours() && (all || !ok || !reflect.DeepEqual(o, c)) {
			apps[c.AppID()] = true
		}
	}
	for id, c := range old {
		if _, ok := now[id]; !ok && c.Ours() {
			apps[c.AppID()] = true
		}
	}
	out := make([]string, 0, len(apps))
	for app := range apps {
		out = append(out, app)
	}
	return out
}

// lost notes that the engine does not answer.
func (w *world) lost(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

// refresh reads one container again and returns the app it belongs to, if it
// is ours.
func (w *world) refresh(ctx context.Context, id string) (app string, err error) {
	ticket := w.begin()
	c, err := w.engine.Container(ctx, id)
	gone := errors.Is(err, engine.ErrNotFound)
	if err != nil && !gone {
		return "", fmt.Errorf("inspect container %.12s: %w", id, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.containers[id]
	switch {
	case w.read[id] > ticket:
		c = old
	case gone:
		c, w.read[id] = old, ticket
		w.dropLocked(id)
	default:
		w.read[id] = ticket
		w.putLocked(c)
	}
	if c.Ours() {
		return c.AppID(), nil
	}
	return "", nil
}

// putLocked stores a container; the set of its app is replaced.
func (w *world) putLocked(c engine.Container) {
	w.containers[c.ID] = c
	if !c.Ours() {
		return
	}
	set := maps.Clone(w.apps[c.AppID()])
	if set == nil {
		set = containerSet{}
	}
	set[c.ID] = c
	w.apps[c.AppID()] = set
}

// dropLocked forgets a container; the set of its app is replaced.
func (w *world) dropLocked(id string) {
	c, ok := w.containers[id]
	delete(w.containers, id)
	if !ok || !c.Ours() {
		return
	}
	set := maps.Clone(w.apps[c.AppID()])
	delete(set, id)
	w.apps[c.AppID()] = set
	if len(set) == 0 {
		delete(w.apps, c.AppID())
	}
}

// ofApp returns our containers of one app; the set is not to be changed.
func (w *world) ofApp(id string) containerSet {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.apps[id]
}

// all returns every container.
func (w *world) all() []engine.Container {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]engine.Container, 0, len(w.containers))
	for _, c := range w.containers {
		out = append(out, c)
	}
	return out
}

// state returns the engine's description and why it does not answer.
func (w *world) state() (engine.Info, error, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.info, w.err, w.synced
}

// container returns one container from the cache.
func (w *world) container(id string) (engine.Container, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, ok := w.containers[id]
	if !ok {
		return c, fmt.Errorf("container %.12s: %w", id, engine.ErrNotFound)
	}
	return c, nil
}

// forget drops a container that the engine said is gone.
func (w *world) forget(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ticket++
	w.read[id] = w.ticket
	w.dropLocked(id)
}
