package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/docker/docker/api/types/network"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

// Networks returns all networks, sorted by name, with the addresses of their
// containers: the configured ones of those that do not run.
func (e *Engine) Networks(ctx context.Context) ([]engine.Network, error) {
	all, err := e.listNetworks(ctx)
	if err != nil {
		return nil, err
	}
	containers, err := e.Containers(ctx)
	if err != nil {
		return nil, fmt.Errorf("list networks: %w", err)
	}
	addresses := map[string]map[string]netip.Addr{}
	for i := range containers {
		for name, a := range containers[i].Addresses {
			if addresses[name] == nil {
				addresses[name] = map[string]netip.Addr{}
			}
			addresses[name][containers[i].ID] = a
		}
	}
	for i := range all {
		all[i].Addresses = addresses[all[i].Name]
	}
	return all, nil
}

func (e *Engine) listNetworks(ctx context.Context) ([]engine.Network, error) {
	if n := e.cache.cachedNetworks(); n != nil {
		return n, nil
	}
	return ask(ctx, e, "list networks", func(ctx context.Context) ([]engine.Network, error) {
		mark := e.cache.networkMark()
		all, err := e.client().NetworkList(ctx, network.ListOptions{})
		if err != nil {
			return nil, err
		}
		out := make([]engine.Network, 0, len(all))
		for i := range all {
			out = append(out, convertNetwork(&all[i]))
		}
		slices.SortFunc(out, func(a, b engine.Network) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
		e.cache.setNetworks(mark, out)
		return slices.Clone(out), nil
	})
}

func convertNetwork(n *network.Summary) engine.Network {
	out := engine.Network{
		ID: n.ID, Name: n.Name, Driver: n.Driver, Scope: n.Scope, Internal: n.Internal, Labels: n.Labels, IPv6: n.EnableIPv6,
	}
	if n.Driver == "bridge" {
		out.Bridge = cmp.Or(n.Options["com.docker.network.bridge.name"], "br-"+short(n.ID))
	}
	for _, c := range n.IPAM.Config {
		out.Subnets = append(out.Subnets, manifests.Subnet{
			Subnet: c.Subnet, Range: c.IPRange, Gateway: c.Gateway, Auxiliary: c.AuxAddress,
		})
	}
	return out
}

// EnsureNetwork makes a network, or returns the one of that name if it is the
// one that is wanted: one of the same app with the same driver and subnets. A
// different one is engine.ErrConflict, and is left alone.
func (e *Engine) EnsureNetwork(ctx context.Context, spec engine.NetworkSpec) (engine.Network, error) {
	return call(ctx, "make network "+spec.Name, func() (engine.Network, error) {
		have, err := e.network(ctx, spec.Name)
		if err == nil {
			return have, sameNetwork(spec, have)
		}
		if !errors.Is(err, engine.ErrNotFound) {
			return engine.Network{}, err
		}
		if _, err := e.client().NetworkCreate(ctx, spec.Name, networkOptions(spec)); err != nil {
			return engine.Network{}, err
		}
		e.cache.touchNetworks()
		have, err = e.network(ctx, spec.Name)
		if err != nil {
			return engine.Network{}, err
		}
		return have, sameNetwork(spec, have)
	})
}

func networkOptions(spec engine.NetworkSpec) network.CreateOptions {
	o := network.CreateOptions{
		Driver: cmp.Or(spec.Driver, "bridge"), Options: spec.DriverOpts, Labels: spec.Labels,
		Internal: spec.Internal, Attachable: spec.Attachable,
		IPAM: &network.IPAM{Driver: cmp.Or(spec.IPAM, "default"), Options: spec.IPAMOpts},
	}
	if spec.IPv6 {
		o.EnableIPv6 = &spec.IPv6
	}
	for _, s := range spec.Subnets {
		o.IPAM.Config = append(o.IPAM.Config, network.IPAMConfig{
			Subnet: s.Subnet, IPRange: s.Range, Gateway: s.Gateway, AuxAddress: s.Auxiliary,
		})
	}
	return o
}

// network is the one network of that name; names are not unique to the
// engine, and to guess would put containers on a stranger's.
func (e *Engine) network(ctx context.Context, name string) (engine.Network, error) {
	all, err := e.client().NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return engine.Network{}, classify(err)
	}
	var found []engine.Network
	for i := range all {
		if all[i].Name == name {
			found = append(found, convertNetwork(&all[i]))
		}
	}
	switch len(found) {
	case 0:
		return engine.Network{}, fmt.Errorf("%w: network %s", engine.ErrNotFound, name)
	case 1:
		return found[0], nil
	default:
		return engine.Network{}, fmt.Errorf("%w: the engine has %d networks named %s (%s, %s): remove those that are not used",
			engine.ErrConflict, len(found), name, short(found[0].ID), short(found[1].ID))
	}
}

