package plan

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// RebuildInput is what a lost ledger is made anew from.
type RebuildInput struct {
	// App is what the revision wants, Images and Key as in [Input].
	App      manifests.App
	Images   map[string]Image
	Key      []byte
	Revision string
	// Containers are all that the engine has; Table is the ambassador's own.
	Containers []engine.Container
	Table      traffic.Table
	Now        time.Time
}

// Rebuild makes an app's ledger anew from the labels of its containers and the
// ambassador's table, so that nothing is recreated for the loss: what has the
// traffic, or carries the restart policy, is active. One-shots that led to the
// releases which run now count as done.
func Rebuild(in RebuildInput) ledger.App {
	app := ledger.App{
		Version: ledger.Version, Source: in.App.Source, Environment: in.App.Environment, Name: in.App.Name,
		Project: in.App.Project, Services: map[string]*ledger.Service{},
		NetworkSpecs: usedNetworks(in.App), VolumeSpecs: usedVolumes(in.App),
	}
	b := &rebuilder{RebuildInput: in, app: &app}
	b.plan = &planner{Input: Input{App: in.App, Images: in.Images, Key: in.Key, Revision: in.Revision, Now: in.Now}}
	b.plan.resolve() // what cannot be resolved is found by its labels alone
	for service, sets := range b.sets() {
		b.service(service, sets)
	}
	for _, v := range app.VolumeSpecs {
		app.Volumes = append(app.Volumes, v.Name)
	}
	for _, n := range app.NetworkSpecs {
		app.Networks = append(app.Networks, n.Name)
	}
	b.jobs()
	return app
}

type rebuilder struct {
	RebuildInput
	app  *ledger.App
	plan *planner
}

// group is one release's containers as they were found.
type group struct {
	set        string // the table's name of it, else release and hostrev
	state      traffic.ReleaseState
	containers []engine.Container
}

// sets gathers our containers of the app by service and release.
func (b *rebuilder) sets() map[string][]*group {
	out := map[string][]*group{}
	list := slices.Clone(b.Containers)
	slices.SortFunc(list, func(x, y engine.Container) int {
		return cmp.Or(x.Created.Compare(y.Created), strings.Compare(x.ID, y.ID))
	})
	for _, c := range list {
		if !c.Ours() || c.AppID() != b.App.ID() {
			continue
		}
		service := c.Labels[engine.LabelService]
		name, state := b.inTable(service, c.ID)
		if name == "" {
			name = c.Labels[engine.LabelRelease] + " " + c.Labels[engine.LabelHostrev]
		}
		i := slices.IndexFunc(out[service], func(g *group) bool { return g.set == name })
		if i < 0 {
			out[service] = append(out[service], &group{set: name, state: state})
			i = len(out[service]) - 1
		}
		out[service][i].containers = append(out[service][i].containers, c)
	}
	return out
}

// inTable finds a container in the ambassador's table.
func (b *rebuilder) inTable(service, container string) (release string, state traffic.ReleaseState) {
	for _, s := range b.Table.Services {
		if s.Name != b.App.ID()+"/"+service {
			continue
		}
		for _, r := range s.Releases {
			if slices.ContainsFunc(r.Endpoints, func(e traffic.Endpoint) bool { return e.Container == container }) {
				return r.Name, r.State
			}
		}
	}
	return "", ""
}

// service gives each set its place.
func (b *rebuilder) service(name string, sets []*group) {
	s := &ledger.Service{Name: name}
	if want, ok := b.plan.want[name]; ok && want.Service.Kind == manifests.KindOneShot {
		s.Jobs = jobsOf(sets)
		b.app.Services[name] = s
		return
	}
	active := activeOf(sets)
	for _, g := range sets {
		d := b.deployed(name, g)
		switch {
		case g == active:
			s.Active = d
			s.Promoted = slices.Insert(s.Promoted, 0, d.Release)
			for _, i := range d.Instances {
				keepAnonymous(s, i)
			}
		case g.state == traffic.Standby && s.Standby == nil:
			d.Until, d.Drained = b.Now.Add(d.Service.Standby.For), true
			d.Frozen = g.containers[0].State == engine.Paused
			s.Standby = d
			s.Promoted = append(s.Promoted, d.Release)
		default:
			d.Place = ledger.ToRemoval
			s.Leaving = append(s.Leaving, d)
		}
	}
	b.app.Services[name] = s
}

