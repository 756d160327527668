package manifests

import "time"

// Container is the canonical form of what a service's containers are created
// from: after interpolation and merging, without what remora adds (labels,
// addresses, names, REMORA_ variables) and without host facts. Its JSON form
// enters the release digest, so every field is omitted at its zero value and
// no field ever changes its name or meaning.
type Container struct {
	// Image is the reference as written.
	Image    string `json:"image"`
	Platform string `json:"platform,omitempty"`
	// Command and Entrypoint: nil keeps the image's, empty clears it.
	Command    *[]string `json:"command,omitempty"`
	Entrypoint *[]string `json:"entrypoint,omitempty"`
	// Environment is resolved: the file's environment and env_file.
	Environment map[string]string `json:"environment,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`

	// Name is container_name; it belongs to the active container.
	Name        string         `json:"name,omitempty"`
	User        string         `json:"user,omitempty"`
	WorkingDir  string         `json:"workingDir,omitempty"`
	Hostname    string         `json:"hostname,omitempty"`
	Domainname  string         `json:"domainname,omitempty"`
	StopSignal  string         `json:"stopSignal,omitempty"`
	StopGrace   *time.Duration `json:"stopGrace,omitempty"` // nil: 10 s
	Init        *bool          `json:"init,omitempty"`
	TTY         bool           `json:"tty,omitempty"`
	StdinOpen   bool           `json:"stdinOpen,omitempty"`
	ReadOnly    bool           `json:"readOnly,omitempty"`
	Privileged  bool           `json:"privileged,omitempty"`
	Healthcheck *Healthcheck   `json:"healthcheck,omitempty"`
	// Restart is the file's policy, for `export`; remora keeps services
	// running whatever it says.
	Restart string `json:"restart,omitempty"`

	CapAdd            []string          `json:"capAdd,omitempty"`
	CapDrop           []string          `json:"capDrop,omitempty"`
	SecurityOpt       []string          `json:"securityOpt,omitempty"`
	Devices           []Device          `json:"devices,omitempty"`
	DeviceCgroupRules []string          `json:"deviceCgroupRules,omitempty"`
	DeviceRequests    []DeviceRequest   `json:"deviceRequests,omitempty"`
	GroupAdd          []string          `json:"groupAdd,omitempty"`
	Sysctls           map[string]string `json:"sysctls,omitempty"`
	Ulimits           []Ulimit          `json:"ulimits,omitempty"`
	Runtime           string            `json:"runtime,omitempty"`
	Isolation         string            `json:"isolation,omitempty"`
	StorageOpt        map[string]string `json:"storageOpt,omitempty"`
	CgroupParent      string            `json:"cgroupParent,omitempty"`
	CgroupNS          string            `json:"cgroupNS,omitempty"`
	IPC               string            `json:"ipc,omitempty"`
	PID               string            `json:"pid,omitempty"`
	UTS               string            `json:"uts,omitempty"`
	UserNS            string            `json:"userNS,omitempty"`
	ShmSize           int64             `json:"shmSize,omitempty"` // bytes
	Tmpfs             []string          `json:"tmpfs,omitempty"`
	Log               *Log              `json:"log,omitempty"`

	Resources Resources `json:"resources,omitzero"`

	// NetworkMode is "", "host", "none", "bridge", "service:x" or
	// "container:x".
	NetworkMode string       `json:"networkMode,omitempty"`
	Networks    []Attachment `json:"networks,omitempty"` // sorted by key
	DNS         []string     `json:"dns,omitempty"`
	DNSOpt      []string     `json:"dnsOpt,omitempty"`
	DNSSearch   []string     `json:"dnsSearch,omitempty"`
	ExtraHosts  []string     `json:"extraHosts,omitempty"` // "host:ip"
	// Links are "service:alias" of the app's own services.
	Links []string `json:"links,omitempty"`
	// ExternalLinks name containers outside the app.
	ExternalLinks []string `json:"externalLinks,omitempty"`
	// VolumesFrom are "service[:ro]" or "container:name[:ro]".
	VolumesFrom []string `json:"volumesFrom,omitempty"`
	Mounts      []Mount  `json:"mounts,omitempty"`
	// PostStart and PreStop run in the container.
	PostStart []Hook `json:"postStart,omitempty"`
	PreStop   []Hook `json:"preStop,omitempty"`
	// Published lists the ports that the engine publishes (UDP, mode: host).
	Published []Port `json:"published,omitempty"`
}

