package reconciler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/reconciler/rollout"
)

// act begins the actions of a decision: those on one container run in order,
// the others at once. What is already under way is not begun again; what
// failed waits for its next time.
func (w *worker) act(ctx context.Context, actions []rollout.Action) {
	var order []string
	chains := map[string][]rollout.Action{}
	for _, a := range actions {
		key := chainKey(a)
		if _, ok := chains[key]; !ok {
			order = append(order, key)
		}
		chains[key] = append(chains[key], a)
	}
	for _, key := range order {
		if _, under := w.chains[key]; !under && !w.waits(chains[key][0]) {
			w.begin(ctx, key, chains[key])
		}
	}
}

// chainKey is what an action acts on.
func chainKey(a rollout.Action) string {
	switch {
	case a.Instance.Name != "":
		return "instance " + a.Instance.Name
	case a.Container != "":
		return "container " + a.Container
	}
	return a.Key()
}

// waits says whether an action failed and is not due again.
func (w *worker) waits(a rollout.Action) bool {
	f, ok := w.failures[a.Key()]
	return ok && w.r.now().Before(f.Next)
}

// retryAt is when the next failed action is due.
func (w *worker) retryAt() time.Time {
	var at time.Time
	now := w.r.now()
	for _, f := range w.failures {
		if f.Next.After(now) {
			at = earliest(at, f.Next)
		}
	}
	return at
}

// nextRetry is when anything that failed is due again.
func (w *worker) nextRetry() time.Time {
	if w.prepareErr != nil {
		return earliest(w.retryAt(), w.prepareErr.Next)
	}
	return w.retryAt()
}

// begin runs a chain until its end or its first failure.
func (w *worker) begin(ctx context.Context, key string, chain []rollout.Action) {
	w.chains[key] = chain[0].Instance.Name
	w.ownBegins(chain)
	job := &execution{r: w.r, id: w.id, app: w.app, granted: w.granted}
	var failed *rollout.Action
	var err error
	var done []rollout.Action
	w.spawn(ctx, func(ctx context.Context) {
		for _, a := range chain {
			if err = job.do(ctx, a); err != nil {
				failed = &a
				return
			}
			done = append(done, a)
		}
	}, func() {
		delete(w.chains, key)
		w.ownEnds(chain)
		for _, a := range done {
			delete(w.failures, a.Key())
		}
		job.merge(w)
		if failed != nil && ctx.Err() == nil {
			w.fail(*failed, err)
		}
	})
}

// ownBegins and ownEnds note the stops and pauses that are remora's own, so that
// they are not taken for a person's.
func (w *worker) ownBegins(chain []rollout.Action) {
	for _, a := range chain {
		if a.Kind == rollout.Stop || a.Kind == rollout.Pause {
			w.own[a.Container]++
		}
	}
}

func (w *worker) ownEnds(chain []rollout.Action) {
	for _, a := range chain {
		if a.Kind != rollout.Stop && a.Kind != rollout.Pause {
			continue
		}
		w.ownEnded[a.Container] = w.r.now()
		if w.own[a.Container]--; w.own[a.Container] <= 0 {
			delete(w.own, a.Container)
		}
	}
}

// fail notes a failed action with its reason and when it is tried again.
func (w *worker) fail(a rollout.Action, err error) {
	f := w.failures[a.Key()]
	f.Attempts++
	f.Err, f.Message = err, err.Error()
	f.Reason, f.Passing = classify(a.Kind, err)
	f.Next = w.r.now().Add(a.Retry(f.Attempts))
	w.failures[a.Key()] = f
	switch gone := errors.Is(err, engine.ErrNotFound); {
	case a.Kind == rollout.Create && a.Deployed != nil && (gone || errors.Is(err, engine.ErrImageNotFound)):
		delete(w.pulled, a.Deployed.Reference()) // somebody removed the image
	case gone && a.Container != "":
		w.r.world.forget(a.Container)
	}
	w.log.Warn("action failed", "action", a.Kind, "service", a.Service, "attempt", f.Attempts, "err", err)
}

