package reconciler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/plan"
	"github.com/remorahq/remora/reconciler/rollout"
)

// prepared is what must be known of a desire before it can be planned: the
// image of every service. Content that its containers mount is on disk then.
type prepared struct {
	of       *desired
	images   map[string]plan.Image
	networks []engine.Network
	volumes  []engine.Volume
	// used says that a plan was made with it: the next plan looks anew.
	used bool
}

// prepare begins to prepare the present desire, when a plan is due and nothing
// that is prepared waits to be planned with.
func (w *worker) prepare(ctx context.Context) {
	d := w.desired
	switch {
	case !w.planDue || d == nil || d.app == nil || w.preparing:
		return
	case w.prepared != nil && w.prepared.of == d && !w.prepared.used:
		return
	case w.prepareErr != nil && w.r.now().Before(w.prepareErr.Next):
		return
	}
	w.preparing = true
	var p *prepared
	var err error
	folder := d.revision.Folder // a commit that changes nothing of the app may replace it meanwhile
	w.spawn(ctx, func(ctx context.Context) { p, err = w.r.prepare(ctx, d, folder) }, func() {
		w.preparing = false
		switch {
		case d != w.desired:
		case err != nil:
			w.prepareFailed(err)
		default:
			w.prepared, w.prepareErr, w.lookAt = p, nil, w.looksAt(d)
		}
	})
}

func (w *worker) prepareFailed(err error) {
	f := rollout.Failed{Err: err, Message: err.Error(), Attempts: 1}
	if w.prepareErr != nil {
		f.Attempts = w.prepareErr.Attempts + 1
	}
	f.Reason, f.Passing = classify(rollout.Pull, err)
	f.Next = w.r.now().Add(rollout.Action{Kind: rollout.Pull}.Retry(f.Attempts))
	if w.prepareErr == nil || w.prepareErr.Message != f.Message {
		w.record(status.Event{Reason: f.Reason, Severity: "error", Revision: revisionOf(w.desired), Message: f.Message})
	}
	w.prepareErr = &f
}

func revisionOf(d *desired) string {
	if d == nil {
		return ""
	}
	return d.revision.String()
}

