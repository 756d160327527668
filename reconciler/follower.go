package reconciler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// follower follows one source: it fetches, loads and hands every app what the
// revision wants of it. One goroutine runs it; the rest is behind its lock.
type follower struct {
	r    *Reconciler
	src  manifests.Source
	port Source
	log  *slog.Logger
	ask  chan request
	// known says that there was a revision in force when the agent began.
	known bool

	mu      sync.Mutex
	state   status.Source
	inForce status.Revision
	// dueSince is when the reconcile was due that has not finished yet; barked
	// says that its lateness was told.
	dueSince time.Time
	barked   bool
}

// request asks a follower to look now; answer is closed when it has.
type request struct {
	answer chan<- error
	// reload loads again although the revision is the same.
	reload bool
}

func newFollower(r *Reconciler, src manifests.Source, port Source) *follower {
	return &follower{
		r: r, src: src, port: port, log: r.cfg.Logger.With("source", src.Name), ask: make(chan request),
		state: status.Source{Name: src.Name, Environment: firstOf(src.Environments), URL: locationOf(src)},
	}
}

func firstOf(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

func locationOf(src manifests.Source) string {
	if src.Folder != "" {
		return src.Folder
	}
	return src.URL
}

// run begins with the revision that was in force, so that a host whose git
// server is away converges all the same, and then looks whenever it is told.
func (f *follower) run(ctx context.Context) {
	if rev := f.port.Current(); !rev.IsZero() {
		f.known = true
		_ = f.load(ctx, rev, false) // it is in the status, and an event
	}
	_ = f.look(ctx, false) // it is in the status, and an event
	changes := f.port.Changes(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-changes:
			if !ok {
				changes = nil
				continue
			}
			_ = f.look(ctx, false) // it is in the status, and an event
		case req := <-f.ask:
			req.answer <- f.look(ctx, req.reload)
		}
	}
}