// classify gives an error its reason, and says whether it passes: what is not
// the release's fault is tried again and never quarantines.
func classify(kind rollout.Kind, err error) (r status.Reason, passing bool) {
	switch {
	case errors.Is(err, engine.ErrPolicy):
		return status.PolicyDenied, false
	case errors.Is(err, engine.ErrNoSpace):
		return status.DiskLow, true
	case errors.Is(err, engine.ErrImageNotFound):
		return status.ImagePullFailed, true
	case errors.Is(err, engine.ErrRegistryAuth):
		return status.AuthenticationFailed, true
	case errors.Is(err, engine.ErrRegistryUnavailable):
		return status.RegistryUnavailable, true
	case errors.Is(err, engine.ErrUnavailable), errors.Is(err, engine.ErrTransient):
		return status.EngineUnavailable, true
	case errors.Is(err, engine.ErrConflict):
		return status.NameConflict, true
	case errors.Is(err, engine.ErrPortInUse):
		return status.PortConflict, true
	case errors.Is(err, engine.ErrUnsupported):
		return status.LoadFailed, false
	case errors.Is(err, context.DeadlineExceeded):
		return status.EngineUnavailable, true
	}
	switch kind {
	case rollout.Start, rollout.Create, rollout.PostStart:
		return status.HealthCheckFailed, false
	case rollout.Pull:
		return status.ImagePullFailed, true
	}
	return status.EngineUnavailable, true
}

// execution is one chain of actions: what it needs of the worker as of its
// beginning, and what it brings back.
type execution struct {
	r       *Reconciler
	id      string
	app     appLedger
	granted bool

	healthy map[string]time.Time
	results []func(w *worker)
}

// merge brings the results into the worker, in its goroutine.
func (e *execution) merge(w *worker) {
	w.granted = e.granted || w.granted
	maps.Copy(w.healthy, e.healthy)
	for _, f := range e.results {
		f(w)
	}
}

// do carries one action out, and says in the log how long that took. Every
// action may be repeated.
func (e *execution) do(ctx context.Context, a rollout.Action) error {
	begun := e.r.now()
	err := e.perform(ctx, a)
	e.r.cfg.Logger.Debug("action", "app", e.id, "action", a.Kind, "service", a.Service, "release", a.Release,
		"took", e.r.now().Sub(begun), "err", err)
	return err
}

func (e *execution) perform(ctx context.Context, a rollout.Action) error {
	if e.r.cfg.BeforeAction != nil {
		e.r.cfg.BeforeAction(string(a.Kind) + " " + a.Service)
	}
	eng := e.r.cfg.Engine
	switch a.Kind {
	case rollout.Acquire:
		return e.acquire(ctx, a)
	case rollout.Release_:
		return e.r.cfg.Gate.Release(ctx, e.id, a.Release)
	case rollout.Pull:
		return e.pull(ctx, a)
	case rollout.Network:
		return e.network(ctx)
	case rollout.Create:
		return e.create(ctx, a)
	case rollout.Health:
		return e.health(ctx, a)
	case rollout.PostStart, rollout.PreStop:
		return e.hooks(ctx, a)
	case rollout.Capture:
		return e.capture(ctx, a)
	}
	return e.touch(ctx, a, eng)
}

// touch carries out what changes one container, and reads it again.
func (e *execution) touch(ctx context.Context, a rollout.Action, eng Engine) (err error) {
	switch a.Kind {
	case rollout.Start:
		err = eng.Start(ctx, a.Container)
	case rollout.Stop:
		err = eng.Stop(ctx, a.Container, a.Signal, a.Grace)
	case rollout.Kill:
		err = eng.Kill(ctx, a.Container, a.Signal)
	case rollout.Pause:
		err = eng.Pause(ctx, a.Container)
	case rollout.Unpause:
		err = eng.Unpause(ctx, a.Container)
	case rollout.SetRestart:
		err = eng.SetRestart(ctx, a.Container, a.Policy)
	case rollout.Rename:
		err = eng.Rename(ctx, a.Container, a.Name)
	case rollout.Remove:
		err = e.remove(ctx, a)
	default:
		return fmt.Errorf("action %q is not known", a.Kind)
	}
	_, refreshErr := e.r.world.refresh(ctx, a.Container)
	return errors.Join(ignoreGone(a.Kind, err), refreshErr)
}

// ignoreGone forgives the removal or the end of what is gone already.
func ignoreGone(kind rollout.Kind, err error) error {
	if errors.Is(err, engine.ErrNotFound) && (kind == rollout.Remove || kind == rollout.Stop || kind == rollout.Kill || kind == rollout.Rename) {
		return nil
	}
	return err
}
