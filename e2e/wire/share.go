package wire

import (
	"fmt"
	"math"

	"github.com/remorahq/remora/e2e/load"
)

// share is what of a canary's step was kept.
type share struct {
	Incident
	asked, got int
}

// shares counts, for each step of a canary, the GETs between it and the next
// incident, and holds the canary's part of them against its share.
func (j *judge) shares() {
	c := j.cells[Get]
	if c == nil {
		return
	}
	for n, i := range j.run.Incidents {
		if i.What != Canary || i.Version == "" || n+1 == len(j.run.Incidents) {
			continue
		}
		s := share{Incident: i}
		j.count(&s, j.run.Incidents[n+1])
		if !s.kept() {
			c.Failed++
			c.Problems = append(c.Problems, Problem{
				At: i.End, Sort: "share", ID: i.Version,
				What: fmt.Sprintf("%d of %d requests, asked for %.0f %%", s.got, s.asked, float64(i.Share)/100),
			})
		}
	}
}

func (j *judge) count(s *share, next Incident) {
	for _, r := range j.run.Records {
		sent := j.known[r.ID].At
		if r.Kind != load.Get || r.Own > 0 || r.Outcome != load.Answered || sent.Before(s.End) || r.At.After(next.Begin) {
			continue
		}
		s.asked++
		if r.Version == s.Version {
			s.got++
		}
	}
}

// kept allows what chance makes of it: five standard deviations.
func (s *share) kept() bool {
	p, n := float64(s.Share)/10_000, float64(s.asked)
	return n > 0 && math.Abs(float64(s.got)-p*n) <= 5*math.Sqrt(n*p*(1-p))+1
}
