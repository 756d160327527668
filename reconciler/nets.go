package reconciler

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/plan"
)

// nets knows the networks that service addresses live on. It is safe for
// concurrent use.
type nets struct {
	// making serialises the making of networks, so that two apps that share
	// one do not make it twice.
	making sync.Mutex

	mu sync.Mutex
	// paths of the namespaces that stand, by network name.
	paths map[string]string
}

func newNets() *nets { return &nets{paths: map[string]string{}} }

// standing takes over the namespaces of the ambassador's table, as far as their
// files are there: the agent was restarted, not the host.
func (n *nets) standing(t traffic.Table, bootID string) {
	if t.BootID != bootID {
		return
	}
	for _, ns := range t.Namespaces {
		if _, err := os.Stat(ns.Path); err == nil {
			n.set(ns.Name, ns.Path)
		}
	}
}

// namespacesOf returns the standing namespaces of networks, by name.
func (n *nets) namespacesOf(networks []manifests.Network) map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make(map[string]string, len(networks))
	for _, network := range networks {
		if path := n.paths[network.Name]; path != "" {
			out[network.Name] = path
		}
	}
	return out
}

// set notes where a network's namespace stands; an empty path forgets it.
func (n *nets) set(network, path string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.paths[network] = path
	if path == "" {
		delete(n.paths, network)
	}
}

// ensureNetworks makes an app's networks, volumes and service addresses. It
// may be repeated.
func (r *Reconciler) ensureNetworks(ctx context.Context, app appLedger) error {
	networks, volumes, releases := wantedOf(app)
	r.nets.making.Lock()
	defer r.nets.making.Unlock()
	existing, err := r.cfg.Engine.Networks(ctx)
	if err != nil {
		return fmt.Errorf("list networks: %w", err)
	}
	for _, n := range networks {
		found, err := r.ensureNetwork(ctx, app, n, existing)
		if err != nil {
			return err
		}
		if err := r.ensureNames(ctx, app, n, found, releases); err != nil {
			return err
		}
	}
	for _, v := range volumes {
		if err := r.ensureVolume(ctx, app, v); err != nil {
			return err
		}
	}
	return nil
}

// wantedOf returns the networks, volumes and releases that the app has or is
// getting.
func wantedOf(app appLedger) (nets []manifests.Network, vols []manifests.Volume, releases []ledger.Release) {
	nets, vols = app.NetworkSpecs, app.VolumeSpecs
	seen := map[string]bool{}
	if ro := app.Rollout; ro != nil && ro.Kind != ledger.Remove {
		nets, vols = ro.Networks, ro.Volumes
		for name, c := range ro.Changes {
			if c.To != nil {
				seen[name] = true
				releases = append(releases, c.To.Release)
			}
		}
	}
	for name, s := range app.Services {
		if s.Active != nil && !seen[name] {
			releases = append(releases, s.Active.Release)
		}
	}
	return nets, vols, releases
}

// ensureNetwork makes one network with a subnet of its own, or finds it.
func (r *Reconciler) ensureNetwork(ctx context.Context, app appLedger, n manifests.Network, existing []engine.Network) (engine.Network, error) {
	i := slices.IndexFunc(existing, func(e engine.Network) bool { return e.Name == n.Name })
	switch {
	case i >= 0 && (n.External || ownedBy(app, existing[i])):
		return existing[i], nil
	case i >= 0:
		return engine.Network{}, fmt.Errorf("network %s exists and is not this app's: remove it (`docker network rm %s`), or write `external: true` with its name: %w", n.Name, n.Name, engine.ErrConflict)
	case n.External:
		return engine.Network{}, fmt.Errorf("network %s is external and does not exist; make it with `docker network create %s`, or drop `external`", n.Name, n.Name)
	}
	spec, err := r.networkSpec(app, n, existing)
	if err != nil {
		return engine.Network{}, err
	}
	made, err := r.cfg.Engine.EnsureNetwork(ctx, spec)
	if err != nil {
		return made, fmt.Errorf("make network %s: %w", n.Name, err)
	}
	return made, nil
}

// ownedBy says that remora made a network for this app.
func ownedBy(app appLedger, n engine.Network) bool {
	return n.Labels[engine.LabelApp] == app.Name && n.Labels[engine.LabelEnvironment] == app.Environment
}

// networkSpec is what a network is made from: with the file's subnet, else one
// of the host's pool, of which the lower half is the engine's.
func (r *Reconciler) networkSpec(app appLedger, n manifests.Network, existing []engine.Network) (engine.NetworkSpec, error) {
	spec := plan.NetworkSpec(n, r.cfg.Host.Name, app)
	if !plan.OwnSubnet(n) {
		return spec, nil
	}
	pool, err := netip.ParsePrefix(r.cfg.Host.NetworkPool)
	if err != nil {
		return spec, fmt.Errorf("parse network_pool %q of the host file: %w", r.cfg.Host.NetworkPool, err)
	}
	used := r.usedPrefixes(existing)
	err = r.host.update(func(h *ledger.Host) error {
		subnet, err := plan.AllocateSubnet(h, pool, n.Name, used)
		if err == nil {
			spec.Subnets = append(spec.Subnets, plan.Halves(subnet))
		}
		return err
	})
	return spec, err
}

