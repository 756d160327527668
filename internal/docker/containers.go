package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"

	"github.com/remorahq/remora/internal/engine"
)

// Containers returns all containers, ours and foreign, sorted by name. While
// [Engine.Events] is connected only those are read again that an event or a
// call of this package has touched; with nothing changed no call is made.
func (e *Engine) Containers(ctx context.Context) ([]engine.Container, error) {
	c := &e.cache
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if all := c.fresh(); all != nil {
		return slices.Clone(all), nil
	}
	work := c.begin()
	read, err := e.read(ctx, work)
	if err != nil {
		c.giveBack(work)
		return nil, fmt.Errorf("read containers: %w", err)
	}
	return slices.Clone(c.finish(work, read)), nil
}

// read inspects what work names; what is gone is absent from the result.
func (e *Engine) read(ctx context.Context, work work) (map[string]engine.Container, error) {
	ids := work.ids
	if work.all {
		var err error
		if ids, err = e.list(ctx); err != nil {
			return nil, err
		}
	}
	var mu sync.Mutex
	out := make(map[string]engine.Container, len(ids))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, id := range ids {
		group.Go(func() error {
			c, err := e.Container(ctx, id)
			if errors.Is(err, engine.ErrNotFound) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			out[c.ID] = c
			return err
		})
	}
	return out, group.Wait()
}

func (e *Engine) list(ctx context.Context) ([]string, error) {
	return ask(ctx, e, "list containers", func(ctx context.Context) ([]string, error) {
		all, err := e.client().ContainerList(ctx, container.ListOptions{All: true})
		ids := make([]string, 0, len(all))
		for i := range all {
			ids = append(ids, all[i].ID)
		}
		return ids, err
	})
}

// cache holds the containers and networks as last read, and what of them is
// not valid any more. It is trusted only while an event stream is connected.
type cache struct {
	turn chan struct{} // held by the one who reads

	mu       sync.Mutex
	streams  int  // connected event streams
	all      bool // everything must be read again
	known    map[string]engine.Container
	dirty    map[string]struct{} // IDs, or names
	sorted   []engine.Container  // nil when something changed
	networks []engine.Network    // nil when something changed
	changes  uint64              // of networks
}

// work is what one reading has to do.
type work struct {
	all bool
	ids []string
}

func (c *cache) init() {
	c.turn = make(chan struct{}, 1)
	c.all = true
	c.known, c.dirty = map[string]engine.Container{}, map[string]struct{}{}
}

// touch says that a container may have changed.
func (c *cache) touch(id string) {
	if id == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dirty[id] = struct{}{}
}

// touchNetworks says that a network was made, removed, joined or left.
func (c *cache) touchNetworks() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.networks = nil
	c.changes++
}

// cachedNetworks are the networks as last read, or nil.
func (c *cache) cachedNetworks() []engine.Network {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams == 0 {
		return nil
	}
	return slices.Clone(c.networks)
}

// networkMark is handed to setNetworks by who reads the networks: what was
// read before a change is not kept.
func (c *cache) networkMark() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changes
}

func (c *cache) setNetworks(mark uint64, all []engine.Network) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if mark == c.changes {
		c.networks = all
	}
}

// connected and disconnected bracket the time in which a stream's events keep
// the cache true. What happened before is unknown: everything is read again.
func (c *cache) connected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams++
	c.all, c.networks = true, nil
	c.changes++
}

func (c *cache) disconnected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams--
	c.all, c.networks = true, nil
	c.changes++
}

// live says whether an event stream is connected.
func (c *cache) live() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams > 0
}

// fresh is the last reading where it still holds, else nil.
func (c *cache) fresh() []engine.Container {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams == 0 || c.all || len(c.dirty) > 0 {
		return nil
	}
	return c.sorted
}

// begin takes the work over: what is touched from now on is work of the next
// reading.
func (c *cache) begin() work {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := work{all: c.all || c.streams == 0}
	for id := range c.dirty {
		w.ids = append(w.ids, id)
	}
	c.all = false
	clear(c.dirty)
	return w
}

func (c *cache) giveBack(w work) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = c.all || w.all
	for _, id := range w.ids {
		c.dirty[id] = struct{}{}
	}
}

func (c *cache) finish(w work, read map[string]engine.Container) []engine.Container {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.all {
		clear(c.known)
	}
	for _, id := range w.ids {
		delete(c.known, id)
	}
	maps.Copy(c.known, read)
	c.sorted = make([]engine.Container, 0, len(c.known))
	for _, v := range c.known {
		c.sorted = append(c.sorted, v)
	}
	slices.SortFunc(c.sorted, func(a, b engine.Container) int { return cmp.Compare(a.Name, b.Name) })
	return c.sorted
}
