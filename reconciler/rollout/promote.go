package rollout

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

const (
	// keptPromotions is how many promoted releases a service remembers.
	keptPromotions = 5
	// keptOutcomes is how many rollouts an app remembers.
	keptOutcomes = 50
)

// promote ends a rollout that went well: what was replaced leaves, by way of
// its standby.
func (t *turn) promote() {
	r := t.app.Rollout
	var text []string
	for _, name := range t.changes() {
		if line := t.settle(name, r.Changes[name]); line != "" {
			text = append(text, line)
		}
	}
	if r.Kind == ledger.Remove {
		t.forgetJobs()
	} else {
		t.app.NetworkSpecs, t.app.VolumeSpecs = r.Networks, r.Volumes
		for _, n := range r.Networks {
			t.app.Networks = addName(t.app.Networks, n.Name)
		}
		for _, v := range r.Volumes {
			t.app.Volumes = addName(t.app.Volumes, v.Name)
		}
	}
	t.app.Revision = r.Revision
	message := "promoted"
	if len(text) > 0 {
		message += ": " + strings.Join(text, ", ")
	}
	o := t.outcome(status.Succeeded, message)
	t.event(event{reason: status.Succeeded, text: message})
	t.end(o)
}

func addName(list []string, name string) []string {
	if name == "" || slices.Contains(list, name) {
		return list
	}
	return append(list, name)
}

// settle makes one change final and says what it was.
func (t *turn) settle(name string, c *ledger.Change) string {
	s := t.service(name)
	switch c.Action {
	case ledger.Replace:
		from := s.Active
		t.settleReplace(name, s, c)
		if from == nil {
			return name + " " + tag(&c.To.Release)
		}
		return name + " " + tag(&from.Release) + "→" + tag(&c.To.Release)
	case ledger.Scale:
		t.shrink(name, s)
	case ledger.Drop:
		t.drop(name, s)
		return name + " removed"
	case ledger.Run:
		s.Promoted = remember(s.Promoted, c.To.Release)
	case ledger.Settings:
	}
	return ""
}

// settleReplace makes the new set the active one.
func (t *turn) settleReplace(name string, s *ledger.Service, c *ledger.Change) {
	old := s.Active
	to := c.To
	c.To = &ledger.Deployed{Release: to.Release, Set: to.Set}
	to.Since, to.Promoted, to.Place, to.Until = t.now(), t.now(), "", time.Time{}
	s.Active = to
	s.Promoted = remember(s.Promoted, to.Release)
	s.Crashes, s.NextStart = 0, time.Time{}
	delete(s.Quarantined, to.ID)
	if old == nil {
		return
	}
	served := !old.Drained && old.Service.Kind == manifests.KindEndpoint
	place := ledger.ToStandby
	if old.ID == to.ID || to.Service.Standby.For <= 0 {
		place = ledger.ToRemoval
	}
	frozen := old.Frozen
	t.dismiss(name, old, place, served)
	old.Frozen = frozen && !served
}

// remember puts a release in front of those that were promoted.
func remember(list []ledger.Release, r ledger.Release) []ledger.Release {
	out := []ledger.Release{r}
	for _, had := range list {
		if had.ID != r.ID && len(out) < keptPromotions {
			out = append(out, had)
		}
	}
	return out
}

// shrink takes the containers with the highest numbers out of the active set.
func (t *turn) shrink(name string, s *ledger.Service) {
	a := s.Active
	if a == nil || len(a.Instances) <= a.Service.Replicas {
		return
	}
	slices.SortFunc(a.Instances, func(x, y ledger.Instance) int { return x.Index - y.Index })
	gone := &ledger.Deployed{Release: a.Release, Set: t.app.Rollout.ID + "-less"}
	gone.Instances = slices.Clone(a.Instances[a.Service.Replicas:])
	a.Instances = slices.Clone(a.Instances[:a.Service.Replicas])
	t.dismiss(name, gone, ledger.ToRemoval, a.Service.Kind == manifests.KindEndpoint)
}

// drop sends all of a service on its way out.
func (t *turn) drop(name string, s *ledger.Service) {
	if s.Active != nil {
		t.dismiss(name, s.Active, ledger.ToRemoval, s.Active.Service.Kind == manifests.KindEndpoint)
	}
	if s.Standby != nil {
		t.dismiss(name, s.Standby, ledger.ToRemoval, mayServe(s.Standby))
	}
	s.Active, s.Standby, s.Stopped, s.Quarantined, s.Maintenance = nil, nil, nil, nil, nil
}

// forgetJobs lets go of the one-shots of an app that is removed.
func (t *turn) forgetJobs() {
	for _, name := range t.services() {
		s := t.app.Services[name]
		for _, id := range slices.Sorted(maps.Keys(s.Jobs)) {
			j := s.Jobs[id]
			if j.Instance.Container != "" {
				t.dismiss(name, &ledger.Deployed{Release: ledger.Release{ID: id}, Instances: []ledger.Instance{j.Instance}}, ledger.ToRemoval, false)
			}
		}
		s.Jobs, s.Anonymous, s.Quarantined, s.Stopped = nil, nil, nil, nil
	}
}

// promoteKept makes final what stays on its new release although the rollout
// failed, and returns the services.
func (t *turn) promoteKept() []string {
	var kept []string
	for _, name := range t.changes() {
		if c := t.change(name); c.Kept {
			kept = append(kept, name)
			t.settleReplace(name, t.service(name), c)
		}
	}
	return kept
}

// failedOutcome is the sentence of a failed rollout's end.
func (t *turn) failedOutcome(f *ledger.Failure, kept []string) string {
	text := t.failedText(f)
	switch {
	case len(kept) > 0 && t.pauses(f):
		text += "; " + strings.Join(kept, ", ") + " stays on its new release, as failure_action says: commit a mended release, or revert"
	case len(kept) > 0:
		text += "; " + strings.Join(kept, ", ") + " stays on its new release: what it wrote may not go back; commit a mended release, or revert"
	}
	if f.Stuck {
		text += "; going back failed too, a person must look"
	}
	return text
}

// outcome begins the record of the rollout's end.
func (t *turn) outcome(reason status.Reason, message string) ledger.Outcome {
	r := t.app.Rollout
	o := ledger.Outcome{
		ID: r.ID, Revision: r.Revision, Kind: r.Kind, Reason: reason, Message: message, Actor: r.Actor, Subject: r.Subject,
		Began: r.Began, Ended: t.now(), Attempts: 1, Wanted: r.Wanted,
	}
	if last := t.app.Last; last != nil && last.Revision == r.Revision && !last.Retry.IsZero() {
		o.Attempts = last.Attempts + 1
	}
	return o
}

// end records a rollout's end and gives the gate's slot back.
func (t *turn) end(o ledger.Outcome) {
	o.Releases = map[string]string{}
	for name, s := range t.app.Services {
		if s.Active != nil {
			o.Releases[name] = s.Active.ID
		}
	}
	t.app.Seen = o.Revision
	if !o.Retry.IsZero() {
		t.app.Seen = ""
	}
	if o.Reason != status.Succeeded && o.Reason != status.Superseded && o.Reason != status.Interrupted {
		t.event(event{reason: o.Reason, severity: "warning", text: o.Message})
	}
	t.app.Last = &o
	t.app.History = append([]ledger.Outcome{o}, t.app.History...)
	t.app.History = t.app.History[:min(len(t.app.History), keptOutcomes)]
	t.ended = o.Revision
	t.app.Rollout = nil
}
