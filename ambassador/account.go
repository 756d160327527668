package ambassador

import (
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/remorahq/remora/ambassador/accesslog"
	"github.com/remorahq/remora/ambassador/page"
)

// routeStats is what is counted by route. Its zero value is ready.
type routeStats struct {
	// classes count by the first digit of the status; 0 is tunnels.
	classes [cells]struct {
		n [8]atomic.Uint64 // a cache line
	}
	// duration is of requests, not of tunnels and event streams, from the first
	// byte to the end; firstByte to the answer's head.
	duration, firstByte histogram
}

func (s *routeStats) count(shard uint32, v *verdict) {
	s.classes[shard%cells].n[classOf(v.status)].Add(1)
	if !v.answered.IsZero() {
		s.firstByte.observe(shard, v.answered.Sub(v.arrived))
	}
	if !v.lasting && v.status != 0 {
		s.duration.observe(shard, v.ended.Sub(v.arrived))
	}
}

func classOf(status int) int {
	if c := status / 100; c <= 5 {
		return c
	}
	return 0
}

// class reads a class's count.
func (s *routeStats) class(c int) (n uint64) {
	for i := range s.classes {
		n += s.classes[i].n[c].Load()
	}
	return n
}

// reasonCounts counts by [page.Code].
type reasonCounts [page.Count]atomic.Uint64

func (c *reasonCounts) count(code page.Code) {
	if i := page.Index(code); i >= 0 {
		c[i].Add(1)
	}
}

// account counts what became of a request or tunnel, and writes it down. e has
// what the client said and how it came; the rest is the verdict's.
func (wk *Worker) account(shard uint32, v *verdict, e *accesslog.Entry) {
	if v.route != nil {
		v.route.stats.count(shard, v)
	}
	switch {
	case v.why == "":
	case v.svc != nil:
		v.svc.reasons.count(v.why)
	default:
		wk.reasons.count(v.why)
	}
	if wk.access.On() {
		v.describe(e)
		e.Generation = wk.view.Load().table.Generation
		wk.access.Write(e)
	}
}

// shownContainer is how much of a container's ID is written, as engines show it.
const shownContainer = 12

// describe says in the log's words what became of it.
func (v *verdict) describe(e *accesslog.Entry) {
	e.Time, e.Duration, e.Connect = v.arrived, v.ended.Sub(v.arrived), v.connect
	if !v.answered.IsZero() {
		e.FirstByte = v.answered.Sub(v.arrived)
	}
	if v.protocol != "" {
		e.Protocol = v.protocol
	}
	e.Status, e.Attempts, e.Replayed, e.Why = v.status, v.attempts, v.replayed, string(v.why)
	e.In, e.Out = uint64(v.bytesIn), uint64(v.bytesOut)
	if v.route != nil {
		e.Route = v.route.text
	}
	if v.svc != nil {
		e.Service = v.svc.name
	}
	if v.rel != nil {
		e.Release, e.Service = v.rel.name, v.rel.svc.name
	}
	if v.ep != nil {
		e.Container = v.ep.key.container[:min(len(v.ep.key.container), shownContainer)]
	}
}

// refuse notes why there is no answer of an instance: a [*refusal], or that the
// client left.
func (v *verdict) refuse(err error) {
	if r, ok := errors.AsType[*refusal](err); ok {
		v.why, v.ours = r.reason(), true
		return
	}
	v.leave()
}

// statusLeft is written where the client left before the answer.
const statusLeft = 499

func (v *verdict) leave() {
	v.why = page.ClientLeft
	if v.status == 0 && !v.tunnel {
		v.status = statusLeft
	}
}

// entry begins the log's line of what came over the connection.
func (k *conn) entry() accesslog.Entry {
	e := accesslog.Entry{Client: k.peer, Port: k.key.Port, Protocol: "tunnel", TLS: k.tlsVersion, ServerName: k.serverName}
	if k.passes != nil {
		e.ServerName, e.TLS = k.passes.ServerName, "passed"
	}
	return e
}

// tunnelled is called once at the end of a connection that was no HTTP.
func (k *conn) tunnelled(v *verdict) {
	v.ended = time.Now()
	e := k.entry()
	k.wk.account(k.shard, v, &e)
}

// protocolOf names an upgrade's protocol for the log.
func protocolOf(upgrade string) string {
	if strings.EqualFold(upgrade, "websocket") {
		return "websocket"
	}
	return "tunnel"
}

// deserted notes that the client left, unless there is another reason why the
// answer is not whole.
func (v *verdict) deserted() {
	if v.why == "" {
		v.leave()
	}
}

// countRepeat counts that the request is sent again after an attempt.
func (x *exchange) countRepeat(out outcome) {
	if out == unsent {
		x.claim.rel.svc.retries.Add(1)
		return
	}
	x.verdict.replayed = true
	x.claim.rel.svc.replays.Add(1)
}

// blame finds the better reason where all instances were tried: after the
// request had been sent to one, it is not that none was reached.
func (x *exchange) blame(err error) error {
	if x.verdict.replayed && errors.Is(err, errUnreached) {
		return errNoAnswer
	}
	return err
}
