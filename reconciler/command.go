package reconciler

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/plan"
	"github.com/remorahq/remora/reconciler/rollout"
)

// Do carries out what a person asks. Errors are [*status.Error].
func (r *Reconciler) Do(ctx context.Context, c status.Command) (status.Answer, error) {
	if c.Verb == "reconcile" {
		return r.reconcile(ctx, c)
	}
	if c.Verb == "prune" {
		return r.confirmPrune(ctx, c)
	}
	w, err := r.find(c.App)
	if err != nil {
		return status.Answer{}, err
	}
	verbs := map[string]func(w *worker, ctx context.Context, c status.Command) (status.Answer, error){
		"deploy": (*worker).deploy, "rollback": (*worker).rollback, "unpin": (*worker).unpin, "suspend": (*worker).suspend,
		"resume": (*worker).resume, "retry": (*worker).retry, "restart": (*worker).restart, "stop": (*worker).stop, "start": (*worker).startAgain,
		"maintenance": (*worker).maintenance,
	}
	verb, ok := verbs[c.Verb]
	if !ok {
		return status.Answer{}, &status.Error{Kind: status.Invalid, Message: fmt.Sprintf("verb %q is not known", c.Verb)}
	}
	type result struct {
		answer status.Answer
		err    error
	}
	got, err := order(ctx, w, func() result {
		if c.Service != "" && w.app.Services[c.Service] == nil {
			return result{err: &status.Error{Kind: status.NotFound, Message: fmt.Sprintf("%s has no service %s", w.id, c.Service)}}
		}
		answer, err := verb(w, ctx, c)
		return result{answer, err}
	})
	if err != nil {
		return status.Answer{}, &status.Error{Kind: status.Unavailable, Message: err.Error()}
	}
	return got.answer, got.err
}

