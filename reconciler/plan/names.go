package plan

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// Proxied says whether a service's name leads to the ambassador: the manifest
// gives it an endpoint, it has a network of its own, and neither the file nor
// the host leaves its name to the engine.
func Proxied(r ledger.Release, direct bool) bool {
	s := &r.Service
	return !direct && !s.NamesDirect && s.Kind == manifests.KindEndpoint &&
		s.Container.NetworkMode == "" && len(s.Container.Networks) > 0 && len(r.Ports()) > 0
}

// extraHosts gives the container the names that the app's file knows, with the
// service addresses they lead to. What the file itself writes goes first.
func (p *payload) extraHosts() []string {
	written := map[string]bool{}
	for _, h := range p.spec.ExtraHosts {
		name, _, _ := strings.Cut(h, ":")
		if n, _, ok := strings.Cut(h, "="); ok {
			name = n
		}
		written[name] = true
	}
	hosts := map[string]netip.Addr{}
	for _, name := range sortedPeers(p.Peers) {
		p.addNames(hosts, p.Peers[name].Release)
	}
	p.addNames(hosts, p.Release)
	p.addLinks(hosts)
	var out []string
	for name, addr := range hosts {
		if !written[name] {
			out = append(out, name+":"+addr.String())
		}
	}
	slices.Sort(out)
	return out
}

func sortedPeers(peers map[string]Peer) []string {
	var out []string
	for name := range peers {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// addNames gives a service's names the address on the first network that the
// container shares with it.
func (p *payload) addNames(hosts map[string]netip.Addr, r ledger.Release) {
	for _, at := range p.attachments() {
		i := slices.IndexFunc(r.Service.Container.Networks, func(o manifests.Attachment) bool { return o.Network == at.Network })
		if i < 0 {
			continue
		}
		addr, ok := p.address(at.Network, r)
		if !ok {
			continue
		}
		for _, name := range slices.Concat([]string{r.Service.Name}, r.Service.Names, r.Service.Container.Networks[i].Aliases) {
			if _, taken := hosts[name]; !taken {
				hosts[name] = addr
			}
		}
	}
}

// address is where a service is reached on a network: its candidate's own
// address for an after-job, else the service address.
func (p *payload) address(key string, r ledger.Release) (netip.Addr, bool) {
	n, err := p.network(key)
	if err != nil {
		return netip.Addr{}, false
	}
	if addr, ok := p.Candidates[r.Service.Name][n.Name]; ok {
		return addr, true
	}
	if !Proxied(r, p.Direct) {
		return netip.Addr{}, false
	}
	addr, ok := p.ServiceAddresses[n.Name][r.Service.Name]
	return addr, ok
}

// addLinks gives the aliases of `links` the same addresses.
func (p *payload) addLinks(hosts map[string]netip.Addr) {
	for _, link := range p.spec.Links {
		service, alias, ok := strings.Cut(link, ":")
		if !ok {
			alias = service
		}
		if addr, known := hosts[service]; known {
			hosts[alias] = addr
		}
	}
}
