// Package engine is the vocabulary of the container engine: what remora asks
// of it and what it reports, free of any client library. It holds plain values
// and error kinds only: no I/O, no goroutine. The adapter internal/docker
// speaks it to the reconciler.
package engine

import (
	"errors"
	"net/netip"
	"time"

	"github.com/remorahq/remora/manifests"
)

// Labels that remora puts on everything it creates; by them alone everything
// is found again.
const (
	LabelHost        = "remora.host"
	LabelSource      = "remora.source"
	LabelEnvironment = "remora.environment"
	LabelApp         = "remora.app"
	LabelService     = "remora.service"
	LabelRelease     = "remora.release"
	LabelHostrev     = "remora.hostrev"
	LabelInstance    = "remora.instance"
	// LabelIndex is the replica's number, from 1.
	LabelIndex = "remora.index"
	// LabelDigest is the image's digest that the release was made with.
	LabelDigest = "remora.digest"
	// LabelImage is the reference as written, for people.
	LabelImage = "remora.image"

	LabelComposeProject = "com.docker.compose.project"
	LabelComposeService = "com.docker.compose.service"
	LabelComposeNumber  = "com.docker.compose.container-number"
	LabelComposeVolume  = "com.docker.compose.volume"
	LabelComposeNetwork = "com.docker.compose.network"
	LabelComposeOneOff  = "com.docker.compose.oneoff"
	LabelComposeHash    = "com.docker.compose.config-hash"
)

// Create is the final create payload of a container: the manifest's container
// with everything that remora decides. Policy is judged on it.
type Create struct {
	Name string
	// Spec is the service's container as the commit describes it; the fields
	// below take the place of its Image, Networks, Mounts, VolumesFrom, Links
	// and Name.
	Spec manifests.Container
	// Image is what the engine is asked for: a reference by digest, or an
	// image ID for a host-local one.
	Image  string
	Labels map[string]string
	// Env is added to the manifest's environment (REMORA_…).
	Env      map[string]string
	Mounts   []Mount
	Networks []Endpoint
	// NetworkMode is resolved: "host", "none", "container:<id>", or the first
	// network's name.
	NetworkMode string
	// PID and IPC are resolved from service:x to container:<id>.
	PID, IPC   string
	ExtraHosts []string
	DNS        []string
	// OOMScoreAdj replaces the manifest's where it is not nil.
	OOMScoreAdj *int
	// Restart is the engine's restart policy: "no" or "unless-stopped".
	Restart string
}

// Mount is a mount with its source on this host.
type Mount struct {
	// Type is "bind", "volume", "tmpfs" or "image".
	Type     string
	Source   string
	Target   string
	ReadOnly bool
	// Spec is the manifest's mount with its options.
	Spec manifests.Mount
}

// Endpoint is a container's place on a network.
type Endpoint struct {
	Network    string // the engine's name
	Address    netip.Addr
	Address6   netip.Addr
	Aliases    []string
	LinkLocal  []string
	MAC        string
	DriverOpts map[string]string
	GwPriority int
	// Interface is the interface's name in the container; empty lets the
	// engine choose.
	Interface string
}

// State is what a container does.
type State string

// The states of a container, as the Docker API names them.
const (
	Created    State = "created"
	Running    State = "running"
	Paused     State = "paused"
	Restarting State = "restarting"
	Removing   State = "removing"
	Exited     State = "exited"
	Dead       State = "dead"
)

// Container is one container as the engine reports it, ours or not.
type Container struct {
	ID      string
	Name    string
	Image   string // reference or ID it was created from
	ImageID string
	Labels  map[string]string
	State   State
	// Health is "", "starting", "healthy" or "unhealthy".
	Health    string
	HealthLog string // output of the last check
	ExitCode  int
	OOMKilled bool
	// StateError is the engine's own message, e.g. of a failed start.
	StateError   string
	Restart      string
	RestartCount int
	Created      time.Time
	Started      time.Time
	Finished     time.Time
	// Addresses by network name; configured ones where it does not run.
	Addresses map[string]netip.Addr
	// NetworkMode as created.
	NetworkMode string
	Mounts      []Observed
	Pid         int
}

// Ours says whether remora created it.
func (c *Container) Ours() bool { return c.Labels[LabelApp] != "" && c.Labels[LabelRelease] != "" }

// AppID returns "env/app" of a container of ours.
func (c *Container) AppID() string {
	return c.Labels[LabelEnvironment] + "/" + c.Labels[LabelApp]
}

// Observed is a mount of a container as the engine reports it.
type Observed struct {
	Type     string // bind, volume, tmpfs
	Name     string // of a volume
	Source   string
	Target   string
	Writable bool
}

