package ledger

import (
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// RolloutKind says why a rollout runs.
type RolloutKind string

// The kinds of rollout.
const (
	// Apply brings new releases.
	Apply RolloutKind = "apply"
	// Return goes back to releases that were promoted here before.
	Return RolloutKind = "return"
	// Restart gives the same releases fresh containers.
	Restart RolloutKind = "restart"
	// Remove takes services away.
	Remove RolloutKind = "remove"
)

// Phase is where a rollout stands.
type Phase string

// The phases, in order; a failure leads to RollingBack or Discarding, which
// end in a [Outcome].
const (
	Pending     Phase = "pending"
	Granted     Phase = "granted"
	Pulling     Phase = "pulling"
	Rolling     Phase = "rolling" // waves; see [Wave.Step]
	Monitoring  Phase = "monitoring"
	Discarding  Phase = "discarding"   // before any switch: the new set goes
	RollingBack Phase = "rolling-back" // after a switch: traffic goes back
	Ended       Phase = "ended"
)

// WaveStep is where a wave stands.
type WaveStep string

// The steps of a wave, in order.
const (
	BeforeJobs WaveStep = "before-jobs"
	Starting   WaveStep = "starting"
	Warming    WaveStep = "warming"
	// Exchanging replaces stop-first endpoint services: hold, stop, start, warm.
	Exchanging WaveStep = "exchanging"
	AfterJobs  WaveStep = "after-jobs"
	// Canary gives the new containers a growing share of the traffic.
	Canary    WaveStep = "canary"
	Switching WaveStep = "switching" // the table is out, not yet acknowledged
	Replacing WaveStep = "replacing" // workers: old stopped, new started
	Switched  WaveStep = "switched"
)

// Rollout is a rollout under way. It is saved before every action, so that a
// crash between any two steps converges.
type Rollout struct {
	ID       string       `json:"id"`
	Kind     RolloutKind  `json:"kind"`
	Revision string       `json:"revision"`
	Actor    status.Actor `json:"actor"`
	// Subject is the first line of the commit that brought it, where one did.
	Subject string `json:"subject,omitempty"`
	Reason  string `json:"reason,omitempty"` // a person's --reason
	Phase   Phase  `json:"phase"`
	Wave    int    `json:"wave"`
	Waves   []Wave `json:"waves"`
	// Changes by service name; services that do not change are not in it.
	Changes map[string]*Change `json:"changes"`
	// FastLane: every changed service has a standby, and one generation
	// switches them all.
	FastLane bool      `json:"fastLane,omitempty"`
	Began    time.Time `json:"began"`
	Since    time.Time `json:"since"`    // of Phase and wave step
	Progress time.Time `json:"progress"` // last progress, for the deadline
	Failure  *Failure  `json:"failure,omitempty"`
	// Superseded by this revision.
	Superseded string `json:"superseded,omitempty"`
	// Wanted is the desired release of every service, changed or not: a newer
	// revision that wants the same does not cancel the rollout.
	Wanted map[string]string `json:"wanted,omitempty"`
	// Networks and Volumes of the desired app.
	Networks []manifests.Network `json:"networks,omitempty"`
	Volumes  []manifests.Volume  `json:"volumes,omitempty"`
}

// Wave is a set of services that switch in one table generation, with the
// one-shots around it.
type Wave struct {
	Services []string `json:"services"`
	Before   []string `json:"before,omitempty"`
	After    []string `json:"after,omitempty"`
	Step     WaveStep `json:"step"`
}

// ChangeAction is what happens to a service.
type ChangeAction string

// The change actions.
const (
	// Replace brings To in the place of the active release.
	Replace ChangeAction = "replace"
	// Scale changes the number of containers of the same release.
	Scale ChangeAction = "scale"
	// Drop removes the service.
	Drop ChangeAction = "drop"
	// Run runs a one-shot.
	Run ChangeAction = "run"
	// Settings changes routes, probes or waiting times without a container.
	Settings ChangeAction = "settings"
)

// Change is what a rollout does to one service.
type Change struct {
	Action ChangeAction    `json:"action"`
	Cause  string          `json:"cause"` // "image v1→v2"
	Kind   manifests.Kind  `json:"kind"`
	Order  manifests.Order `json:"order"`
	// From is what was active before; nil for a new service.
	From *Deployed `json:"from,omitempty"`
	// To is the new release with its containers, as they come about. A change
	// that reuses the standby begins with its instances.
	To *Deployed `json:"to,omitempty"`
	// FromStandby says that To stands by already.
	FromStandby bool `json:"fromStandby,omitempty"`
	// Switched says that To has the traffic, or runs in From's place.
	Switched bool `json:"switched,omitempty"`
	// Holding says that new requests wait (stop-first).
	Holding bool `json:"holding,omitempty"`
	// HealthyOnce: a service with data that was healthy once stays.
	HealthyOnce bool `json:"healthyOnce,omitempty"`
	// Kept says that it stayed on To while the rest went back.
	Kept bool `json:"kept,omitempty"`
	// Disarmed says that the containers which serve are about to leave: their
	// restart policy is "no" from here on.
	Disarmed bool `json:"disarmed,omitempty"`
	// Ready counts the containers of To that became ready, and ReadyAt is when
	// the last did (update_config's parallelism and delay).
	Ready   int       `json:"ready,omitempty"`
	ReadyAt time.Time `json:"readyAt,omitzero"`
	// HadTraffic says that To had the traffic at some time.
	HadTraffic bool `json:"hadTraffic,omitempty"`
	// Trial is how far the canary has come; nil before it.
	Trial *Trial `json:"trial,omitempty"`
	// Warned says that a failing check of the image was reported.
	Warned bool `json:"warned,omitempty"`
}

// Failure is why a rollout failed.
type Failure struct {
	Service string        `json:"service"`
	Release string        `json:"release,omitempty"`
	Reason  status.Reason `json:"reason"`
	Message string        `json:"message"`
	At      time.Time     `json:"at"`
	// Quarantine says that it is the release's own fault.
	Quarantine bool `json:"quarantine,omitempty"`
	// Retry says that it passes and is tried again with back-off.
	Retry bool `json:"retry,omitempty"`
	// Stuck says that going back failed too, so that a person must look.
	Stuck bool `json:"stuck,omitempty"`
}