// identity are the labels that say whose a network or volume is.
var identity = []string{
	engine.LabelEnvironment, engine.LabelApp,
	engine.LabelComposeProject, engine.LabelComposeNetwork, engine.LabelComposeVolume,
}

// sameNetwork says how have differs from what is wanted.
func sameNetwork(spec engine.NetworkSpec, have engine.Network) error {
	differs := func(what, want, got string) error {
		return fmt.Errorf("%w: network %s exists with %s %q, not %q: rename it in the file, or remove it",
			engine.ErrConflict, spec.Name, what, got, want)
	}
	for _, label := range identity {
		if want, got := spec.Labels[label], have.Labels[label]; want != got {
			return differs("label "+label, want, got)
		}
	}
	switch want := cmp.Or(spec.Driver, "bridge"); {
	case want != have.Driver:
		return differs("driver", want, have.Driver)
	case spec.Internal != have.Internal:
		return differs("internal", fmt.Sprint(spec.Internal), fmt.Sprint(have.Internal))
	}
	for _, s := range spec.Subnets {
		if !slices.ContainsFunc(have.Subnets, func(h manifests.Subnet) bool { return h.Subnet == s.Subnet && h.Range == s.Range }) {
			return differs("subnets", fmt.Sprintf("%s (range %s)", s.Subnet, s.Range), fmt.Sprint(have.Subnets))
		}
	}
	return nil
}

// Connect joins a container to a network; one that is on it is left alone.
func (e *Engine) Connect(ctx context.Context, name, id string, at engine.Endpoint) error {
	defer e.cache.touch(id)
	return do(ctx, fmt.Sprintf("connect container %s to network %s", short(id), name), func() error {
		have, err := e.client().ContainerInspect(ctx, id)
		if err != nil {
			return err
		}
		if _, joined := have.NetworkSettings.Networks[name]; joined {
			return nil
		}
		settings, err := e.endpoint(ctx, at)
		if err != nil {
			return err
		}
		return e.client().NetworkConnect(ctx, name, id, settings)
	})
}

// endpoint translates an endpoint outside a create payload.
func (e *Engine) endpoint(ctx context.Context, at engine.Endpoint) (*network.EndpointSettings, error) {
	facts, err := e.payloadFacts(ctx)
	if err != nil {
		return nil, err
	}
	p := payload{facts: facts}
	settings := p.endpoint(at, false, nil)
	return settings, errors.Join(p.errs...)
}

// Disconnect takes a container off a network; one that is not on it, or gone,
// is left alone.
func (e *Engine) Disconnect(ctx context.Context, name, id string) error {
	defer e.cache.touch(id)
	return do(ctx, fmt.Sprintf("disconnect container %s from network %s", short(id), name), func() error {
		have, err := e.client().ContainerInspect(ctx, id)
		if err = classify(err); errors.Is(err, engine.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, joined := have.NetworkSettings.Networks[name]; !joined {
			return nil
		}
		return e.client().NetworkDisconnect(ctx, name, id, true)
	})
}

// RemoveNetwork removes a network that nothing is on; engine.ErrConflict where
// something is, engine.ErrNotFound where it is gone.
func (e *Engine) RemoveNetwork(ctx context.Context, name string) error {
	defer e.cache.touchNetworks()
	return do(ctx, "remove network "+name, func() error {
		n, err := e.network(ctx, name)
		if err != nil {
			return err
		}
		return e.client().NetworkRemove(ctx, n.ID)
	})
}
