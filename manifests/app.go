package manifests

import "time"

// App is a folder with a compose file: the unit of deployment, transaction and
// rollback.
type App struct {
	Source      string `json:"source"`
	Environment string `json:"environment"`
	// Name is the folder's name.
	Name string `json:"name"`
	// Project is Compose's `name:`, else COMPOSE_PROJECT_NAME, else the
	// folder's name; prefixed with "<env>-" in every environment but the
	// host's first. Containers, networks and volumes are named after it.
	Project  string    `json:"project"`
	Services []Service `json:"services"` // sorted by name
	Networks []Network `json:"networks"` // sorted by key
	Volumes  []Volume  `json:"volumes"`  // sorted by key
	// AfterApps are folder names of apps that must be healthy first.
	AfterApps []string `json:"afterApps,omitempty"`
	// Warnings are diagnostics that do not stop the app.
	Warnings []Diagnostic `json:"warnings,omitempty"`
	// Tree identifies everything the app was loaded from: a hash over its
	// files, what they include and extend, and the host inputs.
	Tree string `json:"tree"`
	// Variables are those that the app was loaded with, by name, as
	// [status.HashVariable] of their values.
	Variables map[string]string `json:"variables,omitempty"`
	// Live says that the source is a local folder: binds are the folder
	// itself.
	Live bool `json:"live,omitempty"`
}

// ID returns "env/app", the key of ledger, routes and status.
func (a *App) ID() string { return a.Environment + "/" + a.Name }

// Service returns the service called name, or nil.
func (a *App) Service(name string) *Service {
	for i := range a.Services {
		if a.Services[i].Name == name {
			return &a.Services[i]
		}
	}
	return nil
}

// Kind says what part a service plays in a rollout.
type Kind string

// The kinds of service.
const (
	// KindEndpoint has an inbound endpoint in the manifest: ports, expose or a
	// route.
	KindEndpoint Kind = "endpoint"
	// KindWorker has none; it starts only at the switch.
	KindWorker Kind = "worker"
	// KindOneShot runs to its end, once per release.
	KindOneShot Kind = "one-shot"
)

// Order is the order in which releases replace each other.
type Order string

// The orders.
const (
	StartFirst Order = "start-first"
	StopFirst  Order = "stop-first"
)

// Service is one service of an app, as the commit describes it.
type Service struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// Unit is the service whose namespaces this one joins (network_mode, pid
	// or ipc `service:x`), else its own name. Services of one unit have one
	// release, one wave, and are started, switched and retired together.
	Unit      string    `json:"unit"`
	Container Container `json:"container"`
	// Replicas is the number of containers per host.
	Replicas int `json:"replicas"`
	// Order is resolved from the file or the defaults of the design, and
	// OrderWhy is the sentence that `plan` prints for it.
	Order    Order  `json:"order"`
	OrderWhy string `json:"orderWhy"`
	// OrderSet says that the file itself names the order, so that what the
	// image or the host adds does not change it.
	OrderSet bool `json:"orderSet,omitempty"`
	// WritesData says that a writable volume or host folder outlives the
	// container: the service is not rolled back once it was healthy.
	WritesData bool `json:"writesData,omitempty"`

	Ports  []Port   `json:"ports,omitempty"`
	Expose []uint16 `json:"expose,omitempty"` // TCP ports, sorted, incl. targets of ports and routes
	Routes []Route  `json:"routes,omitempty"`
	// Assets are path patterns ("/assets/*") on which a 404 is tried once on the
	// other warm release.
	Assets    []string     `json:"assets,omitempty"`
	Canary    *Canary      `json:"canary,omitempty"`
	Probe     *Probe       `json:"probe,omitempty"`
	DependsOn []Dependency `json:"dependsOn,omitempty"`
	Update    Update       `json:"update"`
	Standby   Standby      `json:"standby"`
	// Names is what other containers reach this service by on the app's
	// networks: its name, container_name and link aliases.
	Names []string `json:"names,omitempty"`
	// NamesDirect leaves naming to the engine (x-remora.names: direct).
	NamesDirect bool `json:"namesDirect,omitempty"`
	// Idempotent lets a one-shot be repeated when its outcome is unknown.
	Idempotent bool `json:"idempotent,omitempty"`
	// AnonymousFresh opts out of carrying anonymous volumes over.
	AnonymousFresh bool `json:"anonymousFresh,omitempty"`
	// PullPolicy is "missing" (default), "always", "never", "daily", "weekly"
	// or "every_<duration>".
	PullPolicy string `json:"pullPolicy,omitempty"`
	// Files are the repository files that the service mounts or reads; part of
	// the release.
	Files []File `json:"files,omitempty"`
	// HostInputs are the inputs that lie on the host (host env files): part of
	// hostrev, not of the release. Values are content digests.
	HostInputs map[string]string `json:"hostInputs,omitempty"`
	// HostEnv is the part of the containers' environment that comes from env
	// files of the host; its keys and those of Container.Environment are
	// disjoint. Outside the release.
	HostEnv map[string]string `json:"hostEnv,omitempty"`
	// Positions maps a field's path inside the service, such as "privileged"
	// or "volumes[0]", to where it is written.
	Positions map[string]Position `json:"positions,omitempty"`
}

// Port is a published port of the file.
type Port struct {
	// HostIP is empty for IPv4 and IPv6.
	HostIP string `json:"hostIP,omitempty"`
	// Published is 0 where the file leaves the choice: one free port, stable
	// over releases.
	Published uint16 `json:"published,omitempty"`
	Target    uint16 `json:"target"`
	// Protocol is "tcp" or "udp".
	Protocol string `json:"protocol"`
	// App is app_protocol: "http", "http2" (prior knowledge to the container),
	// "https" (TLS to the container), "tcp" or empty (detect).
	App string `json:"app,omitempty"`
	// Docker says that the engine publishes it, not the ambassador (UDP and
	// `mode: host`).
	Docker bool `json:"docker,omitempty"`
}

