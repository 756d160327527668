package docker

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/strslice"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/go-connections/nat"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

// Facts are what a payload depends on besides the container: properties of
// the engine that it is for.
type Facts struct {
	// API is the version agreed upon with the engine.
	API string
	// LogDriver is the engine's default, and LogOptions says that the engine's
	// own configuration has options for it.
	LogDriver  string
	LogOptions bool
}

// Request is everything that is sent to create one container. Its JSON form
// shows the body exactly as it goes over the wire.
type Request struct {
	// Name and Platform are parameters of the call.
	Name     string                  `json:"name"`
	Platform string                  `json:"platform,omitempty"`
	Body     container.CreateRequest `json:"body"`
	// Connect are the networks that are joined after the creation and before
	// the start, on engines that take only one network at creation.
	Connect []Connection `json:"connect,omitempty"`
}

// Connection is one network to be joined.
type Connection struct {
	Network  string                    `json:"network"`
	Endpoint *network.EndpointSettings `json:"endpoint"`
}

// Default limits of the json-file log driver, where neither the app's file
// nor the engine says otherwise: 5 files of 20 MB.
const (
	logDriver   = "json-file"
	logMaxSize  = "20m"
	logMaxFiles = "5"
)

// Payload translates c for an engine. It is pure: the same input gives the
// same bytes. A field that the engine's API cannot carry out is
// engine.ErrUnsupported, naming the field and the version that it needs.
func Payload(c engine.Create, f Facts) (Request, error) {
	p := payload{Create: c, facts: f}
	config, host := p.config(), p.hostConfig()
	mounts, binds := p.mounts()
	host.Mounts, host.Binds = mounts, binds
	networks, connect := p.networks(config)
	if len(p.errs) > 0 {
		return Request{}, fmt.Errorf("container %s: %w", c.Name, p.errs[0])
	}
	return Request{
		Name: c.Name, Platform: c.Spec.Platform, Connect: connect,
		Body: container.CreateRequest{Config: config, HostConfig: host, NetworkingConfig: networks},
	}, nil
}

// payload collects what is wrong with one translation.
type payload struct {
	engine.Create
	facts Facts
	errs  []error
}

func (p *payload) fail(format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf(format, args...))
}

// needs notes that field, where used, takes an engine of an API version.
func (p *payload) needs(used bool, api, release, field string) {
	if used && versions.LessThan(p.facts.API, api) {
		p.fail("%w: %s needs Docker %s (API %s), this one speaks API %s", engine.ErrUnsupported, field, release, api, p.facts.API)
	}
}

// config is the part of the payload that does not depend on the host.
func (p *payload) config() *container.Config {
	s := &p.Spec
	return &container.Config{
		Image:        p.Image,
		Hostname:     s.Hostname,
		Domainname:   s.Domainname,
		User:         s.User,
		WorkingDir:   s.WorkingDir,
		Tty:          s.TTY,
		OpenStdin:    s.StdinOpen,
		Env:          pairs(s.Environment, p.Env),
		Cmd:          words(s.Command),
		Entrypoint:   words(s.Entrypoint),
		Labels:       merge(s.Labels, p.Labels),
		StopSignal:   s.StopSignal,
		StopTimeout:  stopSeconds(s.StopGrace),
		Healthcheck:  p.healthcheck(),
		ExposedPorts: p.exposed(),
	}
}

func (p *payload) healthcheck() *container.HealthConfig {
	h := p.Spec.Healthcheck
	if h == nil {
		return nil
	}
	p.needs(h.StartInterval != 0, "1.44", "25.0", "healthcheck.start_interval")
	return &container.HealthConfig{
		Test: h.Test, Interval: h.Interval, Timeout: h.Timeout,
		StartPeriod: h.StartPeriod, StartInterval: h.StartInterval, Retries: h.Retries,
	}
}

func (p *payload) exposed() nat.PortSet {
	set := nat.PortSet{}
	for _, port := range p.Spec.Published {
		set[natPort(port)] = struct{}{}
	}
	if len(set) == 0 {
		return nil
	}
	return set
}

func natPort(port manifests.Port) nat.Port {
	return nat.Port(fmt.Sprintf("%d/%s", port.Target, port.Protocol))
}

// stopSeconds rounds up: a grace period is never shorter than written.
func stopSeconds(grace *time.Duration) *int {
	if grace == nil {
		return nil
	}
	return new(int(math.Ceil(grace.Seconds())))
}

// words keeps the difference between nil (the image's) and empty (none).
func words(list *[]string) strslice.StrSlice {
	if list == nil {
		return nil
	}
	return append(strslice.StrSlice{}, *list...)
}

// pairs are the variables of the maps as sorted KEY=value; later maps win.
func pairs(ms ...map[string]string) []string {
	var out []string
	all := merge(ms...)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, k+"="+all[k])
	}
	return out
}

func merge(ms ...map[string]string) map[string]string {
	var out map[string]string
	for _, m := range ms {
		if out == nil && len(m) > 0 {
			out = make(map[string]string, len(m))
		}
		maps.Copy(out, m)
	}
	return out
}

// parsePlatform reads os/arch[/variant].
func parsePlatform(s string) (*ocispec.Platform, error) {
	if s == "" {
		return nil, nil
	}
	part := strings.Split(s, "/")
	switch len(part) {
	case 2:
		return &ocispec.Platform{OS: part[0], Architecture: part[1]}, nil
	case 3:
		return &ocispec.Platform{OS: part[0], Architecture: part[1], Variant: part[2]}, nil
	default:
		return nil, fmt.Errorf("platform %q: write it as os/architecture, such as linux/amd64", s)
	}
}
