package reconciler

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/plan"
	"github.com/remorahq/remora/reconciler/rollout"
)

// payload makes the create payload of an instance: its addresses are given and
// written down first.
func (r *Reconciler) payload(ctx context.Context, app appLedger, a rollout.Action) (engine.Create, error) {
	networks, err := r.cfg.Engine.Networks(ctx)
	if err != nil {
		return engine.Create{}, fmt.Errorf("list networks: %w", err)
	}
	in, err := r.payloadInput(app, a)
	if err != nil {
		return engine.Create{}, err
	}
	if in.Instance.Addresses, err = r.giveAddresses(in, networks); err != nil {
		return engine.Create{}, err
	}
	c, err := plan.Payload(in)
	maps.Copy(c.Env, a.Env)
	return c, err
}

// describe makes the create payload for people: addresses are those that the
// instance has already, and what the host's env files say is left out.
func (r *Reconciler) describe(app appLedger, a rollout.Action) (engine.Create, error) {
	in, err := r.payloadInput(app, a)
	if err != nil {
		return engine.Create{}, err
	}
	// What comes from env files of the host is the host's secret.
	hidden := make(map[string]string, len(in.Release.Service.HostEnv))
	for key := range in.Release.Service.HostEnv {
		hidden[key] = "***"
	}
	in.Release.Service.HostEnv = hidden
	return plan.Payload(in)
}

// payloadInput gathers what a payload depends on.
func (r *Reconciler) payloadInput(app appLedger, a rollout.Action) (plan.PayloadInput, error) {
	if a.Deployed == nil {
		return plan.PayloadInput{}, fmt.Errorf("create %s: no release is given", a.Instance.Name)
	}
	networks, volumes, _ := wantedOf(app)
	in := plan.PayloadInput{
		Host: r.cfg.Host.Name, App: app, Networks: networks, Volumes: volumes, Release: a.Deployed.Release, Instance: a.Instance,
		Foreign: r.foreign(a.Deployed.Service.Container.VolumesFrom), Direct: r.direct(),
		ServiceAddresses: r.serviceAddresses(app), Candidate: isCandidate(app, a), Owner: a.Owner,
	}
	var err error
	if in.Sources, err = r.sourcesOf(app, &a.Deployed.Release); err != nil {
		return in, err
	}
	in.Peers = plan.Peers(app, a.Service, a.Deployed.Release, in.Candidate)
	for _, name := range in.Release.Service.Container.VolumesFrom {
		name, _, _ := strings.Cut(name, ":")
		peer, ok := in.Peers[name]
		if !ok {
			continue
		}
		if peer.Sources, err = r.sourcesOf(app, &peer.Release); err != nil {
			return in, err
		}
		in.Peers[name] = peer
	}
	return in, nil
}

// isCandidate says that another release of the service has the traffic.
func isCandidate(app appLedger, a rollout.Action) bool {
	s := app.Services[a.Service]
	return s != nil && s.Active != nil && !s.Active.Same(a.Deployed)
}

// sourcesOf puts a release's content on disk, if it is not there yet, and
// returns where, by target.
func (r *Reconciler) sourcesOf(app appLedger, rel *ledger.Release) (map[string]string, error) {
	r.pruning.RLock()
	defer r.pruning.RUnlock()
	out := map[string]string{}
	root := r.rootOf(app)
	for _, m := range rel.Service.Container.Mounts {
		path, err := r.mountSource(mountInput{project: app.Project, live: r.live(app.Source), root: root, files: rel.Service.Files}, m)
		if err != nil {
			return nil, fmt.Errorf("mount %s of %s: %w", m.Target, rel.Service.Name, err)
		}
		if path != "" {
			out[m.Target] = path
		}
	}
	return out, nil
}