// Image is an image on the engine.
type Image struct {
	ID string
	// Digest is the registry's manifest digest (of the index for a
	// multi-platform image), "sha256:…"; empty for an image that no registry
	// knows.
	Digest      string
	Volumes     []string // the image's VOLUMEs, sorted
	Exposed     []uint16 // its TCP EXPOSEs, sorted
	Healthcheck *manifests.Healthcheck
	StopSignal  string
	Size        int64
}

// HostLocal says that no registry knows the image.
func (i *Image) HostLocal() bool { return i.Digest == "" }

// Network is a network of the engine.
type Network struct {
	ID       string
	Name     string
	Driver   string
	Scope    string
	Internal bool
	Labels   map[string]string
	Subnets  []manifests.Subnet
	// Bridge is the host's interface of a local bridge.
	Bridge string
	IPv6   bool
	// Addresses in use on it, by container ID.
	Addresses map[string]netip.Addr
}

// Volume is a volume of the engine.
type Volume struct {
	Name    string
	Driver  string
	Labels  map[string]string
	Created time.Time
}

// EventKind is what happened to an object.
type EventKind string

// Event is one event of the engine's stream. A Resync event says that events
// may have been missed (start, or a gap) and everything must be read again.
type Event struct {
	Kind      EventKind
	Container string
	Labels    map[string]string
	ExitCode  int
	Time      time.Time
}

// The event kinds.
const (
	Resync     EventKind = "resync"
	EventStart EventKind = "start"
	EventDie   EventKind = "die"
	// EventStop is a stop that was asked for. It comes after the container's
	// die on old engines and before it on current ones: a crash is known as
	// such only when no stop has come with its die.
	EventStop    EventKind = "stop"
	EventKill    EventKind = "kill"
	EventOOM     EventKind = "oom"
	EventPause   EventKind = "pause"
	EventUnpause EventKind = "unpause"
	EventDestroy EventKind = "destroy"
	EventHealth  EventKind = "health"
	EventOther   EventKind = "other"
	// Disconnected says that the engine does not answer.
	Disconnected EventKind = "disconnected"
)

// Info describes the engine.
type Info struct {
	ID         string
	Version    string
	APIVersion string
	// Start changes with every start of the engine.
	Start   string
	RootDir string
	Cgroup  string
	Name    string
}

// Progress is what a pull reports.
type Progress struct {
	Reference string
	Layers    int
	Done      int
	Bytes     int64
	Total     int64
}

// Output is what a command run in a container, or a container's log, gave.
type Output struct {
	ExitCode int
	Text     []byte
}

// Error kinds; test with errors.Is.
var (
	// ErrNotFound: the object does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the name is taken, or the state does not permit it.
	ErrConflict = errors.New("conflict")
	// ErrUnavailable: the engine does not answer.
	ErrUnavailable = errors.New("engine unavailable")
	// ErrTransient: an engine error known to pass; tried again with back-off.
	ErrTransient = errors.New("transient engine error")
	// ErrImageNotFound: the registry does not have the image.
	ErrImageNotFound = errors.New("image not found")
	// ErrRegistryAuth: the registry refused the credentials.
	ErrRegistryAuth = errors.New("registry refused the credentials")
	// ErrRegistryUnavailable: the registry does not answer, or 429 or 5xx.
	ErrRegistryUnavailable = errors.New("registry unavailable")
	// ErrNoSpace: the engine's disk is full.
	ErrNoSpace = errors.New("no space left")
	// ErrPolicy: the host's policy forbids the payload.
	ErrPolicy = errors.New("denied by the host's policy")
	// ErrPortInUse: a port that the engine should publish is taken.
	ErrPortInUse = errors.New("port in use")
	// ErrUnsupported: this engine does not carry out a field.
	ErrUnsupported = errors.New("not supported by this engine")
	// ErrLocked: another agent runs on the engine.
	ErrLocked = errors.New("another agent runs on this engine")
)

// NetworkSpec is a network to be made.
type NetworkSpec struct {
	Name       string
	Driver     string // default bridge
	DriverOpts map[string]string
	Labels     map[string]string
	Internal   bool
	Attachable bool
	IPv6       bool
	Subnets    []manifests.Subnet
	IPAM       string
	IPAMOpts   map[string]string
}

// VolumeSpec is a volume to be made.
type VolumeSpec struct {
	Name       string
	Driver     string
	DriverOpts map[string]string
	Labels     map[string]string
}

// NamespaceSpec is a network namespace of service addresses, joined to a
// network's bridge.
type NamespaceSpec struct {
	// Name is the network's name, Bridge its interface on the host.
	Name   string
	Bridge string
	// Addresses with the network's prefix length.
	Addresses []netip.Prefix
	Gateway   netip.Addr
}
