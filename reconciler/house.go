package reconciler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// House is kept a while after rollouts, when they are over, and now and then
// for what could not be removed at once.
const (
	houseAfter = 30 * time.Second
	houseEvery = 6 * time.Hour
)

// cleanSoon says that a rollout has ended and may have left something behind.
func (r *Reconciler) cleanSoon() {
	select {
	case r.promoted <- struct{}{}:
	default:
	}
}

// keepHouse removes what no release needs any more until ctx ends: revisions,
// content, and the images that remora pulled itself.
func (r *Reconciler) keepHouse(ctx context.Context) {
	timer := time.NewTimer(houseEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.promoted:
			timer.Reset(houseAfter)
			continue
		case <-timer.C:
		}
		if err := r.clean(ctx); err != nil && ctx.Err() == nil {
			r.cfg.Logger.Warn("not all was removed that is not needed any more", "err", err)
		}
		timer.Reset(houseEvery)
	}
}

// clean removes what is not needed once. An app that does not answer stops it:
// what that needs is not known.
func (r *Reconciler) clean(ctx context.Context) error {
	if _, err, synced := r.world.state(); err != nil || !synced {
		return nil
	}
	r.pruning.Lock()
	n, err := r.needs(ctx)
	if err == nil {
		_, err = r.cfg.Content.Prune(func(path string) bool { return n.paths[path] })
	}
	r.pruning.Unlock()
	if err != nil {
		return err
	}
	errs := []error{r.cleanImages(ctx, n)}
	for _, f := range r.sources {
		f.mu.Lock()
		inForce := f.inForce.SHA
		f.mu.Unlock()
		errs = append(errs, f.port.Prune(ctx, func(sha string) bool { return sha == inForce || n.revisions[sha] }))
	}
	return errors.Join(errs...)
}

// needs is what apps and containers need: content by path, images by
// reference as the engine is asked for and as the file writes it, revisions.
type needs struct {
	paths, images, references, revisions map[string]bool
	of                                   Content
}

// needs asks every app.
func (r *Reconciler) needs(ctx context.Context) (*needs, error) {
	n := &needs{paths: map[string]bool{}, images: map[string]bool{}, references: map[string]bool{}, revisions: map[string]bool{}, of: r.cfg.Content}
	type state struct {
		app     ledger.App
		desired desired
	}
	for _, w := range r.all() {
		s, err := ask(ctx, w, func() state {
			if w.desired == nil {
				return state{app: w.app}
			}
			return state{w.app, *w.desired}
		})
		if err != nil {
			return nil, fmt.Errorf("ask %s what it needs: %w", w.id, err)
		}
		n.ledger(&s.app)
		n.desired(&s.desired)
	}
	for _, c := range r.world.all() {
		for _, m := range c.Mounts {
			n.paths[m.Source] = true
		}
	}
	return n, nil
}

// ledger adds what an app runs, keeps and may go back to.
func (n *needs) ledger(app *ledger.App) {
	for _, d := range deployments(app) {
		n.release(&d.Release)
	}
	for _, s := range app.Services {
		for i := range s.Promoted {
			n.release(&s.Promoted[i])
		}
	}
}

func (n *needs) desired(d *desired) {
	n.revisions[d.revision.SHA] = true
	if d.app == nil {
		return
	}
	for i := range d.app.Services {
		n.service(&d.app.Services[i])
	}
}

func (n *needs) release(r *ledger.Release) {
	n.images[r.Reference()] = true
	n.service(&r.Service)
}

func (n *needs) service(s *manifests.Service) {
	n.references[s.Container.Image] = true
	for _, m := range s.Container.Mounts {
		f, ok := fileOf(s.Files, m)
		if m.Kind != manifests.MountInline && (m.Kind != manifests.MountRepo || !ok) {
			continue
		}
		if path, err := n.of.Path(f, m); err == nil { // else nothing was put there
			n.paths[path] = true
		}
	}
}

// cleanImages removes the images that remora pulled for releases that it does
// not remember any more, and forgets what references resolved to that no app
// names.
func (r *Reconciler) cleanImages(ctx context.Context, n *needs) error {
	var h *ledger.Host
	r.host.read(func(now *ledger.Host) { h = now })
	var gone []string
	var errs []error
	for _, ref := range slices.Sorted(maps.Keys(h.Images)) {
		// What was pulled just now may belong to a rollout that the apps were
		// asked about before it began.
		if n.images[ref] || r.now().Sub(h.Images[ref]) < time.Hour {
			continue
		}
		removed, err := r.removeImage(ctx, ref, n)
		if removed {
			gone = append(gone, ref)
		}
		errs = append(errs, err)
	}
	unused := func(ref string, d ledger.Digest) bool {
		return !n.references[ref] && r.now().Sub(d.ResolvedAt) > time.Hour
	}
	stale := 0
	for ref, d := range h.Digests {
		if unused(ref, d) {
			stale++
		}
	}
	if len(gone)+stale == 0 {
		return errors.Join(errs...)
	}
	errs = append(errs, r.host.update(func(h *ledger.Host) error {
		for _, ref := range gone {
			delete(h.Images, ref)
		}
		maps.DeleteFunc(h.Digests, unused)
		return nil
	}))
	return errors.Join(errs...)
}

// removeImage removes one image, unless another reference that is needed leads
// to it or a container uses it.
func (r *Reconciler) removeImage(ctx context.Context, ref string, n *needs) (gone bool, err error) {
	img, err := r.cfg.Engine.Image(ctx, ref)
	if errors.Is(err, engine.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for image %s: %w", ref, err)
	}
	if n.images[img.ID] {
		return false, nil
	}
	for other := range n.images {
		if o, err := r.cfg.Engine.Image(ctx, other); err == nil && o.ID == img.ID {
			return false, nil
		}
	}
	switch err := r.cfg.Engine.RemoveImage(ctx, img.ID); {
	case err == nil, errors.Is(err, engine.ErrNotFound):
		r.cfg.Logger.Info("image removed that no release needs", "image", ref)
		return true, nil
	case errors.Is(err, engine.ErrConflict):
		return false, nil // a container of somebody's uses it
	default:
		return false, fmt.Errorf("remove image %s: %w", ref, err)
	}
}
