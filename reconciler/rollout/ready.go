package rollout

import (
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// ready says whether a running container may have traffic, and if not, what it
// waits for: its post_start hooks, the ambassador's probes, its HEALTHCHECK,
// or, where nothing checks it, that it runs for min_healthy_time.
func (t *turn) ready(name string, d *ledger.Deployed, i *ledger.Instance, c *engine.Container) (bool, string) {
	if !t.hooks(name, d, i, c) {
		return false, "post_start has not ended"
	}
	checked, why := false, ""
	if d.Service.Kind == manifests.KindEndpoint && len(probes(&d.Release)) > 0 {
		checked = true
		if e, ok := t.endpoint(name, d, c); !ok || !e.Warm {
			why = probeFailure(e)
		}
	}
	if d.Healthcheck != nil && !d.Healthcheck.Disabled() && !t.onlyWarns(name, d) {
		checked = true
		if !t.healthy(name, d, i, c) && why == "" {
			why = t.healthText(name, d, i, c)
		}
	}
	if checked {
		return why == "", why
	}
	return t.settled(d, c), "it has not run for min_healthy_time"
}

// hooks runs post_start once for each start.
func (t *turn) hooks(name string, d *ledger.Deployed, i *ledger.Instance, c *engine.Container) bool {
	if len(d.Service.Container.PostStart) == 0 || i.Hooked.Equal(c.Started) {
		return true
	}
	a := on(PostStart, name, d, i)
	a.Instance.Hooked = c.Started
	a.Hooks = d.Service.Container.PostStart
	t.act(a)
	return false
}

// healthy says that the HEALTHCHECK passes: by the engine's word, or, until
// its first own run, by ours.
func (t *turn) healthy(name string, d *ledger.Deployed, i *ledger.Instance, c *engine.Container) bool {
	if c.Health == "healthy" {
		return true
	}
	if c.Health != "unhealthy" && t.obs.Healthy[c.ID].Equal(c.Started) && !c.Started.IsZero() {
		return true
	}
	t.act(t.checkHealth(name, d, i))
	return false
}

func (t *turn) checkHealth(name string, d *ledger.Deployed, i *ledger.Instance) Action {
	a := on(Health, name, d, i)
	a.Deployed = d.Clone()
	return a
}

func (t *turn) healthText(name string, d *ledger.Deployed, i *ledger.Instance, c *engine.Container) string {
	if f, ok := t.obs.Failures[t.checkHealth(name, d, i).Key()]; ok && f.Message != "" {
		return f.Message
	}
	if log := lastLine(c.HealthLog); log != "" {
		return "health check: " + log
	}
	return "its health check has not passed"
}

// settled says that a container without any check ran long enough.
func (t *turn) settled(d *ledger.Deployed, c *engine.Container) bool {
	at := c.Started.Add(d.Service.Update.MinHealthy)
	if t.now().Before(at) {
		t.wakeAt(at)
		return false
	}
	return true
}

// onlyWarns says that a HEALTHCHECK gates nothing: it comes from the image,
// and the release that serves fails it too.
func (t *turn) onlyWarns(name string, d *ledger.Deployed) bool {
	c, s := t.change(name), t.app.Services[name]
	if !d.FromImage || c == nil || c.To != d || s == nil || s.Active == nil || !s.Active.FromImage {
		return false
	}
	if !t.failsCheck(s.Active) && !c.Warned {
		return false
	}
	if !c.Warned {
		c.Warned = true
		t.event(event{
			service: name, release: &d.Release, reason: status.Progressing, severity: "warning",
			text: name + ": the image's HEALTHCHECK fails in the running release too, so it does not gate this one; `healthcheck: {disable: true}` switches it off",
		})
	}
	return true
}

func (t *turn) failsCheck(d *ledger.Deployed) bool {
	for k := range d.Instances {
		if c, ok := t.container(&d.Instances[k]); ok && c.Health == "unhealthy" {
			return true
		}
	}
	return false
}

// ill says why a container that serves has failed, if it has: it ended, was
// restarted, or fails its checks.
func (t *turn) ill(name string, d *ledger.Deployed, i *ledger.Instance) string {
	c, ok := t.container(i)
	switch {
	case !ok:
		return "" // taken away from outside: it is made again
	case !alive(&c) && c.Started.After(i.Epoch), c.State == engine.Restarting:
		return death(&c)
	case c.RestartCount > i.Restarts:
		return "restarted after it " + death(&c)
	case c.State != engine.Running:
		return ""
	case c.Health == "unhealthy" && !t.onlyWarns(name, d):
		return unhealthy(&c)
	}
	if e, ok := t.endpoint(name, d, &c); ok && e.Warm && !e.Good && e.Failures >= fall(&d.Release) {
		return probeFailure(e)
	}
	return ""
}

// watch looks at what serves since its switch, and returns the first failure
// that update_config does not allow.
func (t *turn) watch() *ledger.Failure {
	for _, name := range t.changes() {
		c := t.change(name)
		if c.Action != ledger.Replace || !c.Switched || c.Kept {
			continue
		}
		if f := t.watchOne(name, c); f != nil {
			return f
		}
	}
	return nil
}

func (t *turn) watchOne(name string, c *ledger.Change) *ledger.Failure {
	bad, why := 0, ""
	for k := range c.To.Instances {
		if text := t.ill(name, c.To, &c.To.Instances[k]); text != "" {
			bad++
			why = text
		}
	}
	u := c.To.Service.Update
	if bad == 0 || float64(bad) <= u.MaxFailureRatio*float64(len(c.To.Instances)) {
		return nil
	}
	if u.FailureAction == "continue" {
		if !c.Warned {
			c.Warned = true
			t.event(event{service: name, release: &c.To.Release, reason: status.HealthCheckFailed, severity: "warning", text: name + " " + tag(&c.To.Release) + " failed: " + why + "; failure_action says continue"})
		}
		return nil
	}
	return t.broken(name, c.To, why)
}

// tend brings back what serves since its switch and was ended from outside: it
// was removed, or the engine restarted before it knew that the container is to
// come back.
func (t *turn) tend() {
	for _, name := range t.changes() {
		c := t.change(name)
		if c.Action != ledger.Replace || !c.Switched || c.Kept {
			continue
		}
		for k := range c.To.Instances {
			t.raise(name, c.To, &c.To.Instances[k])
		}
	}
}

// monitorFor is how long a switched rollout is watched: as long as the longest
// of its services asks; a return not at all.
func (t *turn) monitorFor() time.Duration {
	r := t.app.Rollout
	var d time.Duration
	if r.Kind == ledger.Return {
		return d
	}
	for _, c := range r.Changes {
		if c.Action == ledger.Replace && c.To != nil {
			d = max(d, c.To.Service.Update.Monitor)
		}
	}
	return d
}