// Healthcheck is the engine's health check of a container.
type Healthcheck struct {
	// Test is as in the Docker API: NONE, CMD … or CMD-SHELL …; empty keeps
	// the image's command.
	Test          []string      `json:"test,omitempty"`
	Interval      time.Duration `json:"interval,omitempty"`
	Timeout       time.Duration `json:"timeout,omitempty"`
	StartPeriod   time.Duration `json:"startPeriod,omitempty"`
	StartInterval time.Duration `json:"startInterval,omitempty"`
	Retries       int           `json:"retries,omitempty"`
}

// Disabled says whether the check is switched off in the file.
func (h *Healthcheck) Disabled() bool {
	return h != nil && len(h.Test) > 0 && h.Test[0] == "NONE"
}

// Device maps a device of the host into the container.
type Device struct {
	Source      string `json:"source"`
	Target      string `json:"target"`
	Permissions string `json:"permissions"`
}

// DeviceRequest asks a device driver, such as a GPU's.
type DeviceRequest struct {
	Driver       string            `json:"driver,omitempty"`
	Count        int               `json:"count,omitempty"` // -1: all
	IDs          []string          `json:"ids,omitempty"`
	Capabilities []string          `json:"capabilities,omitempty"`
	Options      map[string]string `json:"options,omitempty"`
}

// Ulimit is one resource limit of the processes.
type Ulimit struct {
	Name string `json:"name"`
	Soft int64  `json:"soft"`
	Hard int64  `json:"hard"`
}

// Log is where the container's output goes.
type Log struct {
	Driver  string            `json:"driver,omitempty"`
	Options map[string]string `json:"options,omitempty"`
}

// Resources are the limits and weights of a container; zero is unset.
type Resources struct {
	NanoCPUs          int64            `json:"nanoCPUs,omitempty"`
	CPUShares         int64            `json:"cpuShares,omitempty"`
	CPUPeriod         int64            `json:"cpuPeriod,omitempty"` // µs
	CPUQuota          int64            `json:"cpuQuota,omitempty"`  // µs
	CPURealtimePeriod int64            `json:"cpuRealtimePeriod,omitempty"`
	CPURealtime       int64            `json:"cpuRealtimeRuntime,omitempty"`
	CPUCount          int64            `json:"cpuCount,omitempty"`
	CPUPercent        int64            `json:"cpuPercent,omitempty"`
	CPUSet            string           `json:"cpuset,omitempty"`
	Memory            int64            `json:"memory,omitempty"` // bytes
	MemoryReservation int64            `json:"memoryReservation,omitempty"`
	MemorySwap        int64            `json:"memorySwap,omitempty"` // -1: unlimited
	MemorySwappiness  *int64           `json:"memorySwappiness,omitempty"`
	Pids              int64            `json:"pids,omitempty"` // -1: unlimited
	OOMKillDisable    bool             `json:"oomKillDisable,omitempty"`
	OOMScoreAdj       int              `json:"oomScoreAdj,omitempty"`
	BlkioWeight       uint16           `json:"blkioWeight,omitempty"`
	BlkioWeightDevice []WeightDevice   `json:"blkioWeightDevice,omitempty"`
	ReadBps           []ThrottleDevice `json:"deviceReadBps,omitempty"`
	WriteBps          []ThrottleDevice `json:"deviceWriteBps,omitempty"`
	ReadIOps          []ThrottleDevice `json:"deviceReadIOps,omitempty"`
	WriteIOps         []ThrottleDevice `json:"deviceWriteIOps,omitempty"`
}

