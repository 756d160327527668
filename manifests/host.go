package manifests

import (
	"fmt"
	"net/netip"
	"time"
)

// Host is the host file: the law of one host, never in a repository. The
// defaults are those of [DefaultHost].
type Host struct {
	Version int `yaml:"version" json:"version"`
	// Name defaults to the machine's host name.
	Name   string            `yaml:"name" json:"name"`
	Labels map[string]string `yaml:"labels" json:"labels,omitempty"`
	// Vars are variables of interpolation; they win over all others.
	Vars    map[string]string `yaml:"vars" json:"-"`
	Sources []Source          `yaml:"sources" json:"sources"`
	Policy  Policy            `yaml:"policy" json:"policy"`
	// NetworkPool is a prefix that networks are cut from; default 10.210.0.0/16,
	// a /24 each. Overlaps with routes of the host are skipped.
	NetworkPool string `yaml:"network_pool" json:"networkPool"`
	// State is the state folder, default /var/lib/remora; Run the folder of
	// sockets, default /run/remora.
	State string `yaml:"state" json:"state"`
	Run   string `yaml:"run" json:"run"`
	// Engine is the engine's address; default DOCKER_HOST, else
	// unix:///var/run/docker.sock.
	Engine     string         `yaml:"engine" json:"engine"`
	Poll       Duration       `yaml:"poll" json:"poll"`
	Ambassador HostAmbassador `yaml:"ambassador" json:"ambassador"`
	Standby    *HostStandby   `yaml:"standby" json:"standby,omitempty"`
	API        HostAPI        `yaml:"api" json:"api"`
	Log        HostLog        `yaml:"log" json:"log"`
	// StopRespect is how long a person's `docker stop` is honoured; default
	// 15 min.
	StopRespect Duration `yaml:"stop_respect" json:"stopRespect"`

	// Sections that this version knows but does not carry out are refused
	// while they are not empty: secrets, overlap, consul, notify, audit.
	Secrets map[string]any `yaml:"secrets" json:"-"`
	Overlap map[string]any `yaml:"overlap" json:"-"`
	Consul  map[string]any `yaml:"consul" json:"-"`
	Notify  any            `yaml:"notify" json:"-"`
	Audit   map[string]any `yaml:"audit" json:"-"`
}

// Source is a git repository or a local folder that the host follows.
type Source struct {
	Name string `yaml:"name" json:"name"`
	// URL is https://, http://, ssh://, user@host:path, git:// or file://; or
	// Folder is set instead.
	URL string `yaml:"url" json:"url,omitempty"`
	// Folder is a local folder, watched for edits.
	Folder string `yaml:"folder" json:"folder,omitempty"`
	// Ref is a branch or tag: main, refs/heads/main, refs/tags/v1; default the
	// server's HEAD.
	Ref string `yaml:"ref" json:"ref,omitempty"`
	// Path is the folder that holds the environments; default "environments".
	// With Folder and no environment.yaml in it, the folder is one app or a
	// folder of apps.
	Path         string   `yaml:"path" json:"path,omitempty"`
	Environments []string `yaml:"environments" json:"environments"`
	// Apps limits the apps by name pattern; default all.
	Apps   []string       `yaml:"apps" json:"apps,omitempty"`
	Auth   Auth           `yaml:"auth" json:"auth,omitzero"`
	Verify map[string]any `yaml:"verify" json:"-"`
	Policy *Policy        `yaml:"policy" json:"policy,omitempty"`
	// Timeout bounds one git operation; default 60 s.
	Timeout Duration `yaml:"timeout" json:"timeout,omitempty"`
	// Poll overrides the host's.
	Poll Duration `yaml:"poll" json:"poll,omitempty"`
}

// Auth names the files that hold a source's credentials; the files are read
// again when they change.
type Auth struct {
	Username string `yaml:"username" json:"username,omitempty"`
	// PasswordFile holds a password; TokenFile a bearer token or a personal
	// access token (sent as basic with the user name, default "git").
	PasswordFile string `yaml:"password_file" json:"passwordFile,omitempty"`
	TokenFile    string `yaml:"token_file" json:"tokenFile,omitempty"`
	// Bearer sends the token as `Authorization: Bearer`.
	Bearer     bool   `yaml:"bearer" json:"bearer,omitempty"`
	KeyFile    string `yaml:"key_file" json:"keyFile,omitempty"`
	KnownHosts string `yaml:"known_hosts" json:"knownHosts,omitempty"`
	CAFile     string `yaml:"ca_file" json:"caFile,omitempty"`
}

