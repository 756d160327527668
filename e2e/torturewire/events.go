package main

import (
	"context"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/remorahq/remora/e2e/wire"
	"github.com/remorahq/remora/internal/traffic"
)

// happen makes the event happen again and again until ctx ends. What has begun
// is finished, so that a run ends in order.
func (st *stage) happen(ctx context.Context, e wire.Event) {
	once, pause := st.event(e)
	for n := 0; rest(ctx, pause(n)); n++ {
		once(n)
		if e != wire.Rollback { // which goes back to what has drained
			st.sweep()
		}
	}
}

// event is what happens once, and how long the rest before it is.
func (st *stage) event(e wire.Event) (once func(n int), pause func(n int) time.Duration) {
	every := func(d time.Duration) func(int) time.Duration { return func(int) time.Duration { return d } }
	switch e {
	case wire.Switch:
		return st.switchOver, every(700 * time.Millisecond)
	case wire.Rollback:
		// From at once to long enough for all requests to be over.
		return st.backAndForth, func(n int) time.Duration { return time.Duration(n*17%120) * time.Millisecond }
	case wire.Canary:
		return st.canary, every(600 * time.Millisecond)
	case wire.Deadline:
		return st.deadline, every(700 * time.Millisecond)
	case wire.Kill:
		return st.killOne, every(500 * time.Millisecond)
	case wire.Fall:
		return st.fall, every(800 * time.Millisecond)
	case wire.Pause:
		return st.freezeOne, every(300 * time.Millisecond)
	case wire.Reuse:
		return st.reuse, every(500 * time.Millisecond)
	case wire.KeepAlive:
		return func(int) {}, every(time.Second) // the backends see to it
	case wire.Upgrade:
		return st.upgrade, every(2 * time.Second)
	case wire.Crash:
		return st.crash, func(n int) time.Duration { return min(crashes, time.Second+time.Duration(n)*crashes) }
	}
	st.tb.Fatalf("the event %q is not built", e)
	return nil, nil
}

// switchOver gives another release the traffic; the former one ends when all
// that it has is over. The slow service takes part now and then.
func (st *stage) switchOver(n int) {
	next := st.warm(st.web)
	begin := time.Now()
	st.promote(st.web, next, 0, 0)
	st.put()
	st.incident(wire.Switch, begin)
	if n%4 == 0 {
		st.promote(st.slow, st.warm(st.slow), 0, 0)
		st.put()
	}
}

// backAndForth goes to the release that drains or stands by, and back.
func (st *stage) backAndForth(n int) {
	if n == 0 {
		for _, s := range []*service{st.web, st.slow} {
			st.warm(s).state = traffic.Standby
		}
	}
	begin := time.Now()
	for _, s := range []*service{st.web, st.slow} {
		former := st.promote(s, other(s), 0, 0)
		if n%3 == 0 {
			former.state = traffic.Standby
		}
	}
	st.put()
	st.incident(wire.Rollback, begin)
}

// steps are a canary's shares, of ten thousand.
func steps() []int { return []int{500, 2500, 5000, 9000} }

// canary gives another release a growing share, and then by turns all of the
// traffic or none of it. Stickiness by a cookie is none for clients that keep
// no cookies.
func (st *stage) canary(n int) {
	step, sticky := n%(len(steps())+1), [...]string{"", "cookie"}
	if step == 0 {
		st.warm(st.web).state = traffic.Canary
	}
	next := st.web.releases[len(st.web.releases)-1]
	incident := wire.Incident{What: wire.Canary, Begin: time.Now()}
	switch {
	case step < len(steps()):
		incident.Version, incident.Share = next.name, steps()[step]
		st.web.split = &traffic.Split{Release: next.name, Share: steps()[step], Sticky: sticky[n/(len(steps())+1)%2]}
	case n%2 == 0:
		st.web.split, next.state = nil, traffic.Draining
	default:
		st.web.split = nil
		st.promote(st.web, next, 0, 0)
	}
	st.put()
	incident.End = time.Now()
	st.incidents = append(st.incidents, incident)
}

// other is the release of two that has not the traffic.
func other(s *service) *release {
	return s.releases[slices.IndexFunc(s.releases, func(r *release) bool { return r.state != traffic.Active })]
}

// soon is a drain's deadline that most answers of more than an instant miss.
const soon = 30 * time.Millisecond

// deadline switches without patience, and stops what is drained. The slow
// service takes part so rarely that what is sent again has the time to end: a
// request is sent four times at most.
func (st *stage) deadline(n int) {
	s := st.web
	if n%8 == 5 {
		s = st.slow
	}
	st.cutOver(s, st.warm(s))
}

// cutOver switches with short deadlines, waits until the former release is
// drained, and takes it out of the table.
func (st *stage) cutOver(s *service, next *release) (former *release) {
	begin := time.Now()
	former = st.promote(s, next, soon, soon)
	st.put()
	st.until(former.name+" to be drained", func(rep traffic.Report) bool { return find(rep, s, former).Drained })
	st.incident(wire.Deadline, begin.Add(soon), former.names()...)
	st.retire(s, former)
	return former
}