// prepare resolves every image and puts every mounted file of a revision's
// folder on disk.
func (r *Reconciler) prepare(ctx context.Context, d *desired, folder string) (*prepared, error) {
	p := &prepared{of: d, images: map[string]plan.Image{}}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.resolveAll(ctx, d.app, p.images) })
	g.Go(func() error { return r.materialize(ctx, d.app, folder) })
	g.Go(func() (err error) {
		if p.networks, err = r.cfg.Engine.Networks(ctx); err != nil {
			return fmt.Errorf("list networks: %w", err)
		}
		return nil
	})
	g.Go(func() (err error) {
		if p.volumes, err = r.cfg.Engine.Volumes(ctx); err != nil {
			return fmt.Errorf("list volumes: %w", err)
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return p, nil
}

// resolveAll finds the image of every service.
func (r *Reconciler) resolveAll(ctx context.Context, app *manifests.App, images map[string]plan.Image) error {
	for i := range app.Services {
		s := &app.Services[i]
		img, err := r.resolve(ctx, s)
		if err != nil {
			return fmt.Errorf("resolve image %s of %s: %w", s.Container.Image, s.Name, err)
		}
		images[s.Name] = img
	}
	return nil
}

// resolve finds the image of a service: the digest that the ledger pinned, the
// one of a local image, or what the registry says.
func (r *Reconciler) resolve(ctx context.Context, s *manifests.Service) (plan.Image, error) {
	ref := s.Container.Image
	if _, digest, ok := strings.Cut(ref, "@"); ok {
		return r.withFacts(ctx, ref, plan.Image{Digest: digest})
	}
	if pinned, ok := r.pinned(s); ok {
		return r.withFacts(ctx, plan.ByDigest(ref, pinned), plan.Image{Digest: pinned})
	}
	if s.PullPolicy != "always" && !periodic(s.PullPolicy) {
		if img, err := r.cfg.Engine.Image(ctx, ref); err == nil {
			return r.local(ref, img)
		} else if !errors.Is(err, engine.ErrNotFound) {
			return plan.Image{}, err
		}
	}
	if s.PullPolicy == "never" {
		return plan.Image{}, fmt.Errorf("pull_policy is never and the image is not on this host: %w", engine.ErrImageNotFound)
	}
	digest, err := r.cfg.Engine.Resolve(ctx, ref, s.Container.Platform)
	if err != nil {
		return plan.Image{}, err
	}
	if err := r.pin(ref, digest, true); err != nil {
		return plan.Image{}, err
	}
	return r.withFacts(ctx, plan.ByDigest(ref, digest), plan.Image{Digest: digest})
}

// local is the identity of an image that is on the engine already.
func (r *Reconciler) local(ref string, img engine.Image) (plan.Image, error) {
	if !img.HostLocal() {
		if err := r.pin(ref, img.Digest, false); err != nil {
			return plan.Image{}, err
		}
	}
	return plan.Resolved(img), nil
}

// pinned returns the digest that a reference was resolved to, unless its pull
// policy asks for a new look.
func (r *Reconciler) pinned(s *manifests.Service) (digest string, ok bool) {
	r.host.read(func(h *ledger.Host) {
		d, found := h.Digests[s.Container.Image]
		if found && !r.stale(d, s.PullPolicy) {
			digest, ok = d.Digest, true
		}
	})
	return digest, ok
}

// checkEvery is how often a registry is asked at most about one reference.
const checkEvery = 5 * time.Minute

// lookEvery is how often a pull policy asks the registry what a reference
// leads to by now; 0 is never.
func lookEvery(policy string) time.Duration {
	switch {
	case policy == "always":
		return checkEvery
	case policy == "daily":
		return 24 * time.Hour
	case policy == "weekly":
		return 7 * 24 * time.Hour
	case strings.HasPrefix(policy, "every_"):
		if v, err := time.ParseDuration(strings.TrimPrefix(policy, "every_")); err == nil {
			return max(v, checkEvery)
		}
	}
	return 0
}

// stale says whether a resolved reference is due for another look.
func (r *Reconciler) stale(d ledger.Digest, policy string) bool {
	every := lookEvery(policy)
	return every > 0 && r.now().Sub(d.ResolvedAt) >= every
}

// looksAt is when the app's references are due for another look, after one was
// made now; zero for never.
func (w *worker) looksAt(d *desired) time.Time {
	var at time.Time
	for i := range d.app.Services {
		if every := lookEvery(d.app.Services[i].PullPolicy); every > 0 {
			at = earliest(at, w.r.now().Add(every))
		}
	}
	return at
}

func periodic(policy string) bool {
	return policy == "daily" || policy == "weekly" || strings.HasPrefix(policy, "every_")
}

// pin keeps what a reference was resolved to; asked says that it was the
// registry that said so just now.
func (r *Reconciler) pin(ref, digest string, asked bool) error {
	same := false
	r.host.read(func(h *ledger.Host) { same = !asked && h.Digests[ref].Digest == digest })
	if same {
		return nil
	}
	return r.host.update(func(h *ledger.Host) error {
		if h.Digests == nil {
			h.Digests = map[string]ledger.Digest{}
		}
		h.Digests[ref] = ledger.Digest{Digest: digest, ResolvedAt: r.now()}
		return nil
	})
}

// withFacts adds what the image says of itself, where it is on the engine.
func (r *Reconciler) withFacts(ctx context.Context, ref string, known plan.Image) (plan.Image, error) {
	img, err := r.cfg.Engine.Image(ctx, ref)
	if errors.Is(err, engine.ErrNotFound) {
		return known, nil
	}
	if err != nil {
		return known, err
	}
	full := plan.Resolved(img)
	full.Digest, full.HostLocal = known.Digest, false
	return full, nil
}

// materialize puts what the app mounts of the repository on disk. What several
// mounts show counts once.
func (r *Reconciler) materialize(ctx context.Context, app *manifests.App, folder string) error {
	r.pruning.RLock()
	defer r.pruning.RUnlock()
	spent, counted := &Spent{}, map[string]bool{}
	for i := range app.Services {
		s := &app.Services[i]
		for _, m := range s.Container.Mounts {
			in := mountInput{project: app.Project, live: app.Live, root: folder, files: s.Files}
			if f, ok := fileOf(s.Files, m); ok && !counted[f.Mode+f.ID] {
				in.spent, counted[f.Mode+f.ID] = spent, true
			}
			if _, err := r.mountSource(in, m); err != nil {
				return fmt.Errorf("prepare mount %s of %s: %w", m.Target, s.Name, err)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

// superseded returns the newer revision that makes the rollout under way
// pointless: one that wants another release of a service.
func (w *worker) superseded() string {
	ro := w.app.Rollout
	if ro == nil || w.prepared == nil || w.desired == nil || w.prepared.of != w.desired || w.desired.app == nil {
		return ""
	}
	if ro.Actor.Kind == "user" || ro.Actor.Kind == "token" || ro.Revision == w.desired.revision.String() || ro.Kind == ledger.Remove && w.gone {
		return ""
	}
	wanted := plan.Wanted(*w.desired.app, w.prepared.images)
	if maps.Equal(wanted, plan.Target(w.app)) {
		return ""
	}
	return w.desired.revision.String()
}