// WeightDevice gives a block device a weight.
type WeightDevice struct {
	Path   string `json:"path"`
	Weight uint16 `json:"weight"`
}

// ThrottleDevice limits a block device, per second.
type ThrottleDevice struct {
	Path string `json:"path"`
	Rate uint64 `json:"rate"`
}

// Attachment joins the container to one of the app's networks.
type Attachment struct {
	// Network is the key of a [Network] of the app.
	Network    string            `json:"network"`
	Aliases    []string          `json:"aliases,omitempty"`
	IPv4       string            `json:"ipv4,omitempty"`
	IPv6       string            `json:"ipv6,omitempty"`
	LinkLocal  []string          `json:"linkLocal,omitempty"`
	MAC        string            `json:"mac,omitempty"`
	DriverOpts map[string]string `json:"driverOpts,omitempty"`
	Priority   int               `json:"priority,omitempty"`
	GwPriority int               `json:"gwPriority,omitempty"`
	Interface  string            `json:"interface,omitempty"`
}

// MountKind says what a mount's source is.
type MountKind string

// The kinds of mount.
const (
	// MountRepo is a file or folder of the repository: content-addressed and
	// read-only. Source is its path in the repository; the id is in Files.
	MountRepo MountKind = "repo"
	// MountData is a relative path that is not in the commit: host data under
	// the state folder's data/<project>/. Source is the path relative to the
	// app's folder.
	MountData MountKind = "data"
	// MountHost is an absolute path of the host.
	MountHost MountKind = "host"
	// MountVolume is a named volume; Source is the key of a [Volume].
	MountVolume MountKind = "volume"
	// MountAnonymous is a volume without a name, carried from release to
	// release.
	MountAnonymous MountKind = "anonymous"
	// MountTmpfs is memory.
	MountTmpfs MountKind = "tmpfs"
	// MountInline is content written in the file itself (configs.content).
	MountInline MountKind = "inline"
	// MountNPipe, MountCluster and MountImage are as the engine defines them.
	MountImage MountKind = "image"
)

// Mount is one mount of the container.
type Mount struct {
	Kind     MountKind `json:"kind"`
	Source   string    `json:"source,omitempty"`
	Target   string    `json:"target"`
	ReadOnly bool      `json:"readOnly,omitempty"`
	// Content of an inline mount.
	Content string `json:"content,omitempty"`
	// UID, GID and Mode of configs and secrets; empty or nil leaves the
	// repository's.
	UID  string  `json:"uid,omitempty"`
	GID  string  `json:"gid,omitempty"`
	Mode *uint32 `json:"mode,omitempty"`
	// Propagation, SELinux and Create are bind options; Create makes a missing
	// folder of the host.
	Propagation string `json:"propagation,omitempty"`
	SELinux     string `json:"selinux,omitempty"`
	Create      bool   `json:"create,omitempty"`
	Recursive   string `json:"recursive,omitempty"`
	// NoCopy and Subpath are volume options.
	NoCopy  bool   `json:"noCopy,omitempty"`
	Subpath string `json:"subpath,omitempty"`
	// Size (bytes) and TmpfsMode are tmpfs options.
	Size        int64  `json:"size,omitempty"`
	TmpfsMode   uint32 `json:"tmpfsMode,omitempty"`
	Consistency string `json:"consistency,omitempty"`
}

// Hook is a command that is run in a container by exec.
type Hook struct {
	Command     []string          `json:"command"`
	User        string            `json:"user,omitempty"`
	Privileged  bool              `json:"privileged,omitempty"`
	WorkingDir  string            `json:"workingDir,omitempty"`
	Environment map[string]string `json:"environment,omitempty"`
}