// HostAmbassador is the ambassador's part of the host file.
type HostAmbassador struct {
	// Mode is "spawn" (the agent starts one where none answers; default
	// without systemd) or "external".
	Mode string `yaml:"mode" json:"mode"`
	// HTTP are the entry points of host-name routes; default [80].
	HTTP []uint16 `yaml:"http" json:"http"`
	// HTTPS are the entry points of host-name routes with TLS; default [443].
	HTTPS []uint16 `yaml:"https" json:"https"`
	// TrustedProxies are addresses and prefixes of peers whose X-Forwarded-* and
	// Forwarded fields are kept and added to; default none.
	TrustedProxies []string `yaml:"trusted_proxies" json:"trustedProxies,omitempty"`
	// ProxyProtocolFrom are addresses and prefixes of peers that must send a
	// PROXY header (v1 or v2) first, on every port of the host; default none.
	ProxyProtocolFrom []string `yaml:"proxy_protocol_from" json:"proxyProtocolFrom,omitempty"`
	// Binary is the path of remora-ambassador; default beside remora, else in
	// PATH.
	Binary string `yaml:"binary" json:"binary,omitempty"`
	// User that the worker runs as when the holder is root; default nobody.
	User string `yaml:"user" json:"user,omitempty"`
	// Names is "proxied" (service addresses) or "direct" (the engine's own
	// aliases) for all services of the host; default proxied where permitted.
	Names  string     `yaml:"names" json:"names,omitempty"`
	ACME   HostACME   `yaml:"acme" json:"acme,omitzero"`
	Limits HostLimits `yaml:"limits" json:"limits,omitzero"`
	// AccessLog is how requests and tunnels are written down.
	AccessLog HostAccessLog `yaml:"access_log" json:"accessLog,omitzero"`
}

// HostAccessLog is how the ambassador writes requests and tunnels down, in
// access.log of its state folder. Zero is the default of each.
type HostAccessLog struct {
	// Format is "json" (default), "combined" (NCSA) or "off".
	Format string `yaml:"format" json:"format,omitempty"`
	// MaxSize is about how large a file becomes before it is renamed; default
	// 64 MiB.
	MaxSize Bytes `yaml:"max_size" json:"maxSize,omitempty"`
	// Keep is how many renamed files stay; default 4.
	Keep int `yaml:"keep" json:"keep,omitempty"`
}

// HostLimits bound what clients may cost the host, on every port. Zero is the
// default of each.
type HostLimits struct {
	// Header is how long a request's head may take; default 10 s.
	Header Duration `yaml:"header" json:"header,omitempty"`
	// BodyRate is how many bytes a second a body has to come on average;
	// default 240.
	BodyRate int `yaml:"body_rate" json:"bodyRate,omitempty"`
	// Idle is how long a client's connection may be idle; default 120 s.
	Idle Duration `yaml:"idle" json:"idle,omitempty"`
	// PerClient bounds the open connections of one client address (IPv6: of one
	// /64); default none.
	PerClient int `yaml:"per_client" json:"perClient,omitempty"`
}

// Trusted parses TrustedProxies; its error names the first that is neither an
// address nor a prefix.
func (a HostAmbassador) Trusted() ([]netip.Prefix, error) { return prefixes(a.TrustedProxies) }

// ProxyFrom parses ProxyProtocolFrom, as Trusted does.
func (a HostAmbassador) ProxyFrom() ([]netip.Prefix, error) { return prefixes(a.ProxyProtocolFrom) }

