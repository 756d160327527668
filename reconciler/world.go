package reconciler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/remorahq/remora/internal/engine"
)

// world is what the engine is known to hold: a cache that events keep fresh.
// Readers get values; nothing in them is changed afterwards.
type world struct {
	engine Engine

	mu         sync.Mutex
	containers map[string]engine.Container
	info       engine.Info
	err        error // why the engine does not answer, or nil
	synced     bool
}

func newWorld(e Engine) *world {
	return &world{engine: e, containers: map[string]engine.Container{}}
}

// resync reads everything again and returns the apps ("env/app") of which a
// container changed; all of them when the engine was away or began anew.
func (w *world) resync(ctx context.Context) (changed []string, err error) {
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
	fresh := make(map[string]engine.Container, len(list))
	for _, c := range list {
		fresh[c.ID] = c
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.err != nil || !w.synced || w.info.Start != info.Start
	changed = changedContainers(w.containers, fresh, all)
	w.containers, w.info, w.err, w.synced = fresh, info, nil, true
	return changed, nil
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
	return slices.Collect(maps.Keys(apps))
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
	c, err := w.engine.Container(ctx, id)
	w.mu.Lock()
	defer w.mu.Unlock()
	if errors.Is(err, engine.ErrNotFound) {
		old, ok := w.containers[id]
		delete(w.containers, id)
		if ok && old.Ours() {
			return old.AppID(), nil
		}
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("inspect container %.12s: %w", id, err)
	}
	w.containers[id] = c
	if c.Ours() {
		return c.AppID(), nil
	}
	return "", nil
}

// ofApp returns our containers of one app.
func (w *world) ofApp(id string) map[string]engine.Container {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]engine.Container{}
	for cid, c := range w.containers {
		if c.Ours() && c.AppID() == id {
			out[cid] = c
		}
	}
	return out
}

// all returns every container.
func (w *world) all() []engine.Container {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]engine.Container, 0, len(w.containers))
	for c := range maps.Values(w.containers) {
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

// forget drops a container.
func (w *world) forget(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.containers, id)
}
