package reconciler

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/rollout"
)

// pulls bounds how many images are pulled at once. It is safe for concurrent
// use.
type pulls struct {
	slots chan struct{}
}

// maxPulls is how many images are pulled at once on one host.
const maxPulls = 3

func newPulls() *pulls { return &pulls{slots: make(chan struct{}, maxPulls)} }

// take waits for a slot; release gives it back.
func (p *pulls) take(ctx context.Context) (release func(), err error) {
	select {
	case p.slots <- struct{}{}:
		return func() { <-p.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pullImage pulls an image and reports its progress where it takes longer than
// two seconds.
func (r *Reconciler) pullImage(ctx context.Context, app string, a rollout.Action) (engine.Image, error) {
	release, err := r.pulls.take(ctx)
	if err != nil {
		return engine.Image{}, err
	}
	defer release()
	p := &pullProgress{r: r, app: app, action: a, next: r.now().Add(2 * time.Second)}
	img, err := r.cfg.Engine.Pull(ctx, a.Image, a.Platform, p.report)
	if err != nil {
		return img, err
	}
	return img, r.host.update(func(h *ledger.Host) error {
		if h.Images == nil {
			h.Images = map[string]time.Time{}
		}
		h.Images[a.Image] = r.now()
		return nil
	})
}

// pullProgress turns the layers of a pull into an event every few seconds.
type pullProgress struct {
	r      *Reconciler
	app    string
	action rollout.Action

	mu   sync.Mutex
	next time.Time
}

func (p *pullProgress) report(g engine.Progress) {
	p.mu.Lock()
	due := !p.r.now().Before(p.next)
	if due {
		p.next = p.r.now().Add(5 * time.Second)
	}
	p.mu.Unlock()
	if !due {
		return
	}
	env, name := splitApp(p.app)
	p.r.cfg.Journal.Record(status.Event{
		Host: p.r.cfg.Host.Name, Environment: env, App: name, Service: p.action.Service, Severity: "info",
		Reason: status.Progressing, Actor: status.Actor{Kind: "remora"},
		Message: fmt.Sprintf("pulling %s: %d of %d layers, %d of %d MiB", g.Reference, g.Done, g.Layers, g.Bytes>>20, g.Total>>20),
	})
}
