package ambassador

import (
	"math"

	"github.com/remorahq/remora/internal/traffic"
)

// past is what predecessors that have ended had counted, so that counters never
// fall: by service, of those in the table when one ended.
type past map[string]*traffic.ServiceReport

// add takes up a predecessor's last report and forgets what is in no table any
// more.
func (ps past) add(v *view, r traffic.Report) {
	for i := range r.Services {
		s := settled(r.Services[i])
		if sum := ps[s.Name]; sum != nil {
			total := traffic.Report{Generation: math.MaxUint64, Services: []traffic.ServiceReport{s}}
			merge(&total, traffic.Report{Generation: math.MaxUint64, Services: []traffic.ServiceReport{*sum}})
			s = total.Services[0]
		}
		ps[s.Name] = &s
	}
	for name := range ps {
		if v.services[name] == nil {
			delete(ps, name)
		}
	}
}

// settled is a report's service with its counters only. Releases that the
// predecessor did not have any more end with it.
func settled(s traffic.ServiceReport) traffic.ServiceReport {
	out := s
	out.Held, out.Releases = 0, make([]traffic.ReleaseReport, len(s.Releases))
	for i, r := range s.Releases {
		r.Inflight, r.Tunnels, r.Endpoints = 0, 0, nil
		r.Drained, r.RequestsDrained = true, true
		out.Releases[i] = r
	}
	return out
}

// report is the past as one predecessor more, that holds nothing up.
func (ps past) report() traffic.Report {
	r := traffic.Report{Generation: math.MaxUint64}
	for _, s := range ps {
		r.Services = append(r.Services, *s)
	}
	return r
}
