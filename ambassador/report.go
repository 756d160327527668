package ambassador

import (
	"slices"

	"github.com/remorahq/remora/internal/traffic"
)

// Report returns the present state, merged over all live workers.
func (wk *Worker) Report() traffic.Report {
	r := wk.ownReport()
	for _, p := range wk.peers.reports() {
		merge(&r, p)
	}
	return r
}

// ownReport is the state of this worker alone.
func (wk *Worker) ownReport() traffic.Report {
	v := wk.view.Load()
	r := traffic.Report{
		Version: wk.opt.Version, Generation: v.table.Generation, BootID: wk.opt.BootID,
		Started: wk.started, Workers: 1, Fenced: v.fenced, Failures: *wk.failures.Load(), Names: wk.nameFailures(v), Warnings: wk.warnings(v),
	}
	for i := range v.table.Services {
		sv := v.services[v.table.Services[i].Name]
		if sv.spec == &v.table.Services[i] {
			r.Services = append(r.Services, sv.report())
		}
	}
	return r
}

func (sv *serviceView) report() traffic.ServiceReport {
	s := sv.svc
	r := traffic.ServiceReport{
		Name: s.name, Held: int(s.held.Load()),
		Retries: s.retries.Load(), Replays: s.replays.Load(), Ejections: s.ejections.Load(),
	}
	for _, rv := range sv.releases {
		r.Releases = append(r.Releases, rv.report())
	}
	s.mu.Lock()
	r.ServerFirst = slices.Clone(s.serverFirst)
	s.mu.Unlock()
	r.ServerFirst = append(r.ServerFirst, sv.spec.ServerFirst...)
	slices.Sort(r.ServerFirst)
	r.ServerFirst = slices.Compact(r.ServerFirst)
	return r
}

func (rv *releaseView) report() traffic.ReleaseReport {
	rel := rv.rel
	all, requests := rel.drained()
	r := traffic.ReleaseReport{
		Name: rv.spec.Name, State: rv.spec.State,
		Inflight: int(rel.requests.Load()), Tunnels: int(rel.tunnels.Load()),
		Drained: all, RequestsDrained: requests,
		Requests: rel.total.Load(), Errors5xx: rel.errors5xx.Load(), ConnectErrors: rel.connectErrors.Load(),
		BytesIn: rel.bytesIn.Load(), BytesOut: rel.bytesOut.Load(), Spilled: rel.spilled.Load(),
		Mirrored: rel.mirrored.Load(), MirrorErrors: rel.mirrorErrors.Load(), Unmirrored: rel.unmirrored.Load(), Lent: rel.lent.Load(),
	}
	for _, ev := range rv.endpoints {
		r.Endpoints = append(r.Endpoints, ev.report())
	}
	return r
}

func (ev *endpointView) report() traffic.EndpointReport {
	e := ev.ep
	e.mu.Lock()
	defer e.mu.Unlock()
	h := &e.health
	return traffic.EndpointReport{
		Container: ev.spec.Container, Started: ev.spec.Started,
		Warm: h.warm && ev.usable, Good: ev.usable && h.warm && e.good.Load() && !e.refused.Load(),
		Ejected: e.ejected(), LastError: h.failure, Failures: h.failures, LastCheck: h.last, Checked: h.checked,
	}
}

// merge adds a predecessor's report: counts add up, and a release is drained
// only when all say so of the same generation.
func merge(r *traffic.Report, p traffic.Report) {
	r.Workers += p.Workers
	behind := p.Generation < r.Generation
	for i := range r.Services {
		s := &r.Services[i]
		j := slices.IndexFunc(p.Services, func(o traffic.ServiceReport) bool { return o.Name == s.Name })
		if j >= 0 {
			o := &p.Services[j]
			s.Held += o.Held
			s.Retries, s.Replays, s.Ejections = s.Retries+o.Retries, s.Replays+o.Replays, s.Ejections+o.Ejections
		}
		for k := range s.Releases {
			var of *traffic.ReleaseReport
			if j >= 0 {
				of = findRelease(p.Services[j].Releases, s.Releases[k].Name)
			}
			mergeRelease(&s.Releases[k], of, behind)
		}
	}
}

func findRelease(list []traffic.ReleaseReport, name string) *traffic.ReleaseReport {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

func mergeRelease(r, p *traffic.ReleaseReport, behind bool) {
	if behind {
		r.Drained, r.RequestsDrained = false, false
	}
	if p == nil {
		return
	}
	r.Drained = r.Drained && p.Drained
	r.RequestsDrained = r.RequestsDrained && p.RequestsDrained
	r.Inflight += p.Inflight
	r.Tunnels += p.Tunnels
	r.Requests += p.Requests
	r.Errors5xx += p.Errors5xx
	r.ConnectErrors += p.ConnectErrors
	r.BytesIn += p.BytesIn
	r.BytesOut += p.BytesOut
	r.Spilled += p.Spilled
	r.Mirrored += p.Mirrored
	r.MirrorErrors += p.MirrorErrors
	r.Unmirrored += p.Unmirrored
	r.Lent += p.Lent
}
