package main

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// release is one that is in the table.
type release struct {
	name           string
	state          traffic.ReleaseState
	instances      []*instance
	drain, tunnels time.Duration // deadlines; 0 is none
}

func (r *release) names() []string {
	var out []string
	for _, i := range r.instances {
		out = append(out, i.name)
	}
	return out
}

func (r *release) traffic() traffic.Release {
	out := traffic.Release{
		Name: r.name, State: r.state, DrainDeadline: r.drain, TunnelDeadline: r.tunnels,
		Probes: []traffic.Probe{{Port: httpPort, HTTP: "/health", Interval: time.Second, Timeout: 5 * time.Second, Rise: 2, Fall: 3}},
	}
	for _, i := range r.instances {
		out.Endpoints = append(out.Endpoints, i.endpoint())
	}
	return out
}

// service is one of the driver's: web has all traffic but that of the slow
// program, strangers take addresses over.
type service struct {
	name     string
	temper   string   // of all its backends
	tempers  []string // or, in turns
	size     int      // instances of a release
	releases []*release
	split    *traffic.Split
	made     int
	turn     int
}

func (s *service) full() string { return "production/wire/" + s.name }

func (s *service) active() *release {
	i := slices.IndexFunc(s.releases, func(r *release) bool { return r.state == traffic.Active })
	if i < 0 {
		return nil
	}
	return s.releases[i]
}

func (s *service) traffic() traffic.Service {
	out := traffic.Service{Name: s.full(), App: "production/wire", HoldFor: 20 * time.Second, Split: s.split}
	if a := s.active(); a != nil {
		out.Active = a.name
	}
	for _, r := range s.releases {
		out.Releases = append(out.Releases, r.traffic())
	}
	return out
}

func (s *service) nextTemper() string {
	if s.temper != "" {
		return s.temper
	}
	s.turn++
	return s.tempers[s.turn%len(s.tempers)]
}

// make starts a release's backends, at addresses of its own unless given.
func (st *stage) make(s *service, at ...netip.Addr) *release {
	s.made++
	r := &release{name: fmt.Sprintf("%s-%d", s.name, s.made), state: traffic.Warming}
	for n := range s.size {
		addr := st.address()
		if n < len(at) {
			addr = at[n]
		}
		r.instances = append(r.instances, st.run(r.name, s.nextTemper(), addr))
	}
	return r
}

// warm makes a release and waits until the ambassador finds it well.
func (st *stage) warm(s *service, at ...netip.Addr) *release {
	r := st.make(s, at...)
	s.releases = append(s.releases, r)
	st.put()
	st.until(r.name+" to be warm", func(rep traffic.Report) bool { return isWarm(find(rep, s, r)) })
	return r
}

func find(rep traffic.Report, s *service, r *release) traffic.ReleaseReport {
	for _, sv := range rep.Services {
		if sv.Name != s.full() {
			continue
		}
		for _, rr := range sv.Releases {
			if rr.Name == r.name {
				return rr
			}
		}
	}
	return traffic.ReleaseReport{}
}

func isWarm(r traffic.ReleaseReport) bool {
	return len(r.Endpoints) > 0 && !slices.ContainsFunc(r.Endpoints, func(e traffic.EndpointReport) bool { return !e.Warm })
}

// promote gives a release the traffic and lets the former one drain, by
// deadlines where they are given.
func (st *stage) promote(s *service, r *release, drain, tunnels time.Duration) (former *release) {
	former = s.active()
	if former != nil {
		former.state, former.drain, former.tunnels = traffic.Draining, drain, tunnels
	}
	r.state, r.drain, r.tunnels = traffic.Active, 0, 0
	return former
}

// retire takes a release out of the table, and only then stops its backends.
func (st *stage) retire(s *service, r *release) {
	s.releases = slices.DeleteFunc(s.releases, func(o *release) bool { return o == r })
	st.put()
	for _, i := range r.instances {
		st.stop(i)
	}
}

// sweep retires what the ambassador reports drained.
func (st *stage) sweep() {
	rep := st.report()
	for _, s := range st.services() {
		for _, r := range slices.Clone(s.releases) {
			if r.state == traffic.Draining && find(rep, s, r).Drained {
				st.retire(s, r)
			}
		}
	}
}