// dieNotice is how long the agent takes to hear of a death or a pause.
const dieNotice = 50 * time.Millisecond

// killOne kills an instance; the agent hears of it, and starts another.
func (st *stage) killOne(n int) {
	s := st.web
	if n%8 == 5 {
		s = st.slow
	}
	victim := st.shoot(s.active().instances[n%s.size])[0]
	rest(st.tb.Context(), dieNotice)
	victim.down = true
	st.put()
	st.replace(s, victim)
}

// shoot kills instances.
func (st *stage) shoot(victims ...*instance) []*instance {
	begin := time.Now()
	var names []string
	for _, i := range victims {
		st.kill(i)
		names = append(names, i.name)
	}
	st.incident(wire.Kill, begin, names...)
	return victims
}

// fall kills all instances of the active release while another stands by; the
// agent hears of it and gives that one the traffic, and another standby is
// made.
func (st *stage) fall(n int) {
	if n == 0 {
		st.warm(st.web).state = traffic.Standby
		st.put()
		return
	}
	fallen := st.web.active()
	st.shoot(fallen.instances...)
	rest(st.tb.Context(), dieNotice)
	for _, i := range fallen.instances {
		i.down = true
	}
	st.promote(st.web, other(st.web), 0, 0)
	st.put()
	st.until(fallen.name+" to be drained", func(rep traffic.Report) bool { return find(rep, st.web, fallen).Drained })
	st.retire(st.web, fallen)
	st.warm(st.web).state = traffic.Standby
	st.put()
}

// replace starts another instance for one that died.
func (st *stage) replace(s *service, victim *instance) {
	r := s.active()
	r.instances = append(r.instances, st.run(r.name, s.nextTemper(), st.address()))
	st.put()
	st.until(r.name+" to be whole", func(rep traffic.Report) bool {
		rr := find(rep, s, r)
		rr.Endpoints = slices.DeleteFunc(rr.Endpoints, func(e traffic.EndpointReport) bool { return e.Container == victim.name })
		return isWarm(rr)
	})
	r.instances = slices.DeleteFunc(r.instances, func(i *instance) bool { return i == victim })
	st.put()
}

// freezeOne stops an instance as the engine's pause does; the agent hears of
// it, and of its end.
func (st *stage) freezeOne(n int) {
	r := st.web.active()
	victim := r.instances[n%len(r.instances)]
	begin := time.Now()
	victim.process.Signal(st.tb, syscall.SIGSTOP)
	rest(st.tb.Context(), dieNotice)
	victim.down = true
	st.put()
	rest(st.tb.Context(), wire.Freeze-time.Since(begin))
	victim.process.Signal(st.tb, syscall.SIGCONT)
	victim.down = false
	st.put()
	st.incident(wire.Pause, begin, victim.name)
}

// reuse gives the addresses of what has ended to another service's containers,
// by turns after a planned end and after a death.
func (st *stage) reuse(n int) {
	if n%2 == 0 {
		st.handOver()
		return
	}
	victim := st.shoot(st.web.active().instances[n%st.web.size])[0]
	victim.down = true
	st.put()
	st.settle(victim.addr)
	st.replace(st.web, victim)
}

// handOver switches to a release at the strangers' addresses, and gives them
// those of the former one.
func (st *stage) handOver() {
	var free []netip.Addr
	for _, r := range slices.Clone(st.stranger.releases) {
		for _, i := range r.instances {
			free = append(free, i.addr)
		}
		st.stranger.releases = nil
		st.put()
		for _, i := range r.instances {
			st.kill(i)
		}
	}
	former := st.cutOver(st.web, st.warm(st.web, free...))
	for _, i := range former.instances {
		st.settle(i.addr)
	}
}

// settle starts a stranger at an address, all at once.
func (st *stage) settle(addr netip.Addr) {
	s := st.stranger
	if s.active() == nil {
		s.made++
		s.releases = []*release{{name: wire.Stranger + "-1", state: traffic.Active}}
	}
	r := s.active()
	r.instances = append(r.instances, st.run(r.name, "graceful", addr))
	st.put()
}

// The ambassador's own figures: how many predecessors it lets live, how long
// one too many says goodbye, and how long a worker has to live for its death to
// be no habit, in which case it is restarted later each time.
const (
	maxDraining = 4
	goodbye     = 30 * time.Second
	crashes     = 5500 * time.Millisecond
)

// upgrade starts another worker, and switches and retires while its
// predecessors drain.
func (st *stage) upgrade(n int) {
	begin := time.Now()
	if err := st.proxy.Client.Upgrade(st.tb.Context()); err != nil {
		st.tb.Fatalf("upgrade: %v", err)
	}
	st.incident(wire.Upgrade, begin)
	if n >= maxDraining {
		st.incidents = append(st.incidents, wire.Incident{What: wire.Outnumbered, Begin: begin, End: time.Now().Add(goodbye)})
	}
	if n%2 == 1 {
		st.promote(st.web, st.warm(st.web), 0, 0)
		st.put()
	}
}

// crash kills the ambassador's worker.
func (st *stage) crash(int) {
	begin := time.Now()
	killWorker(st.tb, st.proxy.Process.PID())
	st.incident(wire.Crash, begin)
}
