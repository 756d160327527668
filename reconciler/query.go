package reconciler

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/plan"
	"github.com/remorahq/remora/reconciler/rollout"
)

// Plan says what the latest revision would change, or a local folder.
func (r *Reconciler) Plan(ctx context.Context, req status.PlanRequest) (status.Plan, error) {
	out := status.Plan{}
	err := r.eachPlanned(ctx, req, &out, func(w *worker, in plan.Input, res plan.Result) {
		out.Apps = append(out.Apps, res.Show(w.id))
	})
	return out, err
}

// Render returns the create payloads of everything that is wanted, as the
// engine would get them.
func (r *Reconciler) Render(ctx context.Context, req status.PlanRequest) ([]json.RawMessage, error) {
	var out []json.RawMessage
	var failed error
	plans := status.Plan{}
	err := r.eachPlanned(ctx, req, &plans, func(w *worker, in plan.Input, res plan.Result) {
		for _, name := range w.rendered(in, res) {
			raw, err := r.renderService(ctx, w, in, res, name)
			if err != nil && failed == nil {
				failed = err
			}
			out = append(out, raw...)
		}
	})
	if err == nil {
		err = failed
	}
	return out, err
}

// eachPlanned loads what is asked about, prepares and plans each app, and hands
// the result over.
func (r *Reconciler) eachPlanned(ctx context.Context, req status.PlanRequest, out *status.Plan, f func(w *worker, in plan.Input, res plan.Result)) error {
	for _, src := range r.cfg.Host.Sources {
		if req.Source != "" && req.Source != src.Name {
			continue
		}
		fl := r.sources[src.Name]
		rev, err := fl.revisionFor(ctx, req)
		if err != nil {
			return err
		}
		out.Revision = strings.TrimPrefix(out.Revision+", "+rev.String(), ", ")
		for _, env := range fl.environments() {
			if err := r.planEnvironment(ctx, fl, env, rev, req, out, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// revisionFor is the revision that a plan is asked about.
func (f *follower) revisionFor(ctx context.Context, req status.PlanRequest) (status.Revision, error) {
	switch {
	case req.Folder != "":
		return status.Revision{Source: f.src.Name, Ref: "folder", SHA: "planned", Folder: req.Folder, Live: f.src.Folder != ""}, nil
	case req.Revision != "":
		return status.Revision{}, &status.Error{Kind: status.Invalid, Reason: status.NotInThisVersion, Message: "planning another revision is not in this version", Remedy: "check it out and use `remora plan --path DIR`"}
	}
	rev, err := f.port.Fetch(ctx)
	if err != nil {
		reason, message := sourceReason(err)
		return rev, &status.Error{Kind: status.Unavailable, Reason: reason, Message: message}
	}
	return rev, nil
}

func (r *Reconciler) planEnvironment(ctx context.Context, f *follower, env string, rev status.Revision, req status.PlanRequest, out *status.Plan, do func(*worker, plan.Input, plan.Result)) error {
	res, err := r.cfg.Loader.Load(ctx, f.request(env, rev))
	if err != nil {
		return &status.Error{Kind: status.Unavailable, Reason: status.LoadFailed, Message: err.Error()}
	}
	for _, d := range res.Diagnostics {
		out.Diagnostics = append(out.Diagnostics, d.String())
	}
	for _, bad := range res.Failed {
		out.Apps = append(out.Apps, status.PlanApp{App: env + "/" + bad.App, Reason: bad.Diagnostics[0].Reason, Message: bad.Diagnostics.Error()})
	}
	for i := range res.Apps {
		app := &res.Apps[i]
		if req.App != "" && !status.MatchApp(req.App, env, app.Name) {
			continue
		}
		for _, d := range slices.Concat(app.Warnings, plan.AddressLost(app, r.cfg.KeepClient)) {
			out.Diagnostics = append(out.Diagnostics, d.String())
		}
		p, err := r.prepare(ctx, &desired{revision: rev, app: app}, rev.Folder)
		if err != nil {
			out.Apps = append(out.Apps, status.PlanApp{App: app.ID(), Reason: status.ImagePullFailed, Message: err.Error()})
			continue
		}
		if err := r.planApp(ctx, *app, p, rev, do); err != nil {
			return &status.Error{Kind: status.Unavailable, Message: err.Error()}
		}
	}
	return nil
}

// planApp plans one app beside its worker, with the ledger as it is now, or
// with an empty one where it has none.
func (r *Reconciler) planApp(ctx context.Context, app manifests.App, p *prepared, rev status.Revision, do func(*worker, plan.Input, plan.Result)) error {
	w, err := r.find(app.ID())
	if err != nil {
		w = newWorker(r, app.Environment, app.Name, ledger.App{})
		w.app.Source, w.app.Project = app.Source, app.Project
		in := w.input(app, p, rev)
		do(w, in, plan.Plan(in))
		return nil
	}
	in, err := ask(ctx, w, func() plan.Input { return w.input(app, p, rev) })
	if err != nil {
		return err
	}
	do(w, in, plan.Plan(in))
	return nil
}

// rendered are the services of a plan, those that do not change included.
func (w *worker) rendered(in plan.Input, _ plan.Result) []string {
	var names []string
	for _, s := range in.App.Services {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}

// renderService makes the payloads of one service: of its change, else of what
// is active.
func (r *Reconciler) renderService(ctx context.Context, w *worker, in plan.Input, res plan.Result, name string) ([]json.RawMessage, error) {
	d := plan.Deployment(in, res, name)
	if d == nil {
		return nil, nil
	}
	app := in.Ledger.Clone()
	app.NetworkSpecs, app.VolumeSpecs, app.Project = res.Networks, res.Volumes, in.App.Project
	var out []json.RawMessage
	for _, i := range d.Instances {
		c, err := r.describe(app, rollout.Action{Kind: rollout.Create, Service: name, Release: d.ID, Instance: i, Deployed: d})
		if err != nil {
			return out, &status.Error{Kind: status.Invalid, Message: fmt.Sprintf("render %s: %v", name, err)}
		}
		raw, err := r.cfg.Render(c)
		if err != nil {
			return out, &status.Error{Kind: status.Invalid, Message: fmt.Sprintf("render %s: %v", name, err)}
		}
		out = append(out, raw)
	}
	return out, nil
}

// authorOf is the commit's author where a commit was the cause.
func authorOf(a status.Actor) string {
	if a.Kind != "commit" {
		return ""
	}
	return a.Name
}

// History lists an app's rollouts, newest first.
func (r *Reconciler) History(ctx context.Context, app string) ([]status.HistoryEntry, error) {
	w, err := r.find(app)
	if err != nil {
		return nil, err
	}
	history, err := ask(ctx, w, func() []ledger.Outcome { return w.app.History })
	if err != nil {
		return nil, &status.Error{Kind: status.Unavailable, Message: err.Error()}
	}
	out := make([]status.HistoryEntry, 0, len(history))
	for _, o := range history {
		out = append(out, status.HistoryEntry{
			Time: o.Ended, Revision: o.Revision, Releases: o.Releases, Result: o.Reason,
			Duration: o.Ended.Sub(o.Began), Actor: o.Actor, Message: o.Message, Subject: o.Subject, Author: authorOf(o.Actor),
		})
	}
	slices.SortStableFunc(out, func(a, b status.HistoryEntry) int { return b.Time.Compare(a.Time) })
	return out, nil
}
