package reconciler

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/plan"
)

// rollback goes back to the release before, or the one that is named,
// quarantines what it leaves, and pins the app.
func (w *worker) rollback(_ context.Context, c status.Command) (status.Answer, error) {
	switch {
	case w.app.Rollout != nil:
		return status.Answer{}, w.busy()
	case w.desired == nil || w.desired.app == nil:
		return status.Answer{}, &status.Error{Kind: status.Conflict, Message: "what the repository wants of " + w.id + " is not known yet"}
	}
	targets, err := w.targets(c)
	if err != nil {
		return status.Answer{}, err
	}
	app, images := w.asBefore(targets)
	in := w.input(app, &prepared{images: images}, w.desired.revision)
	in.Ledger.Pin, in.Ledger.Suspended = nil, nil
	res := plan.Plan(in)
	switch {
	case res.Hold != nil:
		return status.Answer{}, &status.Error{Kind: status.Conflict, Reason: res.Hold.Reason, Message: res.Hold.Message, Remedy: res.Hold.Remedy}
	case res.NoChange:
		return status.Answer{}, &status.Error{Kind: status.Conflict, Message: "nothing to go back to: " + w.id + " runs that already"}
	}
	return w.goBack(c, in, res)
}

// goBack quarantines, pins and begins the rollout.
func (w *worker) goBack(c status.Command, in plan.Input, res plan.Result) (status.Answer, error) {
	left, moves := map[string]string{}, map[string]string{}
	err := w.change(func(a *ledger.App) {
		a.Pin = w.override(c)
		a.Pin.Wanted = w.wantedReleases()
		for name, ch := range res.Changes {
			if s := a.Services[name]; s != nil && s.Active != nil && ch.Action == ledger.Replace {
				left[name] = s.Active.Tag
				moves[name] = s.Active.Tag + "→" + ch.To.Tag
				quarantine(s, w.r, c)
			}
		}
	})
	if err != nil {
		return status.Answer{}, err
	}
	ro := res.Rollout(in, c.Actor, c.Reason)
	ro.Revision = w.app.Revision
	w.planDue = false
	w.beginRollout(ro, in)
	w.note(c, status.Pinned, "rolled back "+sentence(left))
	return status.Answer{
		RunID: ro.ID, Message: w.id + " goes back: " + sentence(moves),
		Ends:   endsBy("the next release of the same services, or `remora unpin "+w.id+"`", c.For),
		Revert: w.revertLine(),
	}, nil
}

// revertLine is what makes a rollback permanent in the repository; a local
// folder is edited instead.
func (w *worker) revertLine() string {
	if w.desired.revision.Live {
		return ""
	}
	return "git revert " + w.desired.revision.SHA + "  # until then this host stays pinned"
}

// quarantine keeps the release that is left from being rolled out again.
func quarantine(s *ledger.Service, r *Reconciler, c status.Command) {
	if s.Quarantined == nil {
		s.Quarantined = map[string]ledger.Quarantine{}
	}
	message := "left by a rollback"
	if c.Reason != "" {
		message += ": " + c.Reason
	}
	s.Quarantined[s.Active.ID] = ledger.Quarantine{Reason: status.RolledBack, Message: message, At: r.now(), By: c.Actor}
}

func sentence(tags map[string]string) string {
	var parts []string
	for name, tag := range tags {
		parts = append(parts, name+" "+tag)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// targets finds the release that each service goes back to.
func (w *worker) targets(c status.Command) (map[string]*ledger.Release, error) {
	out := map[string]*ledger.Release{}
	for name, s := range w.app.Services {
		if s.Active == nil || (c.Service != "" && c.Service != name) {
			continue
		}
		for i := range s.Promoted {
			p := &s.Promoted[i]
			if p.ID == s.Active.ID || (c.To != "" && !named(p, c.To)) {
				continue
			}
			out[name] = p
			break
		}
	}
	if len(out) == 0 {
		return nil, &status.Error{Kind: status.NotFound, Message: "no release to go back to", Remedy: "`remora history " + w.id + "` lists what was promoted here"}
	}
	return out, nil
}

// named says whether a person's word names a release: its ID or the beginning
// of it, what people call it, or the revision that brought it.
func named(p *ledger.Release, word string) bool {
	_, digest, _ := strings.Cut(p.ID, ":")
	return word == p.Tag || word == p.ID || strings.HasPrefix(digest, word) || strings.Contains(p.Revision, word)
}

// asBefore is the app as it runs now, with the targets in the place of what is
// active: the rest is not touched by a rollback.
func (w *worker) asBefore(targets map[string]*ledger.Release) (manifests.App, map[string]plan.Image) {
	app := manifests.App{Source: w.app.Source, Environment: w.app.Environment, Name: w.app.Name, Project: w.app.Project}
	if w.desired != nil && w.desired.app != nil {
		app = *w.desired.app
		app.Services = nil
	}
	images := map[string]plan.Image{}
	for _, name := range w.names() {
		s := w.app.Services[name]
		if s == nil {
			continue
		}
		r := targets[name]
		if r == nil && s.Active != nil {
			r = &s.Active.Release
		}
		if r == nil {
			continue
		}
		app.Services = append(app.Services, r.Service)
		images[name] = plan.ImageOf(r)
	}
	app.Networks, app.Volumes = w.app.NetworkSpecs, w.app.VolumeSpecs
	return app, images
}

// wantedReleases are those that the repository wants now.
func (w *worker) wantedReleases() map[string]string {
	if w.prepared == nil || w.desired == nil || w.desired.app == nil {
		return nil
	}
	return plan.Wanted(*w.desired.app, w.prepared.images)
}

// restart gives the app's, or one service's, containers of the same release in
// the place of the present ones.
func (w *worker) restart(_ context.Context, c status.Command) (status.Answer, error) {
	if w.app.Rollout != nil {
		return status.Answer{}, w.busy()
	}
	targets := map[string]*ledger.Release{}
	app, images := w.asBefore(targets)
	in := w.input(app, &prepared{images: images}, status.Revision{})
	in.Restart = []string{"*"}
	if c.Service != "" {
		in.Restart = []string{c.Service}
	}
	res := plan.Plan(in)
	if res.Hold != nil {
		return status.Answer{}, &status.Error{Kind: status.Conflict, Reason: res.Hold.Reason, Message: res.Hold.Message, Remedy: res.Hold.Remedy}
	}
	if res.NoChange {
		return status.Answer{}, &status.Error{Kind: status.Conflict, Message: fmt.Sprintf("nothing of %s runs", subject(w.id, c.Service))}
	}
	ro := res.Rollout(in, c.Actor, c.Reason)
	ro.Revision = w.app.Revision
	w.beginRollout(ro, in)
	w.note(c, status.Progressing, "restarted")
	return status.Answer{RunID: ro.ID, Message: subject(w.id, c.Service) + " gets fresh containers of the same release", Ends: "ends by itself"}, nil
}
