package plan

import (
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// Input is everything that a plan depends on.
type Input struct {
	// App is what the revision wants, Ledger what remora did so far.
	App    manifests.App
	Ledger ledger.App
	Host   ledger.Host
	// Images by service name; a service without one cannot be planned.
	Images map[string]Image
	// Containers, Networks and Volumes are all that the engine has, ours and
	// foreign.
	Containers []engine.Container
	Networks   []engine.Network
	Volumes    []engine.Volume
	// Key is the host's own key of hostrev.
	Key []byte
	// ID of the rollout that the plan would begin; it makes the instances'
	// keys unique. Empty for a plan that is only shown.
	ID       string
	Revision string
	Now      time.Time
	// HTTP are the host's entry points for routes by host name.
	HTTP []uint16
	// HTTPS are those with TLS.
	HTTPS []uint16
	// Direct says that this host has no service addresses: the engine's own
	// names serve.
	Direct bool
	// Restart lists services that get fresh containers of the same release;
	// "*" is all.
	Restart []string
}

// Image is what a service's reference was resolved to.
type Image struct {
	// Digest is the registry's; empty for an image that no registry knows,
	// which counts by the engine's ImageID and is HostLocal.
	Digest    string
	ImageID   string
	HostLocal bool
	// Volumes, Exposed and Healthcheck are the image's own; they are not known,
	// and ImageID is empty, while the image is not on the engine.
	Volumes     []string
	Exposed     []uint16
	Healthcheck *manifests.Healthcheck
}

// Resolved is an image that is on the engine.
func Resolved(img engine.Image) Image {
	return Image{
		Digest: img.Digest, ImageID: img.ID, HostLocal: img.HostLocal(),
		Volumes: img.Volumes, Exposed: img.Exposed, Healthcheck: img.Healthcheck,
	}
}

// ImageOf is the image of a release that was here before.
func ImageOf(r *ledger.Release) Image {
	img := Image{Digest: r.Digest, ImageID: r.ImageID, HostLocal: r.HostLocal, Volumes: r.Volumes, Exposed: r.Exposed}
	if r.FromImage {
		img.Healthcheck = r.Healthcheck
	}
	return img
}

// ByDigest is a reference to the same repository by digest.
func ByDigest(reference, digest string) string { return Repository(reference) + "@" + digest }

// identity is what the release is made with.
func (i Image) identity() manifests.ImageIdentity {
	if i.Digest == "" {
		return manifests.ImageIdentity{Digest: i.ImageID, Local: true}
	}
	return manifests.ImageIdentity{Digest: i.Digest, Local: i.HostLocal}
}

// Result is what a revision changes.
type Result struct {
	Kind    ledger.RolloutKind
	Changes map[string]*ledger.Change
	Waves   []ledger.Wave
	// FastLane: every changed service stands by, one generation switches all.
	FastLane bool
	// Networks and Volumes that the app's services use.
	Networks []manifests.Network
	Volumes  []manifests.Volume
	// Steps say it to a person.
	Steps []status.PlanStep
	// Hold is the hard rule that stops it; nothing may be done then.
	Hold *Held
	// Again is when a plan that is held may go on by itself; zero for never.
	Again time.Time
	// NoChange: the revision touches nothing that runs.
	NoChange bool
	// Wanted is the desired release of each service.
	Wanted map[string]string
	// PinEnded says that the ledger's pin no longer holds.
	PinEnded bool
}

// Held is why nothing may be done, and what a person does about it.
type Held struct {
	Reason  status.Reason
	Service string
	Message string
	Remedy  string
}

// String returns the message with its remedy.
func (h *Held) String() string {
	if h.Remedy == "" {
		return h.Message
	}
	return h.Message + "; " + h.Remedy
}

// Rollout returns the plan as a rollout that has not begun.
func (r Result) Rollout(in Input, actor status.Actor, reason string) *ledger.Rollout {
	return &ledger.Rollout{
		ID: in.ID, Kind: r.Kind, Revision: in.Revision, Actor: actor, Reason: reason,
		Phase: ledger.Pending, Waves: r.Waves, Changes: r.Changes, FastLane: r.FastLane,
		Began: in.Now, Since: in.Now, Progress: in.Now, Wanted: r.Wanted,
		Networks: r.Networks, Volumes: r.Volumes,
	}
}
