// Package status is the vocabulary in which remora reports: reasons,
// conditions, events and the status of apps and services. It holds plain
// values only: no I/O, no clock, no logger. Values are safe to copy; the
// package has no state, so everything in it may be used concurrently.
package status

import "time"

// Sync says whether what runs is what the repository wants.
type Sync string

// The values of Sync.
const (
	Synced      Sync = "Synced"
	OutOfSync   Sync = "OutOfSync"
	SyncUnknown Sync = "Unknown"
)

// Health says how what runs is doing.
type Health string

// The values of Health.
const (
	Healthy           Health = "Healthy"
	HealthProgressing Health = "Progressing"
	Degraded          Health = "Degraded"
	HealthSuspended   Health = "Suspended"
	Missing           Health = "Missing"
	HealthUnknown     Health = "Unknown"
)

// ConditionType names a condition of an app or a source.
type ConditionType string

// The condition types.
const (
	Ready          ConditionType = "Ready"
	Reconciling    ConditionType = "Reconciling"
	Stalled        ConditionType = "Stalled"
	SourceVerified ConditionType = "SourceVerified"
	Drifted        ConditionType = "Drifted"
)

// Condition is one judged statement with its reason.
type Condition struct {
	Type    ConditionType `json:"type"`
	True    bool          `json:"true"`
	Reason  Reason        `json:"reason"`
	Message string        `json:"message,omitempty"`
	Since   time.Time     `json:"since"`
}

// Actor is who caused an event: the commit's author, a person at the command
// line, or remora itself.
type Actor struct {
	// Kind is "commit", "user", "token" or "remora".
	Kind string `json:"kind"`
	Name string `json:"name,omitempty"`
}

// Event is one thing that happened, with one sentence that a person
// understands. Secrets never appear in it.
type Event struct {
	// ID grows with every event of a host and never repeats.
	ID          uint64    `json:"id"`
	Time        time.Time `json:"time"`
	Host        string    `json:"host"`
	Environment string    `json:"environment,omitempty"`
	App         string    `json:"app,omitempty"`
	Service     string    `json:"service,omitempty"`
	Revision    string    `json:"revision,omitempty"`
	Release     string    `json:"release,omitempty"`
	Reason      Reason    `json:"reason"`
	// Severity is "info", "warning" or "error".
	Severity string `json:"severity"`
	Actor    Actor  `json:"actor"`
	Message  string `json:"message"`
}

// Host is the whole status of one host.
type Host struct {
	Name         string    `json:"name"`
	AgentVersion string    `json:"agentVersion"`
	Time         time.Time `json:"time"`
	Sources      []Source  `json:"sources"`
	Apps         []App     `json:"apps"`
	// NeedPerson counts the services and sources that wait for a person.
	NeedPerson int         `json:"needPerson"`
	Ambassador Ambassador  `json:"ambassador"`
	Engine     EngineState `json:"engine"`
	// LastReconcile is when a reconcile last finished.
	LastReconcile time.Time `json:"lastReconcile"`
}

// Ambassador is what the agent knows of the data plane.
type Ambassador struct {
	Connected  bool   `json:"connected"`
	Version    string `json:"version,omitempty"`
	Generation uint64 `json:"generation"`
	Message    string `json:"message,omitempty"`
}

// EngineState is what the agent knows of the container engine.
type EngineState struct {
	Connected  bool   `json:"connected"`
	Version    string `json:"version,omitempty"`
	APIVersion string `json:"apiVersion,omitempty"`
	Message    string `json:"message,omitempty"`
}

// Source is the status of one source of the host.
type Source struct {
	Name        string `json:"name"`
	Environment string `json:"environment"`
	URL         string `json:"url"`
	// Revision is the one in force, as main@sha1:67e2c98a….
	Revision string `json:"revision"`
	// Latest is the newest one seen, whether in force or not.
	Latest string `json:"latest,omitempty"`
	// History are the commits known to precede Revision, newest first, as far
	// as they were fetched: `remora wait --rev` is met by a descendant.
	History    []string    `json:"history,omitempty"`
	FetchedAt  time.Time   `json:"fetchedAt"`
	Conditions []Condition `json:"conditions"`
}

// App is the status of one app on the host.
type App struct {
	Source      string `json:"source"`
	Environment string `json:"environment"`
	Name        string `json:"name"`
	Project     string `json:"project"`
	Revision    string `json:"revision"`
	// Judged is the source's revision that Sync and Reason speak of: the app was
	// loaded and planned by it. Revision is the one whose rollout was promoted
	// last, which a commit that changes nothing of the app does not move.
	Judged string `json:"judged,omitempty"`
	// Variables of the manifest in force, by name, as [HashVariable] of their
	// values: who knows a value can tell whether it is wanted, nobody else.
	Variables  map[string]string `json:"variables,omitempty"`
	Sync       Sync              `json:"sync"`
	Health     Health            `json:"health"`
	Reason     Reason            `json:"reason"`
	Message    string            `json:"message,omitempty"`
	Since      time.Time         `json:"since"`
	Conditions []Condition       `json:"conditions,omitempty"`
	Rollout    *Rollout          `json:"rollout,omitempty"`
	Services   []Service         `json:"services"`
	Pinned     bool              `json:"pinned,omitempty"`
	Suspended  bool              `json:"suspended,omitempty"`
	// Warnings are what loading said of the app as a whole without stopping it.
	Warnings []string `json:"warnings,omitempty"`
	// NextRetry is when a failed reconcile of this app is tried again.
	NextRetry time.Time `json:"nextRetry,omitzero"`
}

// Rollout is the progress of a rollout under way.
type Rollout struct {
	ID       string    `json:"id"`
	Revision string    `json:"revision"`
	Phase    string    `json:"phase"`
	Wave     int       `json:"wave"`
	Waves    int       `json:"waves"`
	Since    time.Time `json:"since"`
	Message  string    `json:"message,omitempty"`
}

// Service is the status of one service of an app.
type Service struct {
	Name string `json:"name"`
	// Kind is "endpoint", "worker" or "one-shot".
	Kind string `json:"kind"`
	// Running and Wanted are what a person calls the releases: the image's
	// tag, else the digest's beginning.
	Running        string `json:"running"`
	Wanted         string `json:"wanted"`
	RunningRelease string `json:"runningRelease,omitempty"`
	WantedRelease  string `json:"wantedRelease,omitempty"`
	// Traffic is the share of new requests that the running release gets, in
	// percent; -1 where the service has no endpoint.
	Traffic int    `json:"traffic"`
	Sync    Sync   `json:"sync"`
	Health  Health `json:"health"`
	Reason  Reason `json:"reason"`
	// Back is what going back costs: "instant", a duration such as "3s",
	// "pull" or "never".
	Back      string     `json:"back"`
	Since     time.Time  `json:"since"`
	Message   string     `json:"message,omitempty"`
	Instances []Instance `json:"instances,omitempty"`
	Warnings  []string   `json:"warnings,omitempty"`
}

// Instance is one container of a service.
type Instance struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Release string `json:"release"`
	// Role is "active", "candidate", "canary", "draining", "standby", "job" or "failed".
	Role    string    `json:"role"`
	State   string    `json:"state"`
	Health  string    `json:"health,omitempty"`
	Address string    `json:"address,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Tunnels int       `json:"tunnels,omitempty"`
}
