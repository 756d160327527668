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
	Limits         Limits         `json:"limits,omitzero"`
	AccessLog      AccessLog      `json:"accessLog,omitzero"`
}

// Limits bound what clients may cost the host, whatever the route. Zero is the
// default of each.
type Limits struct {
	// Header is how long a request's head may take from its first byte;
	// default 10 s.
	Header time.Duration `json:"header,omitempty"`
	// BodyRate is how many bytes a second a body has to come on average, after
	// the first 10 s of waiting for it; default 240.
	BodyRate int `json:"bodyRate,omitempty"`
	// Idle is about how long a client connection may be idle; default 120 s.
	Idle time.Duration `json:"idle,omitempty"`
	// PerClient bounds the open connections of one client address (IPv6: of
	// one /64), loopback and trusted proxies excepted; default none.
	PerClient int `json:"perClient,omitempty"`
}

// AccessLog says how requests and tunnels are written down when they end.
type AccessLog struct {
	// Format is "json", "combined" (NCSA), or empty for none.
	Format string `json:"format,omitempty"`
	// MaxSize in bytes and Keep bound the files: access.log in the state
	// folder and its predecessors; default 64 MiB and 4.
	MaxSize int64 `json:"maxSize,omitempty"`
	Keep    int   `json:"keep,omitempty"`
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
	// TLS takes TLS clients only and leads them by server name, see
	// [Listener.TLS].
	TLS Protocol = "tls"
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
	// TLS says what becomes of a client by the server name that it asks for,
	// with protocol TLS: an exact name, then the longest wildcard, then the
	// empty name wins. A name without an entry is refused in the handshake.
	TLS []ServerName `json:"tls,omitempty"`
	// ProxyFrom are peers that must send a PROXY protocol header (v1 or v2)
	// before anything else; nobody else's is believed.
	ProxyFrom []netip.Prefix `json:"proxyFrom,omitempty"`
	// KeepClient keeps the client's address on tunnels: the connection to the
	// container comes from it, where the host has a way back for it.
	KeepClient bool `json:"keepClient,omitempty"`
}

// ServerName is what a TLS listener does for one server name.
type ServerName struct {
	// Name is a host name, "*.example.com", or empty for any.
	Name string `json:"name,omitempty"`
	// Certificate is the [Certificate.Name] to end TLS with; empty passes the
	// connection through, undecrypted, to Service and Port.
	Certificate string `json:"certificate,omitempty"`
	// ClientCA is the [Certificate.Name] of authorities that a client's
	// certificate must come from; empty asks for none.
	ClientCA string `json:"clientCA,omitempty"`
	Service  string `json:"service,omitempty"`
	Port     uint16 `json:"port,omitempty"`
	// ProxyProtocol is the version (1 or 2) of the header that the container
	// gets first when the connection is passed through; 0 is none.
	ProxyProtocol int `json:"proxyProtocol,omitempty"`
	// ALPN limits the entry to clients that offer this protocol; such entries
	// win over others of the name (acme-tls/1, RFC 8737).
	ALPN string `json:"alpn,omitempty"`
}

// Certificate is a chain and its key, or authorities of clients. Certificates
// do not travel in the table, which people may see, but beside it.
type Certificate struct {
	Name string `json:"name"`
	// Chain and Key are PEM; Key is empty for authorities.
	Chain []byte `json:"chain"`
	Key   []byte `json:"key,omitempty"`
}

// Upstream is how a route's container is spoken to.
type Upstream string

// The ways of speaking to a container.
const (
	// UpstreamHTTP1 is HTTP/1.1, or, for clients of HTTP/2 on a detected port,
	// HTTP/2 with prior knowledge where the container is seen to speak it.
	UpstreamHTTP1 Upstream = ""
	// UpstreamH2C is HTTP/2 with prior knowledge.
	UpstreamH2C Upstream = "h2c"
	// UpstreamTLS is TLS with h2 or http/1.1 by ALPN. The certificate is not
	// verified: the container is known by its identity.
	UpstreamTLS Upstream = "tls"
)

