package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// hold returns the first hard rule that forbids the changes. A person's word
// goes first, then who owns what, then what failed, then the data.
func (p *planner) hold() *Held {
	rules := []func() *Held{p.suspended, p.nameConflict, p.conflict, p.pinned, p.quarantined, p.failedBefore, p.jobUnknown}
	if len(p.starting()) > 0 {
		rules = append(rules, p.foreign, p.externals, p.unreachable, p.volumeMissing, p.volumeInUse)
	}
	for _, rule := range rules {
		if h := rule(); h != nil {
			return h
		}
	}
	return nil
}

// holds says whether a person's decision is in force.
func holds(o *ledger.Override, now time.Time) bool {
	return o != nil && (o.Until.IsZero() || now.Before(o.Until))
}

func (p *planner) suspended() *Held {
	o := p.Ledger.Suspended
	if !holds(o, p.Now) {
		return nil
	}
	return &Held{Reason: status.Suspended, Message: "suspended" + by(o), Remedy: "remora resume " + p.App.Name}
}

// by says who decided, why and until when.
func by(o *ledger.Override) string {
	var b strings.Builder
	if o.By.Name != "" {
		b.WriteString(" by " + o.By.Name)
	}
	if !o.At.IsZero() {
		b.WriteString(" at " + o.At.Format(time.DateTime))
	}
	if !o.Until.IsZero() {
		b.WriteString(" until " + o.Until.Format(time.DateTime))
	}
	if o.Reason != "" {
		b.WriteString(": " + o.Reason)
	}
	return b.String()
}

// pinned holds the app while every pinned service is still wanted as it was
// when the pin was set.
func (p *planner) pinned() *Held {
	o := p.Ledger.Pin
	if o == nil || p.pinEnded() {
		return nil
	}
	return &Held{
		Reason: status.Pinned, Message: "pinned to the release before " + p.describe(o.Wanted) + by(o),
		Remedy: "merge the revert, or remora unpin " + p.App.Name,
	}
}

// describe names releases as a person knows them.
func (p *planner) describe(releases map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(releases)) {
		out = append(out, p.call(name, releases[name]))
	}
	return strings.Join(out, ", ")
}

// call is "web v44 (9f3c1a2b)".
func (p *planner) call(service, release string) string {
	if want, ok := p.want[service]; ok && want.ID == release {
		return fmt.Sprintf("%s %s (%s)", service, want.Tag, Short(release))
	}
	return fmt.Sprintf("%s (%s)", service, Short(release))
}

// pinEnded says that the ledger has a pin and that it no longer holds.
func (p *planner) pinEnded() bool {
	o := p.Ledger.Pin
	if o == nil {
		return false
	}
	if !holds(o, p.Now) {
		return true
	}
	for name, wanted := range o.Wanted {
		if p.want[name].ID != wanted {
			return true
		}
	}
	return false
}

// quarantined keeps a revision away that contains a release that failed here,
// whatever else it changes. What runs already is not rolled out.
func (p *planner) quarantined() *Held {
	for _, name := range p.names() {
		id, s := p.want[name].ID, p.known(name)
		q, bad := s.Quarantined[id]
		if !bad || s.Active != nil && s.Active.ID == id {
			continue
		}
		return &Held{
			Reason: status.Quarantined, Service: name,
			Message: fmt.Sprintf("contains %s, %s %s%s", p.call(name, id), q.Reason, p.clock(q.At), because(q.Message)),
			Remedy:  "commit another release of " + name + ", or remora retry " + p.App.Name,
		}
	}
	return nil
}

func because(message string) string {
	if message == "" {
		return ""
	}
	return ": " + message
}

// clock is the time of day, with the date where it was not today.
func (p *planner) clock(t time.Time) string {
	t = t.In(p.Now.Location())
	if t.Format(time.DateOnly) == p.Now.Format(time.DateOnly) {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// failedBefore holds what was tried and failed without a quarantine, until its
// next try is due, a person asks for it (the ledger then has Seen nothing), or
// something else is wanted.
func (p *planner) failedBefore() *Held {
	last := p.Ledger.Last
	if last == nil || !failed(last.Reason) || len(p.Restart) > 0 || !p.sameWish(last) {
		return nil
	}
	if p.Ledger.Seen == "" && last.Retry.IsZero() {
		return nil
	}
	remedy := "commit another release, or remora retry " + p.App.Name
	switch {
	case last.Retry.IsZero():
	case p.Now.Before(last.Retry):
		remedy = "tried again at " + p.clock(last.Retry)
	default:
		return nil
	}
	return &Held{Reason: last.Reason, Message: last.Message, Remedy: remedy}
}

// sameWish says that a rollout led to what is wanted now.
func (p *planner) sameWish(o *ledger.Outcome) bool {
	if o.Wanted == nil {
		return o.Revision == p.Revision
	}
	return maps.Equal(o.Wanted, p.wanted())
}

// failed says that a rollout which ended so did not bring what it should.
func failed(r status.Reason) bool {
	switch r {
	case status.Succeeded, status.Superseded, status.Interrupted, status.NoChange, status.Returning, "":
		return false
	}
	return true
}

// jobUnknown stops where a one-shot may have run to its end or not.
func (p *planner) jobUnknown() *Held {
	for _, name := range p.names() {
		want := p.want[name]
		if want.Service.Kind != manifests.KindOneShot || want.Service.Idempotent {
			continue
		}
		if p.known(name).Jobs[want.ID].State == ledger.JobUnknown {
			return &Held{
				Reason: status.JobFailed, Service: name,
				Message: "it is not known how " + p.call(name, want.ID) + " ended: its container vanished while it ran",
				Remedy:  "see what it did, then remora retry " + p.App.Name + ", or mark the service `x-remora: {job: {idempotent: true}}`",
			}
		}
	}
	return nil
}

// again is when a hold ends by itself.
func (p *planner) again(h *Held) time.Time {
	l := &p.Ledger
	switch {
	case h.Reason == status.Suspended && l.Suspended != nil:
		return l.Suspended.Until
	case h.Reason == status.Pinned && l.Pin != nil:
		return l.Pin.Until
	case l.Last != nil && h.Reason == l.Last.Reason && p.Now.Before(l.Last.Retry):
		return l.Last.Retry
	}
	return time.Time{}
}
