package status

import (
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// Command is a change that a person asks of the agent. App is "env/app" or
// "app" where that is unique; Service is empty for all of the app's.
type Command struct {
	// Verb is "reconcile", "deploy", "rollback", "unpin", "suspend", "resume",
	// "retry", "restart", "stop", "start", "maintenance" or "prune".
	Verb    string `json:"verb"`
	Source  string `json:"source,omitempty"`
	App     string `json:"app,omitempty"`
	Service string `json:"service,omitempty"`
	// To is a release or revision to roll back to; default the one before.
	To            string        `json:"to,omitempty"`
	Reason        string        `json:"reason,omitempty"`
	For           time.Duration `json:"for,omitempty"`
	CreateVolumes bool          `json:"createVolumes,omitempty"`
	// Confirm is the revision that `prune --confirm` names.
	Confirm  string `json:"confirm,omitempty"`
	Override string `json:"override,omitempty"`
	// Off ends maintenance; Notice is what visitors read during it.
	Off    bool   `json:"off,omitempty"`
	Notice string `json:"notice,omitempty"`
	Actor  Actor  `json:"actor"`
}

// Answer is the agent's answer to a command.
type Answer struct {
	RunID   string `json:"runID"`
	Message string `json:"message"`
	// Ends says what ends the state that the command made.
	Ends string `json:"ends,omitempty"`
	// Revert is the git line that makes a rollback permanent.
	Revert string `json:"revert,omitempty"`
}

// PlanRequest asks what a revision would change. With Folder, a local folder
// is planned instead of the source's latest revision.
type PlanRequest struct {
	App      string `json:"app,omitempty"`
	Source   string `json:"source,omitempty"`
	Revision string `json:"revision,omitempty"`
	Folder   string `json:"folder,omitempty"`
}

// Plan is what would change, as `remora plan` prints it.
type Plan struct {
	Revision string    `json:"revision"`
	Apps     []PlanApp `json:"apps"`
	// Diagnostics are errors and warnings of loading and policy, as text.
	Diagnostics []string `json:"diagnostics,omitempty"`
}

// PlanApp is the plan of one app.
type PlanApp struct {
	App     string     `json:"app"`
	Reason  Reason     `json:"reason"`
	Message string     `json:"message,omitempty"`
	Steps   []PlanStep `json:"steps,omitempty"`
}

// PlanStep is one step with its cause.
type PlanStep struct {
	Object string `json:"object"` // Service/web, Network/default, Volume/data
	Action string `json:"action"` // create, recreate, scale, run, remove, switch, keep
	Cause  string `json:"cause"`
	// Order and Notes are for services: why stop-first, what is not reversible.
	Order string   `json:"order,omitempty"`
	Notes []string `json:"notes,omitempty"`
}

// Gate is one row of `explain`: one condition between commit and traffic.
type Gate struct {
	Name    string    `json:"name"`
	OK      bool      `json:"ok"`
	Reason  Reason    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Who     string    `json:"who,omitempty"`
	Next    string    `json:"next,omitempty"`
}

// Explanation is the chain of gates of one app, route or container.
type Explanation struct {
	Subject string `json:"subject"`
	Want    string `json:"want,omitempty"`
	Have    string `json:"have,omitempty"`
	Live    bool   `json:"live"`
	// Gates of a URL begin with the way of a request; where that ends, the reason
	// is the ambassador's code.
	Gates []Gate `json:"gates"`
	// Route, of a URL, is what the ambassador says of it.
	Route *traffic.Explanation `json:"route,omitempty"`
}

// RouteRow is one row of `remora routes`.
type RouteRow struct {
	Listen   string `json:"listen"` // :80, 127.0.0.1:5432, shop_default/10.210.0.130:3000
	Protocol string `json:"protocol"`
	Host     string `json:"host,omitempty"`
	Path     string `json:"path,omitempty"`
	Service  string `json:"service"`
	Port     uint16 `json:"port"`
	Release  string `json:"release,omitempty"`
	State    string `json:"state"` // serving, held, no endpoint, failed: …
	Inflight int    `json:"inflight"`
	Tunnels  int    `json:"tunnels"`
	Requests uint64 `json:"requests"`
	Errors   uint64 `json:"errors"`
}
