package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
	"github.com/remorahq/remora/reconciler/rollout"
)

// host is an engine and an ambassador on which every container does well.
type host struct {
	t          *rapid.T
	now        time.Time
	app        ledger.App
	shared     ledger.Host
	containers map[string]engine.Container
	pulled     map[string]bool
	networks   bool
	granted    bool
	applied    []traffic.Service
	n          int
}

// TestPlansAreCarriedOut: whatever the sequence of revisions, the rollout
// carries each plan out; no name is taken twice, no stop-first service runs
// twice, every published port leads somewhere, and nothing is left to do.
func TestPlansAreCarriedOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &host{t: t, now: noon, containers: map[string]engine.Container{}, pulled: map[string]bool{}}
		h.app = ledger.App{Environment: "production", Name: "shop", Project: "shop", Source: "main"}
		for n := range rapid.IntRange(1, 4).Draw(t, "revisions") {
			in := h.input(anyApp(t), n)
			for again := 0; ; again++ {
				r := Plan(in)
				if r.Hold != nil && r.Hold.Reason == status.LoadFailed {
					t.Skip("a unit waits for itself by way of another service")
				}
				if r.Hold != nil || again > 2 {
					t.Fatalf("revision %d is held, or goes on for ever: %v\n%s", n, r.Hold, shown(r))
				}
				if r.NoChange {
					break
				}
				t.Logf("revision %d: %+v\n%s", n, kindsOf(in.App), shown(r))
				h.app = rollout.Begin(h.app, *r.Rollout(in, status.Actor{}, ""), h.now)
				h.roll()
				in = h.input(in.App, n)
			}
			h.check(in.App)
		}
	})
}

func (h *host) input(app manifests.App, n int) Input {
	in := input(app, h.app)
	in.ID, in.Now, in.Revision = fmt.Sprintf("r%d", h.n), h.now, fmt.Sprintf("main@sha1:%d", n)
	in.Containers = slices.Collect(maps.Values(h.containers))
	in.Host = h.shared
	h.n++
	return in
}

// roll steps until the rollout has ended.
func (h *host) roll() {
	h.networks, h.granted = false, false
	for range 2000 {
		d := rollout.Step(h.app, h.observe())
		h.app = d.App
		if h.app.Rollout == nil && !d.Changed && len(d.Actions) == 0 {
			if h.app.Last.Reason != status.Succeeded {
				h.t.Fatalf("ended as %s: %s", h.app.Last.Reason, h.app.Last.Message)
			}
			return
		}
		for _, a := range d.Actions {
			h.act(a)
		}
		backends := rollout.Traffic(h.app, h.containers)
		moved := !reflect.DeepEqual(backends, h.applied)
		h.applied = backends
		h.exclusive()
		if !d.Changed && len(d.Actions) == 0 && !moved {
			if d.Wake.IsZero() {
				h.t.Fatalf("stuck in %+v", h.app.Rollout)
			}
			h.now = d.Wake
		}
		h.now = h.now.Add(time.Millisecond)
	}
	h.t.Fatalf("no end: %s %s", h.app.Rollout.Phase, place(h.app.Rollout))
}

func place(r *ledger.Rollout) string {
	if r.Wave < len(r.Waves) {
		return fmt.Sprintf("wave %d %s", r.Wave, r.Waves[r.Wave].Step)
	}
	return ""
}

// observe reports every endpoint good and every leaving release drained.
func (h *host) observe() rollout.Observation {
	backends := rollout.Traffic(h.app, h.containers)
	obs := rollout.Observation{
		Now: h.now, Containers: maps.Clone(h.containers), Pulled: h.pulled, Networks: h.networks, Granted: h.granted,
		BootID: "b", EngineStart: "e", StopRespect: time.Minute, Traffic: map[string]map[string]traffic.ReleaseReport{},
		Applied: reflect.DeepEqual(backends, h.applied),
	}
	for _, s := range h.applied {
		obs.Traffic[s.Name] = map[string]traffic.ReleaseReport{}
		for _, r := range s.Releases {
			rep := traffic.ReleaseReport{Name: r.Name, State: r.State, Drained: true, RequestsDrained: true}
			for _, e := range r.Endpoints {
				rep.Endpoints = append(rep.Endpoints, traffic.EndpointReport{Container: e.Container, Started: e.Started, Warm: true, Good: true, LastCheck: h.now})
			}
			obs.Traffic[s.Name][r.Name] = rep
		}
	}
	return obs
}

