package reconciler

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/plan"
	"github.com/remorahq/remora/reconciler/rollout"
)

// plan makes the plan that is due, and begins its rollout. It says whether it
// did anything.
func (w *worker) plan() bool {
	d := w.desired
	if !w.planDue || d == nil || w.app.Rollout != nil {
		return false
	}
	if d.app == nil {
		w.planDue = false
		return true
	}
	if w.prepared == nil || w.prepared.of != d || w.prepared.used {
		return false
	}
	w.planDue, w.looking, w.prepared.used = false, false, true
	if w.adoptable() {
		w.rebuild(*d.app, w.prepared, d.revision.String())
	}
	in := w.input(*d.app, w.prepared, d.revision)
	// The next plan looks anew; what all apps share is too much to keep for each.
	w.prepared.networks, w.prepared.volumes = nil, nil
	w.decide(in, plan.Plan(in))
	return true
}

// input gathers what a plan depends on.
func (w *worker) input(app manifests.App, p *prepared, rev status.Revision) plan.Input {
	in := plan.Input{
		App: app, Ledger: w.app, Images: p.images, Containers: w.r.world.all(), Networks: p.networks, Volumes: p.volumes,
		Key: w.r.key, ID: newID(), Revision: rev.String(), Now: w.r.now(), HTTP: w.r.cfg.Host.Ambassador.HTTP,
		HTTPS:  w.r.cfg.Host.Ambassador.HTTPS,
		Direct: w.r.direct(),
	}
	w.r.host.read(func(h *ledger.Host) { in.Host = *h })
	return in
}

// newID names a rollout; it is unique.
func newID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails, by its documentation
	return hex.EncodeToString(b[:])
}

// direct says that this host has no service addresses.
func (r *Reconciler) direct() bool {
	return r.cfg.Host.Ambassador.Names == "direct" || r.cfg.Namespaces.Supported() != nil
}

// decide takes a plan's result: nothing to do, held, or a rollout.
func (w *worker) decide(in plan.Input, res plan.Result) {
	was := w.last
	w.last, w.judged = res, in.Revision
	if res.PinEnded && w.app.Pin != nil {
		w.app.Pin = nil
		w.saved = false // written with the next step
		w.record(status.Event{Reason: status.Succeeded, Revision: in.Revision, Message: "the pin ended: the repository wants another release now"})
	}
	switch {
	case res.Hold != nil:
		if w.last.Again.IsZero() && endsUnseen(res.Hold.Reason) {
			w.last.Again = w.r.now().Add(heldLook)
		}
		w.held(was, res, in.Revision)
		return
	case res.NoChange:
		w.unchanged(in.Revision)
		w.unclaim(in)
		return
	}
	if hold := w.portHeld(in); hold != nil {
		w.last.Hold, w.last.Again = hold, w.r.now().Add(portRetry)
		w.held(was, w.last, in.Revision)
		return
	}
	ro := res.Rollout(in, w.actor(), "")
	ro.Subject = w.desired.revision.Commit.Subject
	if err := w.claim(in); err != nil {
		w.prepareFailed(err)
		w.planDue = true
		return
	}
	w.beginRollout(ro, in)
}

// heldLook is how often a plan that something outside holds is made again.
const heldLook = 5 * time.Second

// endsUnseen says that a hold ends by what others do on this host: a container
// that is not ours ends, a volume or network comes about, another app goes.
func endsUnseen(r status.Reason) bool {
	switch r {
	case status.Foreign, status.VolumeInUse, status.VolumeMissing, status.NameConflict, status.PortConflict, status.RouteConflict:
		return true
	}
	return false
}

// held reports a hard rule once per cause.
func (w *worker) held(was, res plan.Result, revision string) {
	if was.Hold != nil && was.Hold.String() == res.Hold.String() {
		return
	}
	w.record(status.Event{Reason: res.Hold.Reason, Severity: "warning", Service: res.Hold.Service, Revision: revision, Message: res.Hold.String()})
}

// unchanged notes that the revision is in force here without a rollout: what
// the last one left to say is history then.
func (w *worker) unchanged(revision string) {
	if w.app.Seen == revision && w.app.Last == nil || len(w.app.Services) == 0 {
		return
	}
	w.app.Revision, w.app.Seen, w.app.Last = revision, revision, nil
	w.saved = false
}

// actor is who brought the present revision.
func (w *worker) actor() status.Actor {
	if d := w.desired; d != nil && d.revision.Commit.Author != "" {
		return status.Actor{Kind: "commit", Name: d.revision.Commit.Author}
	}
	return status.Actor{Kind: "remora"}
}

// claim takes the project's name, ports and routes for the app, and gives it
// the ports that the file leaves open. What another app has stays with it.
func (w *worker) claim(in plan.Input) error {
	keys := plan.Claims(in)
	if w.claimed(in, keys) {
		return nil
	}
	return w.r.host.update(func(h *ledger.Host) error {
		if h.Claims == nil {
			h.Claims = map[string]string{}
		}
		for _, key := range keys {
			if _, taken := h.Claims[key]; !taken {
				h.Claims[key] = w.id
			}
		}
		return plan.AllocatePorts(h, in.App, w.r.cfg.PortBusy)
	})
}

// unclaim gives back what the app claimed before and needs no more, now that
// nothing of a former release is left to serve.
func (w *worker) unclaim(in plan.Input) {
	keys := plan.Claims(in)
	spare := false
	for key, owner := range in.Host.Claims {
		spare = spare || owner == w.id && !slices.Contains(keys, key)
	}
	if !spare {
		return
	}
	err := w.r.host.update(func(h *ledger.Host) error { plan.KeepClaims(h, w.id, keys); return nil })
	if err != nil {
		w.log.Warn("claims not given back", "err", err)
	}
}

// claimed says that the app has all that it claims, as a new release of the
// same services mostly does.
func (w *worker) claimed(in plan.Input, keys []string) bool {
	for _, key := range keys {
		if _, taken := in.Host.Claims[key]; !taken {
			return false
		}
	}
	return plan.PortsGiven(&in.Host, in.App)
}

// beginRollout begins a rollout. What was looked up for its plan just now,
// images, networks and volumes, is not looked up again.
func (w *worker) beginRollout(ro *ledger.Rollout, in plan.Input) {
	w.failures, w.pulled = map[string]rollout.Failed{}, map[string]bool{}
	if in.Networks != nil {
		w.pulled = present(ro)
	}
	if !stand(ro, in) {
		w.networked = networkedFor{}
	}
	w.granted, w.waiting = false, ""
	w.app = rollout.Begin(w.app, *ro, w.r.now())
	w.saved = false
}

// present are the images of a rollout that were on the engine when it was
// planned.
func present(ro *ledger.Rollout) map[string]bool {
	out := map[string]bool{}
	for _, c := range ro.Changes {
		if c.To != nil && c.To.ImageID != "" {
			out[c.To.Reference()] = true
		}
	}
	return out
}

// learnImage completes a release with what its image says of itself, once the
// image is there.
func (w *worker) learnImage(a rollout.Action, img engine.Image) {
	w.pulled[a.Image] = true
	ro := w.app.Rollout
	if ro == nil {
		return
	}
	app := w.app.Clone()
	for _, c := range app.Rollout.Changes {
		if c.To != nil && c.To.Reference() == a.Image {
			plan.LearnImage(c, plan.Resolved(img))
		}
	}
	w.app = app
	w.saved = false
}
