package reconciler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/plan"
)

// deliver hands every app of a loaded environment what the revision wants of
// it; apps of the ledger that the environment no longer has are removed, with
// the guards of [plan.Prune].
func (r *Reconciler) deliver(ctx context.Context, src manifests.Source, env string, rev status.Revision, res manifests.LoadResult) {
	for i := range res.Apps {
		r.want(ctx, env, res.Apps[i].Name, &desired{revision: rev, app: &res.Apps[i]})
	}
	for _, f := range res.Failed {
		r.want(ctx, env, f.App, &desired{revision: rev, failed: f.Diagnostics})
	}
	for _, s := range res.Skipped {
		r.want(ctx, env, s.App, &desired{revision: rev, skipped: &s.Diagnostic})
	}
	r.prune(ctx, src, env, rev, res)
}

// want gives an app's worker a new desire.
func (r *Reconciler) want(ctx context.Context, env, app string, d *desired) {
	w := r.worker(ctx, env, app)
	if w == nil {
		return
	}
	// An error says that the agent ends.
	_ = w.send(ctx, letter{question: true, do: func(context.Context) {
		if w.want(d) {
			w.wake()
		}
	}})
}

// want takes a new desire and says whether it is another one; its plan is made
// once it is prepared.
func (w *worker) want(d *desired) (changed bool) {
	if owner := w.owner(d); owner != "" {
		w.refuse(d, owner)
		return false
	}
	if w.desired != nil && w.desired.same(d) {
		w.desired.revision = d.revision // read by this goroutine alone
		if !w.planDue && w.app.Rollout == nil {
			w.judged = d.revision.String() // the commit changed nothing of the app
			w.showJudged()
		}
		return false
	}
	if w.desired == nil || !w.desired.sameFailure(d) {
		w.report(d)
	}
	w.desired, w.prepareErr, w.planDue, w.gone, w.looking, w.lookAt = d, nil, true, false, false, time.Time{}
	if d.app != nil {
		w.app.Source, w.app.Project = d.app.Source, d.app.Project
		w.r.waitsFor(w.id, w.env, d.app.AfterApps)
	}
	return true
}

// showJudged puts the revision that was judged last into the status.
func (w *worker) showJudged() {
	if v := w.outcome; v.Name != "" {
		v.Judged = w.judged
		w.publishView(v)
	}
}

// same says that two desires are the same content, so that a commit that does
// not touch the app does not plan it again.
func (d *desired) same(o *desired) bool {
	return d.app != nil && o.app != nil && d.app.Tree == o.app.Tree && d.app.Tree != "" && d.held == o.held
}

func sameDiagnostic(a, b manifests.Diagnostic) bool { return a == b }

// prune takes away the apps of the ledger that the environment has no more.
func (r *Reconciler) prune(ctx context.Context, src manifests.Source, env string, rev status.Revision, res manifests.LoadResult) {
	in := plan.PruneInput{Environment: env, Folders: res.Folders, Removed: res.Environment.Removed, Confirmed: r.confirmed(rev)}
	for _, s := range res.Skipped {
		in.NotPlaced = append(in.NotPlaced, s.App)
	}
	in.Desired = append(in.Desired, res.Apps...)
	in.Ledger = r.ledgersOf(ctx, src.Name, env)
	result := plan.Prune(in)
	for _, a := range in.Ledger {
		switch {
		case slices.Contains(result.Remove, a.Name):
			r.want(ctx, env, a.Name, &desired{revision: rev, app: emptied(a)})
			r.onWorker(ctx, env, a.Name, func(w *worker) { w.gone = true })
		case result.Held != nil && !slices.Contains(res.Folders, a.Name):
			r.want(ctx, env, a.Name, &desired{revision: rev, held: result.Held.Message})
		}
	}
}

// emptied is the app without a service: what its removal wants.
func emptied(a ledger.App) *manifests.App {
	return &manifests.App{Source: a.Source, Environment: a.Environment, Name: a.Name, Project: a.Project, Tree: "removed"}
}

// ledgersOf returns the ledgers of a source's apps in one environment.
func (r *Reconciler) ledgersOf(ctx context.Context, source, env string) []ledger.App {
	var out []ledger.App
	for _, w := range r.all() {
		a, err := ask(ctx, w, func() ledger.App { return w.app })
		if err != nil {
			continue
		}
		if a.Environment == env && (a.Source == source || a.Source == "") && len(a.Services) > 0 {
			out = append(out, a)
		}
	}
	return out
}

// all returns the workers.
func (r *Reconciler) all() []*worker {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*worker, 0, len(r.workers))
	for _, w := range r.workers {
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b *worker) int { return compare(a.id, b.id) })
	return out
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// onWorker runs f in the worker's goroutine.
func (r *Reconciler) onWorker(ctx context.Context, env, app string, f func(w *worker)) {
	if w := r.worker(ctx, env, app); w != nil {
		_ = w.post(ctx, func(context.Context) { f(w) })
	}
}

// ask runs f, which changes nothing, in the worker's goroutine and returns its
// answer.
func ask[T any](ctx context.Context, w *worker, f func() T) (T, error) {
	return call(ctx, w, true, f)
}

// order runs f in the worker's goroutine, which looks again afterwards, and
// returns its answer. When ctx ends first, f may run all the same later.
func order[T any](ctx context.Context, w *worker, f func() T) (T, error) {
	return call(ctx, w, false, f)
}

func call[T any](ctx context.Context, w *worker, question bool, f func() T) (T, error) {
	answer := make(chan T, 1)
	var none T
	if err := w.send(ctx, letter{do: func(context.Context) { answer <- f() }, question: question}); err != nil {
		return none, err
	}
	select {
	case v := <-answer:
		return v, nil
	case <-w.done:
		return none, errStopped
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// confirmed says whether a person confirmed this revision's removals.
func (r *Reconciler) confirmed(rev status.Revision) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.confirm != "" && (fmt.Sprint(rev) == r.confirm || len(r.confirm) >= 7 && strings.HasPrefix(rev.SHA, r.confirm))
}

// owner is the source that the app belongs to, where d comes from another one:
// what runs is not handed over while the host follows its own source. Empty is
// nobody else.
func (w *worker) owner(d *desired) string {
	owner := w.app.Source
	if d.app == nil || owner == "" || owner == d.app.Source || len(w.app.Services) == 0 || w.r.sources[owner] == nil {
		return ""
	}
	return owner
}

// refuse says once per revision that an app is another source's.
func (w *worker) refuse(d *desired, owner string) {
	if w.refused == d.revision.SHA {
		return
	}
	w.refused = d.revision.SHA
	w.record(status.Event{
		Reason: status.NameConflict, Severity: "error", Revision: d.revision.String(),
		Message: fmt.Sprintf("source %s has an app %s, which belongs to source %s; rename its folder, or follow another environment", d.app.Source, w.id, owner),
	})
}
