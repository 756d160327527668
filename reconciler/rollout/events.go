package rollout

import (
	"fmt"
	"strings"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// event is what a status.Event says of this app.
type event struct {
	service  string
	release  *ledger.Release
	reason   status.Reason
	severity string // info where empty
	text     string
}

// event records one sentence.
func (t *turn) event(e event) {
	ev := status.Event{
		Environment: t.app.Environment, App: t.app.Name, Service: e.service,
		Reason: e.reason, Severity: e.severity, Message: e.text,
	}
	if ev.Severity == "" {
		ev.Severity = "info"
	}
	if e.release != nil {
		ev.Release, ev.Revision = e.release.ID, e.release.Revision
	}
	if r := t.app.Rollout; r != nil {
		ev.Revision, ev.Actor = r.Revision, r.Actor
	}
	t.events = append(t.events, ev)
}

// tag is what people call a release.
func tag(r *ledger.Release) string {
	if r.Tag != "" {
		return r.Tag
	}
	return r.ID[:min(len(r.ID), 8)]
}

// death describes a container that ended.
func death(c *engine.Container) string {
	switch {
	case c.OOMKilled:
		return "killed: out of memory"
	case c.StateError != "":
		return c.StateError
	case c.ExitCode == 0:
		return "exited (code 0)"
	}
	return fmt.Sprintf("exited with code %d", c.ExitCode)
}

// unhealthy describes a failed HEALTHCHECK.
func unhealthy(c *engine.Container) string {
	if log := lastLine(c.HealthLog); log != "" {
		return "unhealthy: " + log
	}
	return "unhealthy"
}

// probeFailure describes an endpoint's failed checks: "GET /up: 500 (6 times)".
func probeFailure(e traffic.EndpointReport) string {
	if e.LastError == "" {
		return "no good answer yet"
	}
	if e.Failures > 1 {
		return fmt.Sprintf("%s (%d times)", e.LastError, e.Failures)
	}
	return e.LastError
}

// lastLine returns the last line that is not blank.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// failedText is the sentence of a failure: what failed, where traffic is, what
// a person looks at.
func (t *turn) failedText(f *ledger.Failure) string {
	if f.Service == "" {
		return f.Message
	}
	text := f.Service
	c := t.change(f.Service)
	if c != nil && c.To != nil {
		text += " " + tag(&c.To.Release)
	}
	return text + " failed: " + f.Message + t.whereNow(f.Service, c) + t.seeLogs(f.Service)
}

// whereNow says what serves in the place of what failed.
func (t *turn) whereNow(name string, c *ledger.Change) string {
	s := t.app.Services[name]
	if c == nil || c.Action != ledger.Replace || s == nil || s.Active == nil || c.Kept {
		return ""
	}
	former := tag(&s.Active.Release)
	worker := s.Active.Service.Kind != manifests.KindEndpoint
	switch {
	case c.Switched || c.Holding:
		return "; going back to " + former
	case c.HadTraffic && worker:
		return "; " + former + " runs again"
	case c.HadTraffic:
		return "; traffic is back on " + former
	case worker:
		return "; " + former + " runs on"
	}
	return "; traffic stays on " + former
}

func (t *turn) seeLogs(service string) string {
	return " → remora logs " + t.app.Name + "/" + service + " --failed"
}