// Route is an entry of x-remora.routes.
type Route struct {
	Host string `json:"host,omitempty"`
	Path string `json:"path,omitempty"`
	// Published is a TCP port of the host to listen on; with Host it is empty
	// and the host's HTTP entry points are used.
	Published uint16   `json:"published,omitempty"`
	Listen    []uint16 `json:"listen,omitempty"`
	Target    uint16   `json:"target"`
	App       string   `json:"app,omitempty"`
	// ProxyProtocol is the version of the PROXY header that the container gets
	// first; 0 is none.
	ProxyProtocol int `json:"proxyProtocol,omitempty"`
	Access
	// TLS is nil for a route that is plain only.
	TLS *RouteTLS `json:"tls,omitempty"`
}

// Probe is the ambassador's own check of a service.
type Probe struct {
	// HTTP is the path of a GET; empty is a TCP connect.
	HTTP     string        `json:"http,omitempty"`
	Port     uint16        `json:"port,omitempty"` // 0: the first endpoint port
	Interval time.Duration `json:"interval"`
	Timeout  time.Duration `json:"timeout"`
	Rise     int           `json:"rise"`
	Fall     int           `json:"fall"`
}

// Condition is what a dependency must reach.
type Condition string

// The conditions of depends_on.
const (
	Started   Condition = "service_started"
	Healthy   Condition = "service_healthy"
	Completed Condition = "service_completed_successfully"
)

// Dependency is one entry of depends_on.
type Dependency struct {
	Service   string    `json:"service"`
	Condition Condition `json:"condition"`
	Required  bool      `json:"required"`
	// Restart recreates this service when the dependency is replaced.
	Restart bool `json:"restart,omitempty"`
}

// Update is how releases of a service replace each other.
type Update struct {
	// FailureAction is "rollback" (default), "pause" or "continue".
	FailureAction string `json:"failureAction"`
	// RollbackWritten says that the file itself says `failure_action:
	// rollback`: the permission, given in advance, to put a service with data
	// back on its former release.
	RollbackWritten bool `json:"rollbackWritten,omitempty"`
	// Monitor is how long a switched release is watched; default 30 s.
	Monitor time.Duration `json:"monitor"`
	// Parallelism is how many containers are replaced per generation; 0 is all.
	Parallelism int           `json:"parallelism,omitempty"`
	Delay       time.Duration `json:"delay,omitempty"`
	// MaxFailureRatio of the replicas may fail, 0 to 1.
	MaxFailureRatio float64 `json:"maxFailureRatio,omitempty"`
	// MinHealthy is how long a container without any check must run without
	// exit to count as ready; default 10 s.
	MinHealthy time.Duration `json:"minHealthy"`
	// Progress is the progress deadline; default 10 min.
	Progress time.Duration `json:"progress"`
	// Drain bounds requests in flight on the old release; default 30 s.
	Drain time.Duration `json:"drain"`
	// DrainTunnels bounds its tunnels; default 10 min.
	DrainTunnels time.Duration `json:"drainTunnels"`
	// HoldRequests is how long a request waits while a stop-first service is
	// replaced; 0 derives drain + grace + warming deadline.
	HoldRequests time.Duration `json:"holdRequests,omitempty"`
}

// StandbyState is what the containers of a standby do.
type StandbyState string

// The standby states.
const (
	StandbyPaused  StandbyState = "paused"
	StandbyStopped StandbyState = "stopped"
	StandbyRunning StandbyState = "running"
)

// Standby says how long the replaced release is kept, and how.
type Standby struct {
	// For is 0 for none; default 10 min.
	For   time.Duration `json:"for"`
	State StandbyState  `json:"state"`
}

// File is a repository file (or folder) that belongs to a release.
type File struct {
	// Path is relative to the repository, slash-separated.
	Path string `json:"path"`
	// Mode is git's: 100644, 100755, 120000 or 040000.
	Mode string `json:"mode"`
	// ID is git's object id; of an encrypted file the ciphertext's.
	ID string `json:"id"`
}

// Position is a place in a file of the repository.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column,omitempty"`
}

// Network is a top-level network that a service of the app uses.
type Network struct {
	// Key is the name in the file, Name the engine's.
	Key        string            `json:"key"`
	Name       string            `json:"name"`
	External   bool              `json:"external,omitempty"`
	Driver     string            `json:"driver,omitempty"`
	DriverOpts map[string]string `json:"driverOpts,omitempty"`
	Internal   bool              `json:"internal,omitempty"`
	Attachable bool              `json:"attachable,omitempty"`
	EnableIPv6 bool              `json:"enableIPv6,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	// Subnets are those of the file's ipam; empty lets remora choose.
	Subnets  []Subnet          `json:"subnets,omitempty"`
	IPAM     string            `json:"ipamDriver,omitempty"`
	IPAMOpts map[string]string `json:"ipamOpts,omitempty"`
}

// Subnet is one ipam configuration of a network.
type Subnet struct {
	Subnet    string            `json:"subnet"`
	Range     string            `json:"range,omitempty"`
	Gateway   string            `json:"gateway,omitempty"`
	Auxiliary map[string]string `json:"auxiliary,omitempty"`
}

// Volume is a top-level volume that a service of the app uses.
type Volume struct {
	Key        string            `json:"key"`
	Name       string            `json:"name"`
	External   bool              `json:"external,omitempty"`
	Driver     string            `json:"driver,omitempty"`
	DriverOpts map[string]string `json:"driverOpts,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
}
