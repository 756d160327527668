package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// candidateOOM is what a container that is not the first of its service gets
// on top of its own oom_score_adj, so that the one with the traffic is not
// the one that the kernel takes.
const candidateOOM = 200

// PayloadInput is everything that a container's create payload depends on.
type PayloadInput struct {
	// Host is this host's name.
	Host string
	// App is the app as the ledger knows it: identity, and the project.
	App ledger.App
	// Networks and Volumes of the app, as of the release's rollout.
	Networks []manifests.Network
	Volumes  []manifests.Volume
	Release  ledger.Release
	Instance ledger.Instance
	// Sources are the places on this host of the mounts that come from the
	// repository, the data folder or the file itself, by target.
	Sources map[string]string
	// Peers are the releases of the app's other services that belong with this
	// one (of the rollout, else active), by service; with Peer.Sources as
	// above where volumes_from needs them.
	Peers map[string]Peer
	// Owner is the ID of the container whose namespaces it joins
	// (network_mode, pid or ipc `service:x`); empty takes the peer's instance
	// with the same index.
	Owner string
	// Foreign are containers outside the app that volumes_from names.
	Foreign map[string]engine.Container
	// ServiceAddresses by network name and service.
	ServiceAddresses map[string]map[string]netip.Addr
	// Candidates are addresses that take the place of a service's own, by
	// service and network name: what an after-job tests.
	Candidates map[string]map[string]netip.Addr
	// DNS servers to be asked first.
	DNS []string
	// Direct says that this host has no service addresses.
	Direct bool
	// Candidate says that another release of the service is active.
	Candidate bool
}

// Peer is another service's release as a payload refers to it.
type Peer struct {
	Release   ledger.Release
	Instances []ledger.Instance
	Sources   map[string]string
}

// Payload returns what the instance's container is created from. Nothing of
// what it adds to the release enters the release's hash.
func Payload(in PayloadInput) (engine.Create, error) {
	p := &payload{PayloadInput: in, spec: in.Release.Service.Container}
	c := engine.Create{
		Name: in.Instance.Name, Spec: p.spec, Image: EngineImage(&in.Release),
		Labels: p.labels(), Env: p.environment(), Restart: "no",
	}
	var err error
	if c.NetworkMode, err = p.networkMode(); err != nil {
		return c, p.fail(err)
	}
	if c.PID, err = p.join("pid", p.spec.PID); err != nil {
		return c, p.fail(err)
	}
	if c.IPC, err = p.join("ipc", p.spec.IPC); err != nil {
		return c, p.fail(err)
	}
	if c.Mounts, err = p.mounts(); err != nil {
		return c, p.fail(err)
	}
	if p.ownNetwork(c.NetworkMode) {
		if c.Networks, err = p.endpoints(); err != nil {
			return c, p.fail(err)
		}
		c.ExtraHosts, c.DNS = p.extraHosts(), p.DNS
	}
	if in.Candidate {
		adj := min(1000, p.spec.Resources.OOMScoreAdj+candidateOOM)
		c.OOMScoreAdj = &adj
	}
	return c, nil
}

// payload is one payload being made.
type payload struct {
	PayloadInput
	spec manifests.Container
}

func (p *payload) fail(err error) error {
	return fmt.Errorf("service %s of %s: %w", p.Release.Service.Name, p.App.ID(), err)
}

// EngineImage is what the engine is asked for.
func EngineImage(r *ledger.Release) string { return r.Reference() }

// labels carry identity only. Compose's are as far as its ps and logs need
// them; watchtower's keeps it from recreating what is ours.
func (p *payload) labels() map[string]string {
	s := p.Release.Service
	l := map[string]string{
		engine.LabelHost: p.Host, engine.LabelSource: p.App.Source,
		engine.LabelEnvironment: p.App.Environment, engine.LabelApp: p.App.Name,
		engine.LabelService: s.Name, engine.LabelRelease: p.Release.ID, engine.LabelHostrev: p.Release.Hostrev,
		engine.LabelInstance: p.Instance.Key, engine.LabelIndex: strconv.Itoa(p.Instance.Index),
		engine.LabelDigest: p.Release.Digest, engine.LabelImage: s.Container.Image,

		engine.LabelComposeProject: p.App.Project, engine.LabelComposeService: s.Name,
		engine.LabelComposeNumber: strconv.Itoa(p.Instance.Index), engine.LabelComposeOneOff: "False",
		engine.LabelComposeHash: p.Release.ID,

		"com.centurylinklabs.watchtower.enable": "false",
	}
	maps.DeleteFunc(l, func(k, v string) bool { return v == "" && strings.HasPrefix(k, "remora.") })
	return l
}