// Route leads requests to a service's port; [Router] says which one a request
// takes.
type Route struct {
	// Host is a host name, "*.example.com", or empty for any.
	Host string `json:"host,omitempty"`
	// Path is a path prefix; empty is "/".
	Path string `json:"path,omitempty"`
	// Service is a [Service.Name] and Port the container's port.
	Service  string   `json:"service"`
	Port     uint16   `json:"port"`
	Upstream Upstream `json:"upstream,omitempty"`
	// ProxyProtocol is the version (1 or 2) of the PROXY header that a tunnel
	// sends to the container first; 0 is none.
	ProxyProtocol int `json:"proxyProtocol,omitempty"`
	// RedirectTLS answers 308 to the same URL with https at this port; 0 does
	// not redirect.
	RedirectTLS uint16 `json:"redirectTLS,omitempty"`
	// TLSOnly redirects those too of whom a trusted proxy says that they came to it
	// over TLS: clients have to show a certificate, which they showed to nobody.
	TLSOnly bool `json:"tlsOnly,omitempty"`
	// HSTS is the max-age of Strict-Transport-Security on answers over TLS; 0
	// sends none.
	HSTS time.Duration `json:"hsts,omitempty"`
	// Allow are the client addresses that may use the route; empty is all.
	Allow []netip.Prefix `json:"allow,omitempty"`
	// Rate bounds the requests (of tunnels, the connections) of one client
	// address, and MaxConns the requests and tunnels of all at once; 0 is none.
	Rate     Rate `json:"rate,omitzero"`
	MaxConns int  `json:"maxConns,omitempty"`
	// Assets are path patterns ("/assets/*") on which a 404 is tried once on
	// the other warm release.
	Assets []string `json:"assets,omitempty"`
	// Replay lets non-idempotent requests of the route be sent again, and
	// Retry5xx idempotent ones that got 502, 503 or 504 be tried once on
	// another instance.
	Replay   bool `json:"replay,omitempty"`
	Retry5xx bool `json:"retry5xx,omitempty"`
	// ServerTiming adds a Server-Timing field that says what was decided.
	ServerTiming bool `json:"serverTiming,omitempty"`
}

// Rate is a token bucket: PerSecond tokens come back a second, up to Burst.
type Rate struct {
	PerSecond float64 `json:"perSecond"`
	Burst     int     `json:"burst"`
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
	// Maintenance answers 503 to all, with Notice for people where it is set.
	Maintenance bool   `json:"maintenance,omitempty"`
	Notice      string `json:"notice,omitempty"`
	// MaintenanceUntil is when it is meant to end, for Retry-After; the agent
	// ends it.
	MaintenanceUntil time.Time `json:"maintenanceUntil,omitzero"`
	// Split gives a share of new requests to another release; nil gives all to
	// Active.
	Split *Split `json:"split,omitempty"`
	// Mirror sends copies of requests to another release and drops its answers.
	Mirror *Mirror `json:"mirror,omitempty"`
}

// Split is a canary's share. What the share is, the agent decides; the
// ambassador keeps to it.
type Split struct {
	// Release is a [Release.Name] in the state Canary, and Share how many of
	// ten thousand new clients or requests it gets.
	Release string `json:"release"`
	Share   int    `json:"share"`
	// Sticky keeps a client with the release that it got: "cookie" (set by the
	// ambassador), "header:NAME" or "address", both by hash; empty decides
	// request by request. A larger share only moves clients to Release, never
	// back.
	Sticky string `json:"sticky,omitempty"`
}

// Mirror is shadow traffic: Share of ten thousand requests without a body, or
// with one that fits the replay buffer, are copied to Release.
type Mirror struct {
	Release string `json:"release"`
	Share   int    `json:"share"`
}

// ReleaseState is what the ambassador does with a release.
type ReleaseState string

// The release states.
const (
	// Warming is checked but gets no requests.
	Warming ReleaseState = "warming"
	// Active gets new requests.
	Active ReleaseState = "active"
	// Canary gets the share of new requests that [Split] says, and mirrored
	// ones.
	Canary ReleaseState = "canary"
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
	// Network is the subnet of Address where connections may come from the
	// clients' own addresses ([Listener.KeepClient]): that of a local bridge
	// with a way out. The zero Prefix says that they may not.
	Network netip.Prefix `json:"network,omitzero"`
	// Address6 and Network6 are the same in IPv6, for clients of IPv6 whose
	// address is kept.
	Address6 netip.Addr   `json:"address6,omitzero"`
	Network6 netip.Prefix `json:"network6,omitzero"`
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
