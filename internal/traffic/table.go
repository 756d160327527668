// Package traffic is the vocabulary that the agent and the ambassador share:
// the table that the one writes and the other serves, and the report that
// comes back. It holds plain values and which route a request takes ([Router]):
// no I/O, no goroutine, no clock. Values are immutable by convention once handed over.
package traffic

import (
	"net/netip"
	"time"
)

// FormatVersion is the version of the table's JSON form.
const FormatVersion = 1

// Table is everything the ambassador serves. It is replaced as a whole; its
// generation only grows.
type Table struct {
	Version int `json:"version"`
	// Generation fences writers: the ambassador refuses one that is not
	// higher than its own.
	Generation uint64 `json:"generation"`
	// BootID is the kernel's boot ID at writing (/proc/sys/kernel/random/boot_id).
	BootID string `json:"bootID"`
	// EngineStart identifies the run of the container engine at writing.
	EngineStart string `json:"engineStart"`
	// Namespaces are the network namespaces of service addresses; a listener
	// refers to one by its name.
	Namespaces []Namespace `json:"namespaces,omitempty"`
	Listeners  []Listener  `json:"listeners"`
	Services   []Service   `json:"services"`
	// TrustedProxies are peers whose X-Forwarded-* and Forwarded fields are
	// kept and added to; those of all others are replaced.
	TrustedProxies []netip.Prefix `json:"trustedProxies,omitempty"`
}

// Namespace is a network namespace that the agent made for one container
// network and that holds the service addresses on it.
type Namespace struct {
	// Name is the container network's name.
	Name string `json:"name"`
	// Path is the namespace's file, such as /run/remora/netns/shop_default.
	Path string `json:"path"`
}

// Protocol says how a listener treats a connection.
type Protocol string

// The protocols.
const (
	// Detect decides by the connection's first bytes: a whole HTTP/1 request
	// line is served request by request, anything else is a tunnel.
	Detect Protocol = "detect"
	// HTTP serves HTTP/1.1 only; what the parser refuses gets a 400.
	HTTP Protocol = "http"
	// TCP tunnels every connection.
	TCP Protocol = "tcp"
)

// ListenerKey identifies a listener over generations and restarts.
type ListenerKey struct {
	// Namespace is a [Namespace.Name]; empty is the ambassador's own.
	Namespace string `json:"namespace,omitempty"`
	// Address is what is bound; the zero Addr binds IPv4 and IPv6.
	Address netip.Addr `json:"address,omitzero"`
	Port    uint16     `json:"port"`
}

// Listener is one listening TCP socket and where its connections go.
type Listener struct {
	ListenerKey
	Protocol Protocol `json:"protocol"`
	// Routes are tried by host and longest path prefix; see [Route].
	Routes []Route `json:"routes"`
	// Owner is the "env/app" that claimed it, for messages.
	Owner string `json:"owner"`
}

// Route leads requests to a service's port; [Router] says which one a request
// takes.
type Route struct {
	// Host is a host name, "*.example.com", or empty for any.
	Host string `json:"host,omitempty"`
	// Path is a path prefix; empty is "/".
	Path string `json:"path,omitempty"`
	// Service is a [Service.Name] and Port the container's port.
	Service string `json:"service"`
	Port    uint16 `json:"port"`
}

// Service is a backend: the releases of one service and what its requests may
// do.
type Service struct {
	// Name is "env/app/service"; App is "env/app".
	Name string `json:"name"`
	App  string `json:"app"`
	// Active is the release that gets new requests; empty refuses them with
	// 503 (no release yet).
	Active   string    `json:"active,omitempty"`
	Releases []Release `json:"releases"`
	// Hold makes new requests and connections wait instead of being sent,
	// while a stop-first service is replaced.
	Hold bool `json:"hold,omitempty"`
	// HoldFor is how long one request waits from its arrival (with Hold,
	// after a crash of the active release, or behind the boot fence) before it
	// gets 503 with Retry-After.
	HoldFor time.Duration `json:"holdFor"`
	// MaxHeld is how many wait at once; beyond it 503 at once. Default 10,000.
	MaxHeld int `json:"maxHeld,omitempty"`
	// ServerFirst lists ports whose server speaks first, as learnt.
	ServerFirst []uint16 `json:"serverFirst,omitempty"`
	// Maintenance answers 503 to all.
	Maintenance bool `json:"maintenance,omitempty"`
}

// ReleaseState is what the ambassador does with a release.
type ReleaseState string

// The release states.
const (
	// Warming is checked but gets no requests.
	Warming ReleaseState = "warming"
	// Active gets new requests.
	Active ReleaseState = "active"
	// Draining gets no new requests; those in flight and tunnels go on.
	Draining ReleaseState = "draining"
	// Standby is kept for an instant return; it is not checked while paused.
	Standby ReleaseState = "standby"
)

// Release is one release's endpoints and how to check them.
type Release struct {
	Name      string       `json:"name"`
	State     ReleaseState `json:"state"`
	Endpoints []Endpoint   `json:"endpoints"`
	// Probes gate warming and watch afterwards, one per port that matters.
	Probes []Probe `json:"probes,omitempty"`
	// DrainDeadline and TunnelDeadline end what still runs on a draining
	// release, measured from when it became draining: unanswered idempotent
	// requests are replayed on the active release, others get 504.
	DrainDeadline  time.Duration `json:"drainDeadline,omitempty"`
	TunnelDeadline time.Duration `json:"tunnelDeadline,omitempty"`
	// Paused says that the containers are frozen: nothing is sent or checked.
	Paused bool `json:"paused,omitempty"`
}

// Endpoint is one container. Identity is the container's ID and start time;
// the address is an attribute.
type Endpoint struct {
	Container string     `json:"container"`
	Started   time.Time  `json:"started"`
	Instance  string     `json:"instance"`
	Address   netip.Addr `json:"address"`
	// Fixed says that the address is remora's own and never somebody else's,
	// so that it stays valid over engine restarts and reboots.
	Fixed bool `json:"fixed"`
	// Down says that the agent knows the container not to run.
	Down bool `json:"down,omitempty"`
}

// Probe is an active check, made by the ambassador on the path that requests
// take.
type Probe struct {
	Port uint16 `json:"port"`
	// HTTP is the path of a GET; empty is a TCP connect, or, with Guess, GET /
	// with any status below 500 when the port answers HTTP.
	HTTP  string `json:"http,omitempty"`
	Guess bool   `json:"guess,omitempty"`
	// Statuses that count as good: from HTTP checks of the manifest 200–399;
	// a guessed one 100–499.
	Host     string        `json:"host,omitempty"`
	Interval time.Duration `json:"interval"`
	Timeout  time.Duration `json:"timeout"`
	// Rise good checks in a row make an endpoint good, Fall bad ones make it
	// bad. While warming the pace begins at 10 ms and doubles up to Interval.
	Rise int `json:"rise"`
	Fall int `json:"fall"`
	// Once stops checking after the first success (a TCP connect where a
	// HEALTHCHECK watches on).
	Once bool `json:"once,omitempty"`
}