// activeOf is the set that has the traffic, else the one that the engine would
// bring back after a reboot, else the newest that runs.
func activeOf(sets []*group) *group {
	score := func(g *group) int {
		n := 0
		for _, c := range g.containers {
			if c.State == engine.Running {
				n = 1
			}
			if c.Restart != "" && c.Restart != "no" {
				return 2
			}
		}
		return n
	}
	var best *group
	for _, g := range sets {
		if g.state == traffic.Active {
			return g
		}
		if g.state == "" && score(g) > 0 && (best == nil || score(g) >= score(best)) {
			best = g
		}
	}
	return best
}

// deployed is a set as the ledger has it: with the whole release where it is
// the wanted one, else as far as labels tell.
func (b *rebuilder) deployed(name string, g *group) *ledger.Deployed {
	first := g.containers[0]
	r, ok := b.plan.want[name]
	if !ok || r.ID != first.Labels[engine.LabelRelease] {
		r = b.fromLabels(name, first)
	}
	r.Hostrev, r.ImageID = first.Labels[engine.LabelHostrev], first.ImageID
	d := &ledger.Deployed{Release: r, Since: b.Now}
	if _, set, ok := strings.Cut(g.set, "."); ok {
		d.Set = set
	}
	for _, c := range g.containers {
		d.Instances = append(d.Instances, instanceOf(c))
	}
	slices.SortFunc(d.Instances, func(x, y ledger.Instance) int { return x.Index - y.Index })
	return d
}

// keepAnonymous keeps the volumes without a name for the index's next
// container.
func keepAnonymous(s *ledger.Service, i ledger.Instance) {
	if len(i.Anonymous) == 0 {
		return
	}
	if s.Anonymous == nil {
		s.Anonymous = map[int]map[string]string{}
	}
	s.Anonymous[i.Index] = i.Anonymous
}

func (b *rebuilder) fromLabels(name string, c engine.Container) ledger.Release {
	r := ledger.Release{ID: c.Labels[engine.LabelRelease], Digest: c.Labels[engine.LabelDigest]}
	if want, ok := b.plan.want[name]; ok {
		r.Service = want.Service
	}
	r.Service.Name = name
	r.Service.Container.Image = c.Labels[engine.LabelImage]
	r.HostLocal = r.Digest == ""
	r.Tag = Tag(r.Service.Container.Image, r.Digest)
	return r
}

// instanceOf is a container as the ledger has it; its addresses stay with the
// engine, which knows them of the container that takes its place, too.
func instanceOf(c engine.Container) ledger.Instance {
	i := ledger.Instance{
		Name: c.Name, Container: c.ID, Key: c.Labels[engine.LabelInstance], Restart: c.Restart,
		Epoch: c.Started, Restarts: c.RestartCount, Index: indexOf(c),
	}
	for _, m := range c.Mounts {
		if m.Type != "volume" || !nameless(m.Name) {
			continue
		}
		if i.Anonymous == nil {
			i.Anonymous = map[string]string{}
		}
		i.Anonymous[m.Target] = m.Name
	}
	return i
}

// nameless says that the engine made a volume's name up: 64 hex digits.
func nameless(volume string) bool {
	return len(volume) == 64 && strings.Trim(volume, "0123456789abcdef") == ""
}

func indexOf(c engine.Container) int {
	n, err := strconv.Atoi(c.Labels[engine.LabelIndex])
	if err != nil {
		return 1
	}
	return n
}

// jobsOf are the runs of a one-shot whose containers are still there.
func jobsOf(sets []*group) map[string]ledger.Job {
	out := map[string]ledger.Job{}
	for _, g := range sets {
		for _, c := range g.containers {
			job := ledger.Job{State: ledger.JobRunning, Instance: instanceOf(c), ExitCode: c.ExitCode, Began: c.Started, Ended: c.Finished, Launched: !c.Started.IsZero()}
			switch {
			case c.State == engine.Created:
				continue
			case c.State == engine.Exited && c.ExitCode == 0:
				job.State = ledger.JobDone
			case c.State == engine.Exited || c.State == engine.Dead:
				job.State = ledger.JobFailed
			}
			out[c.Labels[engine.LabelRelease]] = job
		}
	}
	return out
}