// environment is what the container gets besides the manifest's own: what the
// host's env files hold, and who and where it is.
func (p *payload) environment() map[string]string {
	env := map[string]string{}
	maps.Copy(env, p.Release.Service.HostEnv)
	env["REMORA_HOST"], env["REMORA_RELEASE"], env["REMORA_INSTANCE"] = p.Host, p.Release.ID, p.Instance.Key
	return env
}

// ownNetwork says that the container has a network namespace of its own on
// networks of the app.
func (p *payload) ownNetwork(mode string) bool {
	return mode != "host" && mode != "none" && mode != "bridge" && !strings.HasPrefix(mode, "container:")
}

// networkMode is resolved: a mode of the engine, another container, or the
// first network.
func (p *payload) networkMode() (string, error) {
	mode := p.spec.NetworkMode
	if mode != "" {
		return p.join("network_mode", mode)
	}
	attachments := p.attachments()
	if len(attachments) == 0 {
		return "none", nil
	}
	n, err := p.network(attachments[0].Network)
	return n.Name, err
}

// join turns service:x into container:<id> of the instance with the same
// index.
func (p *payload) join(field, mode string) (string, error) {
	name, ok := strings.CutPrefix(mode, "service:")
	if !ok {
		return mode, nil
	}
	if p.Owner != "" {
		return "container:" + p.Owner, nil
	}
	peer, ok := p.Peers[name]
	if !ok {
		return "", fmt.Errorf("%s: %s: service %s has no release to join", field, mode, name)
	}
	for _, i := range peer.Instances {
		if i.Index == p.Instance.Index && i.Container != "" {
			return "container:" + i.Container, nil
		}
	}
	return "", fmt.Errorf("%s: %s: container %d of %s is not created yet", field, mode, p.Instance.Index, name)
}

// attachments are the service's networks, highest priority first.
func (p *payload) attachments() []manifests.Attachment {
	list := slices.Clone(p.spec.Networks)
	slices.SortStableFunc(list, func(a, b manifests.Attachment) int {
		if a.Priority != b.Priority {
			return b.Priority - a.Priority
		}
		return strings.Compare(a.Network, b.Network)
	})
	return list
}

func (p *payload) network(key string) (manifests.Network, error) {
	for _, n := range p.Networks {
		if n.Key == key {
			return n, nil
		}
	}
	return manifests.Network{}, fmt.Errorf("network %s is not one of the app's", key)
}

// endpoints are the container's places on its networks.
func (p *payload) endpoints() ([]engine.Endpoint, error) {
	var out []engine.Endpoint
	for _, at := range p.attachments() {
		n, err := p.network(at.Network)
		if err != nil {
			return nil, err
		}
		e := engine.Endpoint{
			Network: n.Name, Address: p.Instance.Addresses[n.Name], Aliases: p.aliases(at),
			LinkLocal: at.LinkLocal, MAC: at.MAC, DriverOpts: at.DriverOpts, GwPriority: at.GwPriority, Interface: at.Interface,
		}
		if err := fixed(&e.Address, at.IPv4); err != nil {
			return nil, fmt.Errorf("network %s: ipv4_address: %w", at.Network, err)
		}
		if err := fixed(&e.Address6, at.IPv6); err != nil {
			return nil, fmt.Errorf("network %s: ipv6_address: %w", at.Network, err)
		}
		if !e.Address6.IsValid() {
			e.Address6 = address6(subnet6(n), e.Address)
		}
		out = append(out, e)
	}
	return out, nil
}

// fixed takes the address that the file writes.
func fixed(to *netip.Addr, written string) error {
	if written == "" {
		return nil
	}
	a, err := netip.ParseAddr(written)
	if err == nil {
		*to = a
	}
	return err
}

// aliases are the engine's own names: none where the ambassador answers for
// the service.
func (p *payload) aliases(at manifests.Attachment) []string {
	if Proxied(p.Release, p.Direct) {
		return nil
	}
	names := slices.Concat([]string{p.Release.Service.Name}, p.Release.Service.Names, at.Aliases)
	slices.Sort(names)
	return slices.Compact(names)
}
