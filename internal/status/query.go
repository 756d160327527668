package status

import (
	"strings"
	"time"
)

// EventFilter selects events; an empty field selects all.
type EventFilter struct {
	// App is "env/app", or "app" in any environment; Service one of its
	// services.
	App     string `json:"app,omitempty"`
	Service string `json:"service,omitempty"`
	Reason  Reason `json:"reason,omitempty"`
	// Since leaves out what is older.
	Since time.Time `json:"since,omitzero"`
}

// Match says whether e is selected.
func (f EventFilter) Match(e Event) bool {
	return (f.App == "" || MatchApp(f.App, e.Environment, e.App)) &&
		(f.Service == "" || f.Service == e.Service) &&
		(f.Reason == "" || f.Reason == e.Reason) &&
		(f.Since.IsZero() || !e.Time.Before(f.Since))
}

// MatchApp says whether subject, "env/app" or "app", names app of environment.
func MatchApp(subject, environment, app string) bool {
	env, name, both := strings.Cut(subject, "/")
	if !both {
		return subject == app
	}
	return env == environment && name == app
}

// LogRequest asks for the output of an app's containers.
type LogRequest struct {
	// App is "env/app" or "app"; Service is empty for all of the app's.
	App     string `json:"app"`
	Service string `json:"service,omitempty"`
	// Release asks for one release, by its name or what a person calls it.
	Release string `json:"release,omitempty"`
	// Failed asks for what was kept of failed containers. The API answers it
	// from the journal; a backend never sees it.
	Failed bool `json:"failed,omitempty"`
	// Follow goes on until the caller leaves.
	Follow bool `json:"follow,omitempty"`
	// Tail is the number of last lines of each container; negative is all.
	Tail int `json:"tail"`
	// Since leaves out what is older.
	Since time.Time `json:"since,omitzero"`
}

// HistoryEntry is one rollout of an app as `remora history` lists it.
type HistoryEntry struct {
	Time     time.Time `json:"time"`
	Revision string    `json:"revision"`
	// Subject and Author are the commit's.
	Subject string `json:"subject,omitempty"`
	Author  string `json:"author,omitempty"`
	// Releases maps each service that changed to what a person calls its new
	// release.
	Releases map[string]string `json:"releases,omitempty"`
	// Result is Succeeded, RolledBack, Superseded, Interrupted, ….
	Result   Reason        `json:"result"`
	Duration time.Duration `json:"duration"`
	Actor    Actor         `json:"actor"`
	Message  string        `json:"message,omitempty"`
}
