package docker

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/remorahq/remora/internal/engine"
)

// Container reads one container, by ID or name, past the cache.
func (e *Engine) Container(ctx context.Context, id string) (engine.Container, error) {
	return ask(ctx, e, "inspect container "+short(id), func(ctx context.Context) (engine.Container, error) {
		c, err := e.client().ContainerInspect(ctx, id)
		if err != nil {
			return engine.Container{}, err
		}
		return convert(&c), nil
	})
}

// convert brings an answer of the engine into our words.
func convert(c *container.InspectResponse) engine.Container {
	out := engine.Container{
		ID: c.ID, Name: strings.TrimPrefix(c.Name, "/"), ImageID: c.Image, RestartCount: c.RestartCount,
		Created: parseTime(c.Created), Addresses: map[string]netip.Addr{},
	}
	if c.Config != nil {
		out.Image, out.Labels = c.Config.Image, c.Config.Labels
	}
	if c.HostConfig != nil {
		out.NetworkMode = string(c.HostConfig.NetworkMode)
		out.Restart = cmp.Or(string(c.HostConfig.RestartPolicy.Name), "no")
	}
	convertState(&out, c.State)
	convertHealth(&out, c)
	if c.NetworkSettings != nil {
		for name, n := range c.NetworkSettings.Networks {
			configured := ""
			if n.IPAMConfig != nil {
				configured = n.IPAMConfig.IPv4Address
			}
			if a, err := netip.ParseAddr(cmp.Or(n.IPAddress, configured)); err == nil {
				out.Addresses[name] = a
			}
		}
	}
	for _, m := range c.Mounts {
		out.Mounts = append(out.Mounts, engine.Observed{
			Type: string(m.Type), Name: m.Name, Source: m.Source, Target: m.Destination, Writable: m.RW,
		})
	}
	slices.SortFunc(out.Mounts, func(a, b engine.Observed) int { return cmp.Compare(a.Target, b.Target) })
	return out
}

func convertState(out *engine.Container, s *container.State) {
	if s == nil {
		return
	}
	out.State = engine.State(s.Status)
	out.ExitCode, out.OOMKilled, out.StateError, out.Pid = s.ExitCode, s.OOMKilled, s.Error, s.Pid
	out.Started, out.Finished = parseTime(s.StartedAt), parseTime(s.FinishedAt)
}

// convertHealth brings the state of a HEALTHCHECK into our words. When the
// engine stops checking, as it does at a pause, it calls the container
// unhealthy, and goes on doing so until the first check after the unpause, a
// whole interval later. Only a streak of failures makes that true; else
// nothing is known, as after a start.
func convertHealth(out *engine.Container, c *container.InspectResponse) {
	if c.State == nil || c.State.Health == nil || c.State.Health.Status == container.NoHealthcheck {
		return
	}
	h := c.State.Health
	out.Health = h.Status
	if h.Status == container.Unhealthy && h.FailingStreak < retries(c.Config) {
		out.Health = container.Starting
	}
	if n := len(h.Log); n > 0 && h.Log[n-1] != nil {
		out.HealthLog = strings.TrimSpace(h.Log[n-1].Output)
	}
}

// defaultRetries is the engine's own default of a HEALTHCHECK.
const defaultRetries = 3

// retries is how many failures in a row make a container unhealthy.
func retries(c *container.Config) int {
	if c == nil || c.Healthcheck == nil || c.Healthcheck.Retries == 0 {
		return defaultRetries
	}
	return c.Healthcheck.Retries
}

// parseTime reads the engine's times; its zero is ours.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}
