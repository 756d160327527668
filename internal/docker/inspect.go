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
	if s.Health == nil || s.Health.Status == container.NoHealthcheck {
		return
	}
	out.Health = s.Health.Status
	if n := len(s.Health.Log); n > 0 && s.Health.Log[n-1] != nil {
		out.HealthLog = strings.TrimSpace(s.Health.Log[n-1].Output)
	}
}

// parseTime reads the engine's times; its zero is ours.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}