// usedPrefixes are those that a new network must not overlap: the host's
// routes and the engine's networks.
func (r *Reconciler) usedPrefixes(existing []engine.Network) []netip.Prefix {
	var out []netip.Prefix
	if r.cfg.UsedPrefixes != nil {
		out = r.cfg.UsedPrefixes()
	}
	for _, n := range existing {
		for _, s := range n.Subnets {
			if p, err := netip.ParsePrefix(s.Subnet); err == nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// ensureNames gives each endpoint service its address on a network of ours,
// and makes the namespace that holds it.
func (r *Reconciler) ensureNames(ctx context.Context, app appLedger, n manifests.Network, found engine.Network, releases []ledger.Release) error {
	if !ours(found) || !r.proxied(found) {
		return nil
	}
	spec := engine.NamespaceSpec{Name: found.Name, Bridge: found.Bridge}
	err := r.host.update(func(h *ledger.Host) error {
		for _, rel := range releases {
			if !plan.HasServiceAddress(rel.Service, n.Key) {
				continue
			}
			if _, err := plan.AllocateAddress(h, found, plan.ServiceOwner(app.Environment, app.Name, rel.Service.Name), r.now()); err != nil {
				return err
			}
		}
		spec.Addresses, spec.Gateway = plan.ServiceAddresses(h, found)
		return nil
	})
	if err != nil {
		return fmt.Errorf("give service addresses on %s: %w", found.Name, err)
	}
	if len(spec.Addresses) == 0 {
		return nil
	}
	path, err := r.cfg.Namespaces.Ensure(ctx, spec)
	if err != nil {
		return fmt.Errorf("make service addresses on %s: %w", found.Name, err)
	}
	r.nets.set(found.Name, path)
	return nil
}

// ours says that remora made the network: its subnet's upper half is free for
// fixed addresses.
func ours(n engine.Network) bool { return n.Labels[engine.LabelHost] != "" }

// proxied says whether names on a network lead through the ambassador: it must
// be a local bridge, and remora must have the right to join it.
func (r *Reconciler) proxied(n engine.Network) bool {
	return !r.direct() && n.Driver == "bridge" && n.Bridge != ""
}

func (r *Reconciler) ensureVolume(ctx context.Context, app appLedger, v manifests.Volume) error {
	if v.External {
		return nil
	}
	if err := r.cfg.Engine.EnsureVolume(ctx, plan.VolumeSpec(v, r.cfg.Host.Name, app)); err != nil {
		return fmt.Errorf("make volume %s: %w", v.Name, err)
	}
	return nil
}

// freeAddresses gives a removed container's addresses back; they rest for a
// day.
func (r *Reconciler) freeAddresses(owner string) error {
	if owner == "" || strings.HasPrefix(owner, "service/") {
		return nil
	}
	held := false
	r.host.read(func(h *ledger.Host) { held = plan.Holds(h, owner) })
	if !held {
		return nil
	}
	return r.host.update(func(h *ledger.Host) error {
		plan.FreeAddresses(h, owner, r.now())
		plan.ForgetAddresses(h, r.now())
		return nil
	})
}

// networksOf identifies what ensureNetworks makes for an app: its networks,
// its volumes, and which services have an address where.
func networksOf(app appLedger) string {
	networks, volumes, releases := wantedOf(app)
	var addressed []string
	for _, rel := range releases {
		for _, n := range networks {
			if plan.HasServiceAddress(rel.Service, n.Key) {
				addressed = append(addressed, rel.Service.Name+"@"+n.Key)
			}
		}
	}
	slices.Sort(addressed)
	text, err := json.Marshal([]any{networks, volumes, addressed})
	if err != nil { // plain values only: cannot be
		panic(fmt.Sprintf("identify networks: %v", err))
	}
	return string(text)
}

// stand says that the networks and volumes of a rollout are on the engine, as
// it was read for the plan.
func stand(ro *ledger.Rollout, in plan.Input) bool {
	for _, n := range ro.Networks {
		if !slices.ContainsFunc(in.Networks, func(o engine.Network) bool { return o.Name == n.Name }) {
			return false
		}
	}
	for _, v := range ro.Volumes {
		if !slices.ContainsFunc(in.Volumes, func(o engine.Volume) bool { return o.Name == v.Name }) {
			return false
		}
	}
	return true
}