func (h *host) act(a rollout.Action) {
	c, there := h.containers[a.Container]
	switch a.Kind {
	case rollout.Acquire:
		h.granted = true
	case rollout.Pull:
		h.pulled[a.Image] = true
	case rollout.Network:
		h.networks = true
	case rollout.Create:
		h.create(a)
		return
	case rollout.Remove:
		delete(h.containers, a.Container)
		FreeAddresses(&h.shared, a.Instance.Name, h.now)
		return
	case rollout.Start, rollout.Unpause:
		c.State = engine.Running
		if a.Kind == rollout.Start {
			c.Started = h.now
			if h.oneShot(a.Service) {
				c.State, c.Finished = engine.Exited, h.now
			}
		}
	case rollout.Pause:
		c.State = engine.Paused
	case rollout.Stop, rollout.Kill:
		c.State, c.Finished = engine.Exited, h.now
	case rollout.SetRestart:
		c.Restart = a.Policy
	case rollout.Rename:
		h.nameFree(a.Name, a.Container)
		c.Name = a.Name
	}
	if there {
		h.containers[c.ID] = c
	}
}

func (h *host) oneShot(service string) bool {
	c := h.app.Rollout
	return c != nil && c.Changes[service] != nil && c.Changes[service].Action == ledger.Run
}

func (h *host) nameFree(name, except string) {
	for id, c := range h.containers {
		if c.Name == name && id != except {
			h.t.Fatalf("name %s is taken by %s", name, id)
		}
	}
}

// create makes the container of the plan's own payload.
func (h *host) create(a rollout.Action) {
	candidate := h.app.Services[a.Service] != nil && h.app.Services[a.Service].Active != nil
	p, err := Payload(PayloadInput{
		Host: "h", App: h.app, Networks: h.app.Rollout.Networks, Volumes: h.app.Rollout.Volumes, Release: a.Deployed.Release, Instance: a.Instance,
		Owner: a.Owner, Candidate: candidate, Peers: Peers(h.app, a.Service, a.Deployed.Release, candidate),
	})
	if err != nil {
		h.t.Fatalf("payload: %v", err)
	}
	h.nameFree(p.Name, "")
	h.n++
	c := engine.Container{
		ID: fmt.Sprintf("id%d", h.n), Name: p.Name, Image: p.Image, Labels: p.Labels, State: engine.Created, Restart: p.Restart,
		Created: h.now, NetworkMode: p.NetworkMode, Addresses: map[string]netip.Addr{},
	}
	for _, m := range p.Mounts {
		c.Mounts = append(c.Mounts, engine.Observed{Type: m.Type, Name: m.Source, Target: m.Target, Writable: !m.ReadOnly})
	}
	n := network("10.210.0.0/24")
	for _, e := range p.Networks {
		addr, err := AllocateAddress(&h.shared, n, p.Name, h.now)
		if err != nil {
			h.t.Fatal(err)
		}
		c.Addresses[e.Network] = addr
	}
	h.containers[c.ID] = c
}

// exclusive: at no moment do two releases of a stop-first service run.
func (h *host) exclusive() {
	runs := map[string]string{}
	for _, c := range h.containers {
		service, release := c.Labels[engine.LabelService], c.Labels[engine.LabelRelease]
		if c.State != engine.Running && c.State != engine.Paused || !h.stopFirst(service) {
			continue
		}
		if other, ok := runs[service]; ok && other != release {
			h.t.Fatalf("two releases of %s run: %s and %s", service, Short(other), Short(release))
		}
		runs[service] = release
	}
}

func (h *host) stopFirst(service string) bool {
	s := h.app.Services[service]
	return s != nil && s.Active != nil && s.Active.Service.Order == manifests.StopFirst
}

// check: what is wanted runs, and every published port leads to it.
func (h *host) check(app manifests.App) {
	table := Table(TableInput{Host: h.shared, Apps: map[string]AppTraffic{app.ID(): TrafficOf(h.app, rollout.Traffic(h.app, h.containers), nil)}})
	for _, s := range app.Services {
		if s.Kind == manifests.KindOneShot {
			continue
		}
		entry := h.app.Services[s.Name]
		if entry == nil || entry.Active == nil || len(entry.Active.Instances) != s.Replicas {
			h.t.Fatalf("%s is not active as wanted: %+v", s.Name, entry)
		}
		for _, i := range entry.Active.Instances {
			if c := h.containers[i.Container]; c.State != engine.Running {
				h.t.Fatalf("%s: container %s is %q", s.Name, i.Name, c.State)
			}
		}
		for _, p := range s.Ports {
			leads := slices.ContainsFunc(table.Listeners, func(l traffic.Listener) bool {
				return l.Port == p.Published && l.Routes[0].Service == app.ID()+"/"+s.Name
			})
			if !leads {
				h.t.Fatalf("port %d of %s leads nowhere: %+v", p.Published, s.Name, table.Listeners)
			}
		}
	}
	for name := range h.app.Services {
		if app.Service(name) == nil && h.app.Services[name].Active != nil {
			h.t.Fatalf("%s is still active", name)
		}
	}
}

func kindsOf(app manifests.App) []string {
	var out []string
	for _, s := range app.Services {
		out = append(out, fmt.Sprintf("%s %s unit=%s ports=%v deps=%v", s.Name, s.Kind, s.Unit, s.Ports, s.DependsOn))
	}
	return out
}
