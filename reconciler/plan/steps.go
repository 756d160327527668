package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// steps tells a person what would be done, in order.
func (p *planner) steps(r Result) []status.PlanStep {
	var out []status.PlanStep
	for _, n := range r.Networks {
		if !n.External && !p.networkExists(n.Name) {
			out = append(out, status.PlanStep{Object: "Network/" + n.Key, Action: "create", Cause: "new network " + n.Name})
		}
	}
	for _, v := range r.Volumes {
		if !v.External && !p.volumeExists(v.Name) {
			out = append(out, status.PlanStep{Object: "Volume/" + v.Key, Action: "create", Cause: "new volume " + v.Name})
		}
	}
	for _, w := range r.Waves {
		for _, name := range slices.Concat(w.Before, w.Services, w.After) {
			out = append(out, p.step(name, r.Changes[name]))
		}
	}
	return append(out, p.kept()...)
}

// step is the row of one service.
func (p *planner) step(name string, c *ledger.Change) status.PlanStep {
	s := status.PlanStep{Object: "Service/" + name, Cause: c.Cause, Action: actionWord(c)}
	if c.Action == ledger.Replace {
		svc := c.To.Service
		s.Order = string(c.Order)
		if c.From != nil && svc.OrderWhy != "" {
			s.Order = orderText(svc.Order, svc.OrderWhy)
		}
		s.Notes = p.notes(svc, c)
	}
	return s
}

func actionWord(c *ledger.Change) string {
	switch c.Action {
	case ledger.Replace:
		if c.From == nil {
			return "create"
		}
		if c.FromStandby {
			return "switch"
		}
		return "recreate"
	case ledger.Drop:
		return "remove"
	case ledger.Settings:
		return "switch"
	case ledger.Scale, ledger.Run:
	}
	return string(c.Action)
}

// notes say what a person should know before the change.
func (p *planner) notes(s manifests.Service, c *ledger.Change) []string {
	var out []string
	if s.WritesData && c.From != nil {
		out = append(out, "! not reversible by remora: it writes data that outlives the container")
	}
	if c.To.FromImage {
		out = append(out, "HEALTHCHECK from the image ("+strings.Join(c.To.Healthcheck.Test, " ")+"); `healthcheck: {disable: true}` switches it off")
	}
	if text := canaryNote(s, c); text != "" {
		out = append(out, text)
	}
	for _, m := range s.Container.Mounts {
		if m.Kind == manifests.MountData {
			out = append(out, fmt.Sprintf("%s is not in the commit: host data at %s, kept over releases", m.Source, m.Target))
		}
	}
	if s.Container.Name == s.Name && Proxied(c.To.Release, p.Direct) {
		out = append(out, "container_name equals the service's name: programs that ask DNS only reach the container directly")
	}
	return out
}

// kept lists the volumes of services that go: no step ever removes one.
func (p *planner) kept() []status.PlanStep {
	still := map[string]bool{}
	for _, v := range usedVolumes(p.App) {
		still[v.Name] = true
	}
	gone := map[string]bool{}
	for _, c := range p.changes {
		if c.Action != ledger.Drop || c.From == nil {
			continue
		}
		for _, m := range c.From.Service.Container.Mounts {
			name := volumeName(p.Ledger.VolumeSpecs, m.Source)
			gone[name] = gone[name] || m.Kind == manifests.MountVolume && !still[name]
		}
	}
	var out []status.PlanStep
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		if gone[name] {
			out = append(out, status.PlanStep{Object: "Volume/" + name, Action: "keep", Cause: "volumes are never removed"})
		}
	}
	return out
}

// orderText is the order with its reason, once: some reasons name the order
// themselves.
func orderText(order manifests.Order, why string) string {
	if strings.HasPrefix(why, string(order)) {
		return why
	}
	return string(order) + " because " + why
}