// reconcile asks for a look and waits for it.
func (f *follower) reconcile(ctx context.Context, reload bool) error {
	answer := make(chan error, 1)
	select {
	case f.ask <- request{answer, reload}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// look fetches and, where there is something new, loads.
func (f *follower) look(ctx context.Context, reload bool) error {
	f.due()
	rev, err := f.port.Fetch(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		f.failed(err)
		return err
	}
	if err := f.load(ctx, rev, reload); err != nil {
		return err
	}
	f.done()
	return nil
}

// failed notes why the source could not be read; the revision in force stays.
func (f *follower) failed(err error) {
	reason, message := sourceReason(err)
	f.mu.Lock()
	was := f.condition(status.Ready)
	f.setCondition(status.Ready, false, reason, message)
	rev := f.inForce
	f.mu.Unlock()
	if was.Reason != reason {
		f.log.Error("source not in force", "reason", reason, "err", err)
		f.event(rev, reason, "error", message)
	}
}

// reasoner is an error that names its reason.
type reasoner interface{ StatusReason() status.Reason }

func sourceReason(err error) (status.Reason, string) {
	var r reasoner
	if errors.As(err, &r) {
		return r.StatusReason(), err.Error()
	}
	return status.GitOperationFailed, err.Error()
}

// load loads a revision's environments and hands the apps out. The same
// revision is not loaded twice, unless it is asked for or could not be loaded.
func (f *follower) load(ctx context.Context, rev status.Revision, reload bool) error {
	f.mu.Lock()
	same := rev.SHA == f.inForce.SHA && !reload
	f.mu.Unlock()
	if !same {
		var errs []error // one environment never stops another
		for _, env := range f.environments() {
			errs = append(errs, f.loadEnvironment(ctx, env, rev))
		}
		if err := errors.Join(errs...); err != nil {
			if ctx.Err() == nil {
				f.failed(err)
			}
			return err
		}
	}
	f.accept(rev, same)
	return nil
}

// environments are those of the source; a local folder without one has the
// environment "local".
func (f *follower) environments() []string {
	if len(f.src.Environments) == 0 {
		return []string{LocalEnvironment}
	}
	return f.src.Environments
}

// LocalEnvironment is the environment of a local folder that has none.
const LocalEnvironment = "local"

// accept notes the revision in force, and tells once what is new of it.
func (f *follower) accept(rev status.Revision, same bool) {
	f.mu.Lock()
	was, before := f.inForce, f.condition(status.Ready)
	f.inForce = rev
	f.state.Revision, f.state.Latest, f.state.FetchedAt, f.state.History = rev.String(), rev.String(), rev.FetchedAt, rev.Ancestors
	if !before.True {
		f.setCondition(status.Ready, true, status.Succeeded, "")
	}
	f.mu.Unlock()
	if before.Reason != "" && !before.True {
		f.event(rev, status.Succeeded, "info", "is followed again")
	}
	// What was in force before a start was told of then.
	if same || was.SHA == rev.SHA || was.IsZero() && f.known {
		return
	}
	f.news(rev)
}

// news tells what is remarkable about a revision.
func (f *follower) news(rev status.Revision) {
	switch {
	case rev.TagMoved:
		f.event(rev, status.TagMoved, "warning", fmt.Sprintf("tag %s points elsewhere now: %s", rev.Ref, rev))
	case rev.Rewritten:
		f.event(rev, status.HistoryRewritten, "warning", fmt.Sprintf("%s was rewritten; %s is followed now", rev.Ref, rev))
	}
	for _, rep := range rev.Reports {
		f.event(rev, rep.Reason, "warning", rep.Path+": "+rep.Message)
	}
}

func (f *follower) event(rev status.Revision, reason status.Reason, severity, message string) {
	actor := status.Actor{Kind: "remora"}
	if rev.Commit.Author != "" {
		actor = status.Actor{Kind: "commit", Name: rev.Commit.Author}
	}
	f.r.cfg.Journal.Record(status.Event{
		Host: f.r.cfg.Host.Name, Environment: firstOf(f.src.Environments), Revision: rev.String(),
		Reason: reason, Severity: severity, Actor: actor, Message: "source " + f.src.Name + ": " + message,
	})
}

func (f *follower) condition(t status.ConditionType) status.Condition {
	for _, c := range f.state.Conditions {
		if c.Type == t {
			return c
		}
	}
	return status.Condition{Type: t}
}

func (f *follower) setCondition(t status.ConditionType, ok bool, reason status.Reason, message string) {
	c := status.Condition{Type: t, True: ok, Reason: reason, Message: message, Since: f.r.now()}
	if old := f.condition(t); old.True == ok && old.Reason == reason {
		c.Since = old.Since
	}
	f.state.Conditions = slices.DeleteFunc(slices.Clone(f.state.Conditions), func(c status.Condition) bool { return c.Type == t })
	f.state.Conditions = append(f.state.Conditions, c)
}

// loadEnvironment loads one environment and hands each app its part.
func (f *follower) loadEnvironment(ctx context.Context, env string, rev status.Revision) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	begun := f.r.now()
	res, err := f.r.cfg.Loader.Load(ctx, f.request(env, rev))
	f.log.Debug("loaded", "environment", env, "revision", rev, "took", f.r.now().Sub(begun), "err", err)
	if err != nil {
		return fmt.Errorf("load environment %s: %w", env, err)
	}
	if errs := res.Diagnostics.Errors(); len(errs) > 0 {
		return &loadError{errs}
	}
	f.r.deliver(ctx, f.src, env, rev, res)
	return nil
}

// loadError says that an environment has errors of its own.
type loadError struct{ ds manifests.Diagnostics }

func (e *loadError) Error() string { return e.ds.Error() }

// StatusReason returns the first diagnostic's reason.
func (e *loadError) StatusReason() status.Reason { return e.ds[0].Reason }

// request is what the loader is asked for one environment.
func (f *follower) request(env string, rev status.Revision) manifests.LoadRequest {
	h := f.r.cfg.Host
	return manifests.LoadRequest{
		Root: rev.Folder, Path: f.src.Path, Environment: env, Bare: f.bare(), Patterns: f.src.Apps,
		Source: f.src.Name, Host: h.Name, Labels: h.Labels, Vars: h.Vars, Primary: f.r.primary(f.src.Name, env),
		Policy: f.r.cfg.Policy(f.src.Name), Live: rev.Live, Standby: h.Standby, CPUs: runtime.NumCPU(), HTTP: h.Ambassador.HTTP,
		HTTPS: h.Ambassador.HTTPS, ACMEShared: h.Ambassador.ACME.Shared != "",
	}
}

// bare says that the source is a folder of apps without environments.
func (f *follower) bare() bool { return f.src.Folder != "" && len(f.src.Environments) == 0 }

// primary says whether env is the host's first environment.
func (r *Reconciler) primary(source, env string) bool {
	if len(r.cfg.Host.Sources) == 0 {
		return true
	}
	first := r.cfg.Host.Sources[0]
	return first.Name == source && (len(first.Environments) == 0 || first.Environments[0] == env)
}

// snapshot returns the source's status, one entry per environment.
func (f *follower) snapshot() []status.Source {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []status.Source
	for _, env := range f.environments() {
		s := f.state
		s.Environment = env
		s.Conditions = slices.Clone(f.state.Conditions)
		out = append(out, s)
	}
	return out
}