// jobs marks the one-shots as done without which what runs now would not run:
// a migration is never repeated for a lost ledger.
func (b *rebuilder) jobs() {
	for name, want := range b.plan.want {
		if want.Service.Kind != manifests.KindOneShot || !b.ledTo(name) {
			continue
		}
		s := b.app.Services[name]
		if s == nil {
			s = &ledger.Service{Name: name}
			b.app.Services[name] = s
		}
		if s.Jobs == nil {
			s.Jobs = map[string]ledger.Job{}
		}
		if _, known := s.Jobs[want.ID]; !known {
			s.Jobs[want.ID] = ledger.Job{State: ledger.JobDone, Ended: b.Now, Revision: b.Revision}
		}
	}
}

// ledTo says that everything that waits for a one-shot, or the whole app where
// nothing does, runs in its wanted release.
func (b *rebuilder) ledTo(job string) bool {
	waits, running := 0, 0
	for name, want := range b.plan.want {
		if want.Service.Kind == manifests.KindOneShot {
			continue
		}
		runs := b.app.Services[name] != nil && b.app.Services[name].Active != nil && b.app.Services[name].Active.ID == want.ID
		if !runs {
			if dependsOn(want.Service, job) {
				return false
			}
			continue
		}
		running++
		if dependsOn(want.Service, job) {
			waits++
		}
	}
	all := 0
	for _, want := range b.plan.want {
		if want.Service.Kind != manifests.KindOneShot {
			all++
		}
	}
	return waits > 0 || running == all && all > 0
}

func dependsOn(s manifests.Service, name string) bool {
	return slices.ContainsFunc(s.DependsOn, func(d manifests.Dependency) bool { return d.Service == name })
}

// RebuildHost makes the shared part of a lost ledger anew: digests that
// references were resolved to, subnets, addresses, ports and who has what.
func RebuildHost(containers []engine.Container, networks []engine.Network, table traffic.Table, now time.Time) ledger.Host {
	h := ledger.Host{
		Version: ledger.Version,
		Digests: map[string]ledger.Digest{}, Subnets: map[string]netip.Prefix{}, Ports: map[string]uint16{}, Claims: map[string]string{},
	}
	for i := range containers {
		c := &containers[i]
		if !c.Ours() {
			continue
		}
		h.Claims["project/"+c.Labels[engine.LabelComposeProject]] = c.AppID()
		image, digest := c.Labels[engine.LabelImage], c.Labels[engine.LabelDigest]
		if digest != "" && (c.Restart != "no" || h.Digests[image].Digest == "") {
			h.Digests[image] = ledger.Digest{Digest: digest, ResolvedAt: now}
		}
		for network, a := range c.Addresses {
			record(&h, network, a, c.Name)
		}
	}
	for _, n := range networks {
		if p := subnetOf(n); p.IsValid() && n.Labels[engine.LabelApp] != "" {
			h.Subnets[n.Name] = p
		}
	}
	for _, l := range table.Listeners {
		rebuildListener(&h, l)
	}
	return h
}

// rebuildListener reads from a listener who has its address, port and routes.
func rebuildListener(h *ledger.Host, l traffic.Listener) {
	kind := "route"
	if l.Protocol == traffic.TLS {
		kind = "tls"
		rebuildNames(h, l)
	}
	for _, r := range l.Routes {
		app := r.Service[:max(0, strings.LastIndexByte(r.Service, '/'))]
		switch {
		case r.Service == acmeService:
		case l.Namespace != "":
			record(h, l.Namespace, l.Address, "service/"+r.Service)
		case r.Host != "":
			h.Claims[kind+"/:"+strconv.Itoa(int(l.Port))+"/"+r.Host+"/"+strings.TrimPrefix(r.Path, "/")] = app
		case l.Port >= firstPort && l.Port < firstPort+portCount:
			h.Ports[r.Service+"/"+strconv.Itoa(int(r.Port))] = l.Port
		default:
			ip := ""
			if l.Address.IsValid() && !l.Address.IsUnspecified() {
				ip = l.Address.String()
			}
			h.Claims[portClaim("", ip, l.Port, "tcp").key] = app
		}
	}
}