// rootOf is the folder of the revision in force of the app's source: content
// that is on disk already does not need it.
func (r *Reconciler) rootOf(app appLedger) string {
	f := r.sources[app.Source]
	if f == nil {
		return ""
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.inForce.Folder
}

// live says that a source is a local folder.
func (r *Reconciler) live(source string) bool {
	f := r.sources[source]
	return f != nil && f.src.Folder != ""
}

// mountInput is what the mounts of one service depend on: the app's project,
// whether the source is a local folder, where the revision's files lie, those
// of the release, and what the app has mounted so far (nil is not counted).
type mountInput struct {
	project string
	live    bool
	root    string
	files   []manifests.File
	spent   *Spent
}

// mountSource returns where a mount's content lies on this host; empty for a
// mount whose source needs no preparing.
func (r *Reconciler) mountSource(in mountInput, m manifests.Mount) (string, error) {
	switch m.Kind {
	case manifests.MountRepo:
		if in.live {
			return liveSource(in.root, m)
		}
		f, ok := fileOf(in.files, m)
		if !ok {
			return "", fmt.Errorf("%s is not a file of the release", m.Source)
		}
		return r.cfg.Content.Materialize(in.root, f, m, in.spent)
	case manifests.MountInline:
		return r.cfg.Content.Inline(m)
	case manifests.MountData:
		return r.cfg.Content.DataDir(in.project, m.Source)
	}
	return "", nil
}

// fileOf is the repository's file or folder that a mount shows.
func fileOf(files []manifests.File, m manifests.Mount) (manifests.File, bool) {
	i := slices.IndexFunc(files, func(f manifests.File) bool { return f.Path == m.Source })
	if i < 0 {
		return manifests.File{}, false
	}
	return files[i], true
}

// liveSource is a path of a local folder itself; a folder that is missing is
// made, as Compose does.
func liveSource(root string, m manifests.Mount) (string, error) {
	full := filepath.Join(root, filepath.FromSlash(m.Source))
	_, err := os.Stat(full)
	if errors.Is(err, fs.ErrNotExist) && m.Create {
		err = os.MkdirAll(full, 0o755)
	}
	return full, err
}

// giveAddresses gives an instance its addresses on the networks that remora
// made, and writes them down.
func (r *Reconciler) giveAddresses(in plan.PayloadInput, networks []engine.Network) (map[string]netip.Addr, error) {
	out := maps.Clone(in.Instance.Addresses)
	if out == nil {
		out = map[string]netip.Addr{}
	}
	err := r.host.update(func(h *ledger.Host) error {
		for _, n := range addressed(in, networks) {
			addr, err := plan.AllocateAddress(h, n, in.Instance.Name, r.now())
			if err != nil {
				return err
			}
			out[n.Name] = addr
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("give %s an address: %w", in.Instance.Name, err)
	}
	return out, nil
}

// addressed are the networks on which the instance gets an address of ours:
// those that remora made, unless the file fixes one.
func addressed(in plan.PayloadInput, networks []engine.Network) []engine.Network {
	var out []engine.Network
	for _, at := range in.Release.Service.Container.Networks {
		for _, n := range in.Networks {
			if n.Key != at.Network || at.IPv4 != "" {
				continue
			}
			i := slices.IndexFunc(networks, func(o engine.Network) bool { return o.Name == n.Name })
			if i >= 0 && ours(networks[i]) {
				out = append(out, networks[i])
			}
		}
	}
	return out
}

// serviceAddresses are the app's service addresses by network and service.
func (r *Reconciler) serviceAddresses(app appLedger) map[string]map[string]netip.Addr {
	out := map[string]map[string]netip.Addr{}
	r.host.read(func(h *ledger.Host) {
		for network, addrs := range h.Addresses {
			for addr, holder := range addrs {
				service, ok := strings.CutPrefix(holder.Owner, plan.ServiceOwner(app.Environment, app.Name, ""))
				if !ok {
					continue
				}
				if out[network] == nil {
					out[network] = map[string]netip.Addr{}
				}
				out[network][service] = addr
			}
		}
	})
	return out
}

// foreign are the containers outside the app that volumes_from names.
func (r *Reconciler) foreign(from []string) map[string]engine.Container {
	out := map[string]engine.Container{}
	for _, f := range from {
		rest, ok := strings.CutPrefix(f, "container:")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(rest, ":")
		if c, found := r.findContainer(name); found {
			out[name] = c
		}
	}
	return out
}
