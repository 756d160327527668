package manifests

import "time"

// Defaults of services that say nothing; the design gives the reasons.
const (
	DefaultMonitor    = 30 * time.Second
	DefaultMinHealthy = 10 * time.Second
	// LiveMinHealthy takes its place where a local folder is the source: whoever
	// edits it waits for it.
	LiveMinHealthy      = time.Second
	DefaultProgress     = 10 * time.Minute
	DefaultDrain        = 30 * time.Second
	DefaultDrainTunnels = 10 * time.Minute
	DefaultStandby      = 10 * time.Minute
	// DefaultCanaryInterval is how long each step of a canary lasts.
	DefaultCanaryInterval = 30 * time.Second
	// DefaultStopGrace is what containers have to stop in without
	// stop_grace_period, as the engine defines it.
	DefaultStopGrace = 10 * time.Second
	// DefaultProbeInterval, DefaultProbeTimeout, DefaultRise and DefaultFall
	// are those of the ambassador's checks.
	DefaultProbeInterval = time.Second
	DefaultProbeTimeout  = 5 * time.Second
	DefaultRise          = 2
	DefaultFall          = 3
	// DefaultGitTimeout bounds one git operation.
	DefaultGitTimeout = Duration(60 * time.Second)
)

// DefaultHost returns the host file of a host that has none: it follows
// nothing. Name and Engine stay empty for the caller to take from the machine.
func DefaultHost() Host {
	return Host{
		Version:     1,
		Policy:      Policy{Preset: PresetStrict},
		NetworkPool: "10.210.0.0/16",
		State:       "/var/lib/remora",
		Run:         "/run/remora",
		Poll:        Duration(30 * time.Second),
		Ambassador:  HostAmbassador{HTTP: []uint16{80}, HTTPS: []uint16{443}},
		Log:         HostLog{Format: "text", Level: "info"},
		StopRespect: Duration(15 * time.Minute),
	}
}

// The presets of a policy.
const (
	PresetStrict  = "strict"
	PresetCompose = "compose"
)
