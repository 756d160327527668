package ambassador

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// maxUndone is how often a request is sent to instances that say each time that
// they did nothing with it.
const maxUndone = 4

// repeats says whether the request is sent again after an attempt, by the rules
// of exchange.repeats. What an instance of HTTP/2 refused before it did anything
// counts as not sent.
func (s *stream) repeats(out outcome, attempt int) bool {
	if s.upload != nil && !s.upload.Whole() {
		return false
	}
	switch out {
	case unsent, declined:
		return true
	case undone:
		return attempt < maxUndone
	case stale, kicked:
		return s.replayable()
	case unheard:
		return s.replayable() && s.mayBurden(attempt)
	}
	return false
}

// replayable says that the request may reach an instance twice, as
// exchange.replayable does.
func (s *stream) replayable() bool {
	r := s.req
	return r.Upgrade == "" && (r.Idempotent() || s.want.route != nil && s.want.route.spec.Replay || len(r.Field("idempotency-key")) > 0)
}

func (s *stream) mayBurden(attempt int) bool {
	return attempt <= maxRepeats && time.Since(s.verdict.arrived) < repeatFor &&
		s.claim.rel.svc.repeats.take(time.Now(), s.want.route.sv)
}

// againUndone lets a request that every instance refused to begin go round once
// more: one that recycles its connections takes it over another.
func (s *stream) againUndone(err error, attempt int) bool {
	if !s.undone || !errors.Is(err, errUnreached) || attempt >= maxUndone {
		return false
	}
	s.want.tried = s.want.tried[:0]
	return true
}

// asksElsewhere says that an answer of the status is dropped and another
// instance is asked, as exchange.asksElsewhere does.
func (s *stream) asksElsewhere(status int) bool {
	switch status {
	case 502, 503, 504:
	default:
		return false
	}
	rv := s.want.route
	if rv == nil || !rv.spec.Retry5xx || s.declined || s.upload != nil || s.grpc || !s.replayable() {
		return false
	}
	w := s.want
	w.tried = append(slices.Clone(w.tried), s.claim.ep)
	if rv.sv.decide(&w).ev == nil || !s.mayBurden(s.verdict.attempts) {
		return false
	}
	s.declined = true
	s.want.tried = append(s.want.tried, s.claim.ep)
	return true
}

// mirror sends a copy of a request that was served, as exchange.mirror does, to
// containers of HTTP/1.1.
func (s *stream) mirror() {
	rv := s.want.route
	if rv == nil || rv.sv.mirror == nil || rv.spec.Upstream != traffic.UpstreamHTTP1 || s.req.Length != 0 && s.small == nil {
		return
	}
	m, method := rv.sv.mirror, s.req.Method
	safe := method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
	if !safe || s.req.Pins || s.verdict.sent.IsZero() || s.verdict.rel == m.rv.rel {
		return
	}
	if rand.IntN(wholeShare) < m.share {
		s.k.wk.shadow(m, rv.spec.Port, method, s.forHTTP1())
	}
}

// countRepeat counts that the request is sent again after an attempt.
func (s *stream) countRepeat(out outcome) {
	svc := s.claim.rel.svc
	if out == unsent || out == undone {
		svc.retries.Add(1)
		return
	}
	s.verdict.replayed = true
	svc.replays.Add(1)
}

// blame finds the better reason where all instances were tried, as
// exchange.blame does.
func (s *stream) blame(err error) error {
	if s.verdict.replayed && errors.Is(err, errUnreached) {
		return errNoAnswer
	}
	return err
}
