package load

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"

	"github.com/remorahq/remora/manifests"
)

// service converts all of a service that does not depend on the others.
func (c *converter) service(name string, s types.ServiceConfig) manifests.Service {
	at := "services." + name
	ext := c.ext[name]
	out := manifests.Service{
		Name: name, Unit: name, Probe: ext.probe, NamesDirect: ext.direct, Idempotent: ext.idempotent,
		AnonymousFresh: ext.fresh, PullPolicy: c.pullPolicy(at, s), Routes: ext.routes,
		Assets: ext.assets, Canary: ext.canary,
	}
	if s.Image == "" {
		c.fail(at, "push the image to a registry and name it with `image:`", "service %q has no image; remora does not build", name)
	}
	if _, err := reference.ParseNormalizedNamed(s.Image); s.Image != "" && err != nil {
		c.fail(at+".image", "write such as registry.example.com/app:v1", "%q is no image: %v", s.Image, err)
	}
	out.Container = c.container(at, s)
	c.environment(at, s, &out)
	c.mounts(at, s, &out)
	c.ports(at, s, &out)
	out.Replicas = c.replicas(at, s, ext)
	out.DependsOn = c.dependencies(s)
	out.Update = c.update(at, s, ext)
	c.checkReplicas(at, s, &out)
	c.foreignLabels(at, &out)
	return out
}

func (c *converter) pullPolicy(at string, s types.ServiceConfig) string {
	policy, every, err := s.GetPullPolicy()
	switch {
	case err != nil:
		c.fail(at+".pull_policy", "missing, always, never, daily, weekly or every_<duration>", "%q is not known", s.PullPolicy)
	case policy == types.PullPolicyBuild:
		c.fail(at+".pull_policy", "use missing or always", "remora does not build")
	case policy == types.PullPolicyRefresh && every == 0:
		c.fail(at+".pull_policy", "use daily, weekly or every_<duration>", "%q says not how often", s.PullPolicy)
	}
	if s.PullPolicy == "" || s.PullPolicy == types.PullPolicyIfNotPresent {
		return types.PullPolicyMissing
	}
	return s.PullPolicy
}

func (c *converter) replicas(at string, s types.ServiceConfig, ext settings) int {
	if s.Deploy != nil && s.Deploy.Mode != "" && s.Deploy.Mode != "replicated" && s.Deploy.Mode != "global" {
		c.later(at+".deploy.mode", "use a one-shot: x-remora: {job: true}")
	}
	n := s.GetScale()
	if ext.replicasPerCPU > 0 {
		n = ext.replicasPerCPU * max(c.req.CPUs, 1)
	}
	if n < 0 || n > maxReplicas {
		c.fail(at+".deploy.replicas", "", "%d replicas; from 0 to %d are possible", n, maxReplicas)
	}
	return n
}

// checkReplicas reports what several containers cannot share.
func (c *converter) checkReplicas(at string, s types.ServiceConfig, out *manifests.Service) {
	if out.Replicas < 2 {
		return
	}
	if s.ContainerName != "" {
		c.fail(at+".container_name", "remove it, or run one replica", "%d containers cannot all be called %q", out.Replicas, s.ContainerName)
	}
	for i, p := range out.Container.Published {
		if p.Published != 0 {
			c.fail(fmt.Sprintf("%s.ports[%d]", at, i), "run one replica", "%d containers cannot all publish port %d of the host", out.Replicas, p.Published)
		}
	}
	if a, ok := fixedAddress(out); ok {
		c.fail(at+".networks", "run one replica", "%d containers cannot all have the address %s", out.Replicas, a)
	}
}

func (c *converter) dependencies(s types.ServiceConfig) []manifests.Dependency {
	var out []manifests.Dependency
	for _, name := range slices.Sorted(maps.Keys(s.DependsOn)) {
		if _, here := c.specs[name]; !here {
			continue // not placed here, or its profile is not active: met at once
		}
		d := s.DependsOn[name]
		out = append(out, manifests.Dependency{
			Service: name, Condition: manifests.Condition(d.Condition), Required: d.Required, Restart: d.Restart,
		})
	}
	return out
}

func (c *converter) update(at string, s types.ServiceConfig, ext settings) manifests.Update {
	u := manifests.Update{
		FailureAction: "rollback", Monitor: manifests.DefaultMonitor, MinHealthy: manifests.DefaultMinHealthy,
		Progress: manifests.DefaultProgress, Drain: manifests.DefaultDrain, DrainTunnels: manifests.DefaultDrainTunnels,
		HoldRequests: ext.hold,
	}
	if c.live() { // somebody edits, and looks at what comes of it
		u.MinHealthy = manifests.LiveMinHealthy
	}
	assign(&u.MinHealthy, ext.minHealthy)
	assign(&u.Progress, ext.progress)
	assign(&u.Drain, ext.drain)
	assign(&u.DrainTunnels, ext.drainTunnels)
	if s.Deploy == nil || s.Deploy.UpdateConfig == nil {
		return u
	}
	w := s.Deploy.UpdateConfig
	path := at + ".deploy.update_config"
	if w.FailureAction != "" {
		u.FailureAction = w.FailureAction
		u.RollbackWritten = w.FailureAction == "rollback"
	}
	if !slices.Contains([]string{"rollback", "pause", "continue"}, u.FailureAction) {
		c.fail(path+".failure_action", "rollback, pause or continue", "%q is not known", w.FailureAction)
	}
	if w.Monitor != 0 {
		u.Monitor = time.Duration(w.Monitor)
	}
	if w.Parallelism != nil {
		u.Parallelism = int(min(*w.Parallelism, maxReplicas))
	}
	u.Delay = time.Duration(w.Delay)
	u.MaxFailureRatio = float64(w.MaxFailureRatio)
	if u.MaxFailureRatio < 0 || u.MaxFailureRatio > 1 {
		c.fail(path+".max_failure_ratio", "from 0 to 1", "%v is no ratio", w.MaxFailureRatio)
	}
	return u
}

func assign(d *time.Duration, v *time.Duration) {
	if v != nil {
		*d = *v
	}
}

// otherTools returns a label that speaks to another tool, if there is one:
// such a tool finds candidates and standbys too. The environment variables that
// Registrator reads are not meant, since remora takes its place.
func otherTools(labels map[string]string) string {
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if strings.HasPrefix(k, "traefik.") || strings.HasPrefix(k, "SERVICE_") {
			return k
		}
	}
	return ""
}

func (c *converter) foreignLabels(at string, out *manifests.Service) {
	if key := otherTools(out.Container.Labels); key != "" {
		c.warn(at+".labels", "let x-remora.routes take its place",
			"%s speaks to another tool, which finds new and replaced containers too; the standby of this service is stopped", key)
	}
}
