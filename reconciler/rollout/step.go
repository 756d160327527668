// Package rollout is the pure core of deployment: given what the ledger says
// of an app and what is observed, it decides the next actions, and which
// traffic the ambassador should carry. It works level by level: it keeps no
// state but the ledger's, so it may be asked again at any time, after any
// crash, and converges.
//
// It must not do I/O, read a clock, log or start a goroutine: time comes with
// the observation. Its functions are safe for concurrent use on different
// apps; they change nothing that they are given.
package rollout

import (
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// Observation is the world as of one moment, as far as one app is concerned.
type Observation struct {
	Now time.Time
	// Containers of this app by ID, ours only.
	Containers map[string]engine.Container
	// Traffic is the ambassador's report by service name ("env/app/service")
	// and release; nil while no ambassador answers.
	Traffic map[string]map[string]traffic.ReleaseReport
	// Applied says that the ambassador acknowledged a table with exactly what
	// [Traffic] asks for this app at present.
	Applied bool
	// Failures are the last failures of actions, by [Action.Key], cleared when
	// the action succeeds.
	Failures map[string]Failed
	// Pulled says which images are on the engine, by the reference that a Pull
	// action names.
	Pulled map[string]bool
	// Healthy are the containers (by ID) whose health check passed when it was
	// run by exec, with the start time it was run in.
	Healthy map[string]time.Time
	// Granted is the gate's answer to an Acquire; Waiting why it is not yet.
	Granted bool
	Waiting string
	// Superseded by a newer revision that changes this app, or empty.
	Superseded string
	// GoBack says that the newer revision wants what the rollout replaced: it
	// goes back at once, though the traffic was switched. Hurry says that what
	// is watched is promoted at once for the newer revision's sake, as somebody
	// edits a local folder and waits.
	GoBack, Hurry bool
	// DependenciesReady says that all of AfterApps are healthy; NotReady names
	// the one that is not.
	NotReady string
	// BootID and EngineStart of this moment.
	BootID      string
	EngineStart string
	// StopRespect is how long a person's stop is honoured.
	StopRespect time.Duration
	// Networks says that the Network action succeeded for the rollout under
	// way, or, without one, since the engine's last start.
	Networks bool
	// Busy are the instances, by name, on which an action is under way: their
	// entry stays in the ledger until it has ended.
	Busy map[string]bool
	// Output is the last line that a container wrote, by ID, as far as its
	// evidence was taken; events end with it.
	Output map[string]string
}

// Failed is an action that failed.
type Failed struct {
	Err      error
	Reason   status.Reason
	Message  string
	Attempts int
	// Passing says that it is not the release's fault and is tried again.
	Passing bool
	// Next is when it is tried again.
	Next time.Time
}

// Kind is what an action does.
type Kind string

// The kinds of action. Every one is idempotent.
const (
	Acquire    Kind = "acquire"     // ask the gate
	Pull       Kind = "pull"        // Image
	Network    Kind = "network"     // make the app's networks and volumes
	Create     Kind = "create"      // Instance of Release
	Start      Kind = "start"       // Container
	Stop       Kind = "stop"        // Container with Signal and Grace
	Kill       Kind = "kill"        // Container
	Pause      Kind = "pause"       // Container
	Unpause    Kind = "unpause"     // Container
	Remove     Kind = "remove"      // Container
	SetRestart Kind = "set-restart" // Container, Policy
	Rename     Kind = "rename"      // Container, Name
	Health     Kind = "health"      // run the HEALTHCHECK of Container by exec
	PostStart  Kind = "post-start"  // run the hooks
	PreStop    Kind = "pre-stop"
	Capture    Kind = "capture" // evidence of Container into the journal
	Release_   Kind = "release" // give the gate's slot back
)

// Action is one thing to do. Actions of one decision may run at once, but
// those on one container run in order.
type Action struct {
	Kind      Kind
	Service   string
	Release   string
	Instance  ledger.Instance
	Container string
	// Deployed is the release that a Create creates from.
	Deployed *ledger.Deployed
	Image    string
	Platform string
	Signal   string
	Grace    time.Duration
	Policy   string
	Name     string
	// Owner is the container whose namespaces this one joins (a unit's), for a
	// Create.
	Owner string
	// Env is added to the environment of a Create: REMORA_CANDIDATE of a
	// one-shot that tests candidates.
	Env     map[string]string
	Hooks   []manifests.Hook
	Message string
}

// Key identifies an action over decisions, for failures.
func (a Action) Key() string {
	return string(a.Kind) + " " + a.Service + " " + a.Release + " " + a.Instance.Name + a.Container + a.Image + a.Name
}

// Decision is what a step decides.
type Decision struct {
	// App is the ledger's next state, to be saved before the actions run.
	App ledger.App
	// Changed says that App differs from what was given.
	Changed bool
	Actions []Action
	// Wake is when to ask again though nothing was observed; zero for never.
	Wake   time.Time
	Events []status.Event
	// Status of the app and its services as far as the core knows it.
	Health  status.Health
	Reason  status.Reason
	Message string
}