// find returns the worker that "env/app", or "app" where it is unique, names.
func (r *Reconciler) find(app string) (*worker, error) {
	var found []*worker
	for _, w := range r.all() {
		if status.MatchApp(app, w.env, w.name) {
			found = append(found, w)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, &status.Error{Kind: status.NotFound, Message: fmt.Sprintf("no app %q on this host", app), Remedy: "`remora status` lists them"}
	}
	names := make([]string, len(found))
	for i, w := range found {
		names[i] = w.id
	}
	return nil, &status.Error{Kind: status.Invalid, Message: fmt.Sprintf("%q names several apps: %s", app, strings.Join(names, ", ")), Remedy: "name the environment, too"}
}

// reconcile looks at one source, or all, now.
func (r *Reconciler) reconcile(ctx context.Context, c status.Command) (status.Answer, error) {
	if c.Source != "" && r.sources[c.Source] == nil {
		return status.Answer{}, &status.Error{Kind: status.NotFound, Message: fmt.Sprintf("no source %q on this host", c.Source)}
	}
	var revisions []string
	for name, f := range r.sources {
		if c.Source != "" && c.Source != name {
			continue
		}
		if err := f.reconcile(ctx, false); err != nil {
			reason, message := sourceReason(err)
			entry, _ := status.Explain(reason)
			return status.Answer{}, &status.Error{Kind: status.Unavailable, Reason: reason, Message: "source " + name + ": " + message, Remedy: entry.Remedy}
		}
		revisions = append(revisions, f.snapshot()[0].Revision)
	}
	return status.Answer{RunID: newID(), Message: "in force: " + strings.Join(revisions, ", ")}, nil
}

// confirmPrune lets the removals of one revision through.
func (r *Reconciler) confirmPrune(ctx context.Context, c status.Command) (status.Answer, error) {
	if c.Confirm == "" {
		return status.Answer{}, &status.Error{Kind: status.Invalid, Message: "prune needs the revision to confirm", Remedy: "`remora prune --confirm REV`"}
	}
	r.mu.Lock()
	r.confirm = c.Confirm
	r.mu.Unlock()
	for name, f := range r.sources {
		if err := f.reconcile(ctx, true); err != nil {
			return status.Answer{}, &status.Error{Kind: status.Unavailable, Message: "source " + name + ": " + err.Error()}
		}
	}
	return status.Answer{RunID: newID(), Message: "removals of " + c.Confirm + " are confirmed", Ends: "it holds for this revision only"}, nil
}

// note records a person's command as an event.
func (w *worker) note(c status.Command, reason status.Reason, message string) {
	if c.Reason != "" {
		message += ": " + c.Reason
	}
	w.record(status.Event{Reason: reason, Service: c.Service, Actor: c.Actor, Message: message})
}

// override is a person's decision made now.
func (w *worker) override(c status.Command) *ledger.Override {
	o := &ledger.Override{By: c.Actor, At: w.r.now(), Reason: c.Reason}
	if c.For > 0 {
		o.Until = o.At.Add(c.For)
	}
	return o
}

// change alters the ledger on behalf of a person; it is saved at once.
func (w *worker) change(f func(a *ledger.App)) error {
	app := w.app.Clone()
	f(&app)
	if err := w.r.store.saveApp(app); err != nil {
		return &status.Error{Kind: status.Unavailable, Reason: status.DiskLow, Message: err.Error()}
	}
	w.app, w.saved, w.planDue = app, true, true
	return nil
}

func (w *worker) deploy(_ context.Context, c status.Command) (status.Answer, error) {
	if c.Override != "" {
		return status.Answer{}, &status.Error{Kind: status.Invalid, Reason: status.NotInThisVersion, Message: "--override is not in this version: there are no windows and freezes yet"}
	}
	w.planDue = true
	return status.Answer{RunID: newID(), Message: w.id + " is reconciled now"}, nil
}

func (w *worker) suspend(_ context.Context, c status.Command) (status.Answer, error) {
	if err := w.change(func(a *ledger.App) { a.Suspended = w.override(c) }); err != nil {
		return status.Answer{}, err
	}
	w.note(c, status.Suspended, "suspended")
	return status.Answer{RunID: newID(), Message: w.id + " is suspended: no new revision is rolled out", Ends: endsBy("`remora resume "+w.id+"`", c.For)}, nil
}

// endsBy says what ends a state.
func endsBy(command string, after time.Duration) string {
	if after > 0 {
		return fmt.Sprintf("ends in %s, or with %s", after, command)
	}
	return "ends with " + command
}

func (w *worker) resume(_ context.Context, c status.Command) (status.Answer, error) {
	if w.app.Suspended == nil {
		return status.Answer{}, &status.Error{Kind: status.Conflict, Message: w.id + " is not suspended"}
	}
	if err := w.change(func(a *ledger.App) { a.Suspended = nil }); err != nil {
		return status.Answer{}, err
	}
	w.note(c, status.Progressing, "resumed")
	return status.Answer{RunID: newID(), Message: w.id + " is reconciled again"}, nil
}

func (w *worker) unpin(_ context.Context, c status.Command) (status.Answer, error) {
	if w.app.Pin == nil {
		return status.Answer{}, &status.Error{Kind: status.Conflict, Message: w.id + " is not pinned"}
	}
	if err := w.change(func(a *ledger.App) { a.Pin = nil }); err != nil {
		return status.Answer{}, err
	}
	w.note(c, status.Progressing, "unpinned")
	return status.Answer{RunID: newID(), Message: w.id + " follows the repository again", Ends: "a release that the rollback quarantined stays so until `remora retry " + w.id + "`"}, nil
}

func (w *worker) retry(_ context.Context, c status.Command) (status.Answer, error) {
	err := w.change(func(a *ledger.App) {
		*a = rollout.Retry(*a, c.Service)
		a.Last = nil
		a.CreateVolumes = a.CreateVolumes || c.CreateVolumes
	})
	if err != nil {
		return status.Answer{}, err
	}
	w.failures, w.prepareErr, w.last = map[string]rollout.Failed{}, nil, plan.Result{}
	w.note(c, status.Progressing, "tried again")
	return status.Answer{RunID: newID(), Message: w.id + " is tried again"}, nil
}

func (w *worker) stop(_ context.Context, c status.Command) (status.Answer, error) {
	if w.app.Rollout != nil {
		return status.Answer{}, w.busy()
	}
	err := w.change(func(a *ledger.App) {
		w.eachActive(a, c.Service, func(s *ledger.Service) { s.Stopped = w.override(c); s.Stopped.Enforced = true })
	})
	if err != nil {
		return status.Answer{}, err
	}
	w.note(c, status.StoppedByHand, "stopped")
	return status.Answer{RunID: newID(), Message: subject(w.id, c.Service) + " stops", Ends: endsBy("`remora start "+subject(w.id, c.Service)+"`", c.For)}, nil
}

func (w *worker) startAgain(_ context.Context, c status.Command) (status.Answer, error) {
	err := w.change(func(a *ledger.App) {
		w.eachActive(a, c.Service, func(s *ledger.Service) { s.Stopped, s.Crashes, s.NextStart = nil, 0, time.Time{} })
	})
	if err != nil {
		return status.Answer{}, err
	}
	w.note(c, status.Progressing, "started")
	return status.Answer{RunID: newID(), Message: subject(w.id, c.Service) + " starts"}, nil
}

// eachActive calls f with the services that have an active release.
func (w *worker) eachActive(a *ledger.App, service string, f func(s *ledger.Service)) {
	for name, s := range a.Services {
		if s.Active != nil && (service == "" || service == name) {
			f(s)
		}
	}
}

func subject(app, service string) string {
	if service == "" {
		return app
	}
	return app + "/" + service
}

func (w *worker) busy() error {
	return &status.Error{Kind: status.Conflict, Reason: status.Progressing, Message: "a rollout of " + w.id + " is under way", Remedy: "wait for it: `remora wait " + w.id + " --rev " + w.app.Rollout.Revision + "`"}
}
