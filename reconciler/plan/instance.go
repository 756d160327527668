package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// Short returns the part of a release that container names carry.
func Short(release string) string { return manifests.Release(release).Short() }

// instances returns kept and new instances up to n of them.
func (p *planner) instances(r ledger.Release, kept []ledger.Instance, n int) []ledger.Instance {
	out := slices.Clone(kept)
	for index := 1; len(out) < n; index++ {
		if slices.ContainsFunc(out, func(i ledger.Instance) bool { return i.Index == index }) {
			continue
		}
		out = append(out, p.instance(r, index))
	}
	slices.SortFunc(out, func(a, b ledger.Instance) int { return a.Index - b.Index })
	return out
}

// instance is one container that is yet to be created.
func (p *planner) instance(r ledger.Release, index int) ledger.Instance {
	s := &r.Service
	name := p.freeName(fmt.Sprintf("%s-%s-%s-%d", p.App.Project, s.Name, Short(r.ID), index))
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", p.ID, name, r.Hostrev))
	return ledger.Instance{
		Index: index, Name: name, Key: hex.EncodeToString(sum[:])[:16],
		Anonymous: maps.Clone(p.known(s.Name).Anonymous[index]),
	}
}

// freeName returns name, or with ".2", ".3" … behind it where a container or
// the ledger has it: a restart gives the same release other containers.
func (p *planner) freeName(name string) string {
	free := name
	for n := 2; p.nameTaken(free); n++ {
		free = fmt.Sprintf("%s.%d", name, n)
	}
	return free
}

func (p *planner) nameTaken(name string) bool {
	if slices.ContainsFunc(p.Containers, func(c engine.Container) bool { return c.Name == name }) {
		return true
	}
	for _, s := range p.Ledger.Services {
		for _, d := range slices.Concat([]*ledger.Deployed{s.Active, s.Standby}, s.Leaving) {
			if d != nil && slices.ContainsFunc(d.Instances, func(i ledger.Instance) bool { return i.Name == name }) {
				return true
			}
		}
		for _, job := range s.Jobs {
			if job.Instance.Name == name {
				return true
			}
		}
	}
	return false
}

// AnonymousName is the engine's name of a volume that has none in the file. It
// follows from the service, so that it is known before the container is made
// and found again without a ledger.
func AnonymousName(project, service string, index int, target string) string {
	sum := sha256.Sum256([]byte(target))
	return fmt.Sprintf("%s_%s-%d_%s", project, service, index, hex.EncodeToString(sum[:])[:12])
}
