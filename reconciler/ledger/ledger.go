// Package ledger is what remora remembers of what it did on this host: which
// release of each service is active, standing by or quarantined, which
// containers, addresses and volumes belong to them, which jobs ran, and the
// rollout under way. It holds plain values and pure functions over them; the
// reconciler writes them to disk before it acts. Values are owned by the one
// goroutine that works on the app; others get copies.
package ledger

import (
	"net/netip"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// Version is the version of the form on disk.
const Version = 1

// Host is the part of the ledger that apps share.
type Host struct {
	Version int `json:"version"`
	// Digests pins each reference to the registry's digest it was first
	// resolved to; only a new reference or its pull policy resolves it again.
	Digests map[string]Digest `json:"digests,omitempty"`
	// Subnets by network name.
	Subnets map[string]netip.Prefix `json:"subnets,omitempty"`
	// Addresses by network name and address.
	Addresses map[string]map[netip.Addr]Address `json:"addresses,omitempty"`
	// Ports that remora chose where the file left the choice, by
	// "env/app/service/target".
	Ports map[string]uint16 `json:"ports,omitempty"`
	// Claims says which app has a project name, port or route: "project/shop",
	// "port/:80", "route/:80/shop.example.com/". The first claimant keeps it.
	Claims map[string]string `json:"claims,omitempty"`
	// Images are those that remora pulled, by the reference they were pulled by:
	// the only ones that it ever removes.
	Images map[string]time.Time `json:"images,omitempty"`
	// ServerFirst remembers ports whose server speaks first, by service name.
	ServerFirst map[string][]uint16 `json:"serverFirst,omitempty"`
}

// Digest is a resolved reference.
type Digest struct {
	Digest     string    `json:"digest"`
	ResolvedAt time.Time `json:"resolvedAt"`
}

// Address is an address on a network that remora gave.
type Address struct {
	// Owner is a container name ("service/NAME" for a service address).
	Owner string `json:"owner"`
	// Freed is when the owner went; it is not given again for 24 h.
	Freed time.Time `json:"freed,omitzero"`
}

// App is what the ledger knows of one app.
type App struct {
	Version     int    `json:"version"`
	Source      string `json:"source"`
	Environment string `json:"environment"`
	Name        string `json:"name"`
	Project     string `json:"project"`
	// Revision is the one last promoted; Seen the one last handled, whatever
	// came of it.
	Revision string              `json:"revision,omitempty"`
	Seen     string              `json:"seen,omitempty"`
	Services map[string]*Service `json:"services,omitempty"`
	// Volumes and Networks that the app had, by the engine's name.
	Volumes  []string `json:"volumes,omitempty"`
	Networks []string `json:"networks,omitempty"`
	Rollout  *Rollout `json:"rollout,omitempty"`
	// Last is how the last rollout ended.
	Last *Outcome `json:"last,omitempty"`
	// Retained are the manifests of the last promoted revision's networks and
	// volumes, so that its containers can be created again.
	NetworkSpecs []manifests.Network `json:"networkSpecs,omitempty"`
	VolumeSpecs  []manifests.Volume  `json:"volumeSpecs,omitempty"`

	Pin       *Override `json:"pin,omitempty"`
	Suspended *Override `json:"suspended,omitempty"`
	// CreateVolumes is a person's word that missing volumes may be created.
	CreateVolumes bool      `json:"createVolumes,omitempty"`
	History       []Outcome `json:"history,omitempty"`
	// BootID and EngineStart at the last step; a rollout that finds others was
	// interrupted.
	BootID      string `json:"bootID,omitempty"`
	EngineStart string `json:"engineStart,omitempty"`
}

// ID returns "env/app".
func (a *App) ID() string { return a.Environment + "/" + a.Name }

// Override is a person's decision that holds until it ends.
type Override struct {
	By     status.Actor `json:"by"`
	At     time.Time    `json:"at"`
	Until  time.Time    `json:"until,omitzero"`
	Reason string       `json:"reason,omitempty"`
	// Wanted, of a pin: the desired release of each service when the pin was
	// set; the pin ends when one of them changes.
	Wanted map[string]string `json:"wanted,omitempty"`
	// Enforced, of a stop: what still runs is stopped (`remora stop`). Without
	// it only what a person stopped stays so (`docker stop`), for as long as
	// the host respects that.
	Enforced bool `json:"enforced,omitempty"`
}

// Maintenance is a person's word that a service's visitors get a page.
type Maintenance struct {
	Override
	// Notice is what visitors read.
	Notice string `json:"notice,omitempty"`
}

// Outcome is how a rollout ended.
type Outcome struct {
	ID       string        `json:"id"`
	Revision string        `json:"revision"`
	Kind     RolloutKind   `json:"kind"`
	Reason   status.Reason `json:"reason"`
	Message  string        `json:"message"`
	Actor    status.Actor  `json:"actor"`
	// Subject is the first line of the commit that brought the rollout.
	Subject string    `json:"subject,omitempty"`
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`
	// Releases by service after it.
	Releases map[string]string `json:"releases,omitempty"`
	// Wanted is what the rollout led to, as [Rollout.Wanted].
	Wanted map[string]string `json:"wanted,omitempty"`
	// Retry is when the same revision is tried again; zero for not by itself.
	Retry time.Time `json:"retry,omitzero"`
	// Attempts counts the tries of this revision so far.
	Attempts int `json:"attempts,omitempty"`
	// Stalled says that nothing goes on until a person acts; Message says how.
	Stalled bool `json:"stalled,omitempty"`
}

// Service is what the ledger knows of one service.
type Service struct {
	Name string `json:"name"`
	// Active has the traffic; nil before the first promotion.
	Active *Deployed `json:"active,omitempty"`
	// Standby is the release promoted before, kept for an instant return; at
	// most one.
	Standby *Deployed `json:"standby,omitempty"`
	// Leaving are releases on their way out: draining, then standby or
	// removed. Failed candidates are among them.
	Leaving     []*Deployed           `json:"leaving,omitempty"`
	Quarantined map[string]Quarantine `json:"quarantined,omitempty"`
	// Promoted are the last five promoted releases, newest first.
	Promoted []Release `json:"promoted,omitempty"`
	// Jobs are the runs of a one-shot, by release.
	Jobs map[string]Job `json:"jobs,omitempty"`
	// Anonymous are the anonymous volumes of each index, by target.
	Anonymous map[int]map[string]string `json:"anonymous,omitempty"`
	Stopped   *Override                 `json:"stopped,omitempty"`
	// Maintenance answers visitors with a page while everything runs on.
	Maintenance *Maintenance `json:"maintenance,omitempty"`
	// Crashes counts exits in a row; NextStart is when the next start is due.
	Crashes   int       `json:"crashes,omitempty"`
	NextStart time.Time `json:"nextStart,omitzero"`
}

// Release is an immutable version of a service, with everything needed to
// create its containers again.
type Release struct {
	// ID is the release digest, Hostrev the digest of host inputs.
	ID      string            `json:"id"`
	Hostrev string            `json:"hostrev,omitempty"`
	Service manifests.Service `json:"service"`
	// Digest of the image; empty and HostLocal for one that no registry knows.
	Digest    string `json:"digest,omitempty"`
	ImageID   string `json:"imageID,omitempty"`
	HostLocal bool   `json:"hostLocal,omitempty"`
	// Revision that first brought it here, and Tag, what people call it.
	Revision string    `json:"revision"`
	Tag      string    `json:"tag"`
	Promoted time.Time `json:"promoted,omitzero"`
	// Volumes are the image's VOLUMEs.
	Volumes []string `json:"volumes,omitempty"`
	// Exposed are the image's TCP EXPOSEs; they give a service address and
	// gate nothing.
	Exposed []uint16 `json:"exposed,omitempty"`
	// Healthcheck is the one in force: the file's, else the image's (then
	// FromImage is true).
	Healthcheck *manifests.Healthcheck `json:"healthcheck,omitempty"`
	FromImage   bool                   `json:"fromImage,omitempty"`
}

// Deployed is a release with its containers.
type Deployed struct {
	Release
	Instances []Instance `json:"instances"`
	// Since is when it came into its present place.
	Since time.Time `json:"since"`
	// Until is when a standby or a kept failure goes.
	Until time.Time `json:"until,omitzero"`
	// Place is where a leaving release goes.
	Place Place `json:"place,omitempty"`
	// Set tells two sets of containers of one release apart (a restart, other
	// host inputs); see [Deployed.Table].
	Set string `json:"set,omitempty"`
	// Frozen says that its containers are to be paused.
	Frozen bool `json:"frozen,omitempty"`
	// Drained says that the ambassador has nothing left on it, or that it
	// never had traffic: its containers may be signalled.
	Drained bool `json:"drained,omitempty"`
}

// Place is what becomes of a leaving release.
type Place string

// The places.
const (
	// ToStandby drains, then stands by.
	ToStandby Place = "standby"
	// ToRemoval drains, then is stopped and removed.
	ToRemoval Place = "removal"
	// Evidence is a failed container kept stopped for 24 h.
	Evidence Place = "evidence"
)

// Instance is one container of a release.
type Instance struct {
	// Index is the replica's number, from 1. Name is what it was created as;
	// it is the key that actions and observations use.
	Index int    `json:"index"`
	Name  string `json:"name"`
	// Container is the engine's ID, empty before it is created.
	Container string `json:"container,omitempty"`
	// Key is unique per container: REMORA_INSTANCE.
	Key       string                `json:"key"`
	Addresses map[string]netip.Addr `json:"addresses,omitempty"` // by network name
	// Anonymous volumes by target.
	Anonymous map[string]string `json:"anonymous,omitempty"`
	// Restart is the policy that was last read back: "no" or "unless-stopped".
	Restart string `json:"restart,omitempty"`
	// Hooked says that post_start ran in it (of this start time).
	Hooked time.Time `json:"hooked,omitzero"`
	// Epoch is the start time that the container had when it was last asked to
	// start or to stop: a start after it is the one that was asked for, and an
	// exit after such a start is a crash.
	Epoch time.Time `json:"epoch,omitzero"`
	// Restarts is the engine's restart count when the container came into
	// service; a higher one is a crash.
	Restarts int `json:"restarts,omitempty"`
	// Captured says that its evidence was asked for.
	Captured bool `json:"captured,omitempty"`
}

// Quarantine keeps a release from being rolled out.
type Quarantine struct {
	Reason  status.Reason `json:"reason"`
	Message string        `json:"message"`
	At      time.Time     `json:"at"`
	By      status.Actor  `json:"by"`
}

// JobState is what became of a one-shot.
type JobState string

// The job states.
const (
	JobRunning JobState = "running"
	JobDone    JobState = "done"
	JobFailed  JobState = "failed"
	// JobUnknown: its container vanished while it ran.
	JobUnknown JobState = "unknown"
)

// Job is the run of a one-shot's release.
type Job struct {
	State     JobState  `json:"state"`
	Instance  Instance  `json:"instance"`
	ExitCode  int       `json:"exitCode"`
	Began     time.Time `json:"began"`
	Ended     time.Time `json:"ended,omitzero"`
	Revision  string    `json:"revision"`
	Candidate string    `json:"candidate,omitempty"`
	// Launched says that its container was asked to start: if it vanishes, the
	// outcome is unknown.
	Launched bool `json:"launched,omitempty"`
}