func prefixes(written []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, s := range written {
		if ip, err := netip.ParseAddr(s); err == nil {
			ip = ip.Unmap().WithZone("")
			list = append(list, netip.PrefixFrom(ip, ip.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a prefix", s)
		}
		list = append(list, p.Masked())
	}
	return list, nil
}

// HostStandby overrides the default of services that say nothing.
type HostStandby struct {
	For   Duration     `yaml:"for" json:"for"`
	State StandbyState `yaml:"state" json:"state,omitempty"`
}

// HostAPI is where the agent's API listens besides its unix socket.
type HostAPI struct {
	// Socket defaults to <run>/agent.sock.
	Socket string `yaml:"socket" json:"socket,omitempty"`
	// Metrics is an address such as 127.0.0.1:9631 for Prometheus; empty serves
	// them on the socket only.
	Metrics string         `yaml:"metrics" json:"metrics,omitempty"`
	Listen  string         `yaml:"listen" json:"-"`
	TLS     map[string]any `yaml:"tls" json:"-"`
	Tokens  any            `yaml:"tokens" json:"-"`
}

// HostLog is how the processes log.
type HostLog struct {
	// Format is "text" or "json"; Level "debug", "info", "warn" or "error".
	Format string `yaml:"format" json:"format"`
	Level  string `yaml:"level" json:"level"`
}

// Policy is what the host lets a source do. Everything not allowed is denied,
// field by field.
type Policy struct {
	// Preset is "strict" (default) or "compose" (what `docker compose` would
	// allow).
	Preset       string   `yaml:"preset" json:"preset"`
	Registries   []string `yaml:"registries" json:"registries,omitempty"`
	Binds        []string `yaml:"binds" json:"binds,omitempty"`
	Privileged   *bool    `yaml:"privileged" json:"privileged,omitempty"`
	Capabilities []string `yaml:"capabilities" json:"capabilities,omitempty"`
	Namespaces   []string `yaml:"namespaces" json:"namespaces,omitempty"` // network, pid, ipc, uts, user, cgroup
	Devices      []string `yaml:"devices" json:"devices,omitempty"`
	DockerSocket *bool    `yaml:"docker_socket" json:"dockerSocket,omitempty"`
	Ports        []string `yaml:"ports" json:"ports,omitempty"`         // "80", "8000-8999"
	Hostnames    []string `yaml:"hostnames" json:"hostnames,omitempty"` // patterns
	AllowForeign []string `yaml:"allow_foreign" json:"allowForeign,omitempty"`
	SecurityOpt  []string `yaml:"security_opt" json:"securityOpt,omitempty"`
	Sysctls      []string `yaml:"sysctls" json:"sysctls,omitempty"`
	Runtimes     []string `yaml:"runtimes" json:"runtimes,omitempty"`
	LogDrivers   []string `yaml:"log_drivers" json:"logDrivers,omitempty"`
	DriverOpts   *bool    `yaml:"driver_opts" json:"driverOpts,omitempty"`
	CgroupParent []string `yaml:"cgroup_parent" json:"cgroupParent,omitempty"`
	Hooks        *bool    `yaml:"privileged_hooks" json:"privilegedHooks,omitempty"`
	EnvFiles     []string `yaml:"env_files" json:"envFiles,omitempty"`
	Digests      *bool    `yaml:"require_digests" json:"requireDigests,omitempty"`
	// OOM allows oom_kill_disable and a negative oom_score_adj.
	OOM *bool `yaml:"oom" json:"oom,omitempty"`
	// Certificates are patterns of host files that routes may name as cert, key
	// and client_ca; folders allow what is in them.
	Certificates []string `yaml:"certificates" json:"certificates,omitempty"`
	// Annotations are patterns of keys; the engine hands annotations to its
	// runtime, which takes some of them as orders.
	Annotations []string `yaml:"annotations" json:"annotations,omitempty"`
	// Subnets are the prefixes that a file's own subnets must lie in. Without
	// any, preset strict takes private ones of at most a /16.
	Subnets []string `yaml:"subnets" json:"subnets,omitempty"`
}

// Duration is a time.Duration that YAML writes as 30s, 10m or 1h30m.
type Duration time.Duration

// UnmarshalText parses Go's duration form.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no duration; write one such as 30s, 5m or 1h30m", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes Go's duration form.
func (d Duration) MarshalText() ([]byte, error) {
	return []byte(time.Duration(d).String()), nil
}
