package ambassador

import (
	"slices"
	"sync"
	"time"
)

const (
	// maxIdle is how long an idle upstream connection is kept; some servers
	// close theirs after 5 s.
	maxIdle = 4 * time.Second
	// perPool bounds the idle connections to one port of an endpoint.
	perPool = 512
)

// pool holds the idle connections to one port of an endpoint, last in first
// out.
type pool struct {
	port     uint16
	mu       sync.Mutex
	idle     []*upstream
	closed   bool
	patience patience
	// shared are connections that carry more than one request at once.
	shared shared
}

func (e *endpoint) pool(port uint16) *pool {
	if p := e.recent.Load(); p != nil && p.port == port {
		return p
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.pools[port]
	if p == nil {
		p = &pool{port: port}
		e.pools[port] = p
	}
	e.recent.Store(p)
	return p
}

// get takes a connection that was idle for less than the limit and that the
// server has neither closed nor written to, or nil. Each is looked at, however
// young: what a server sends after a HEAD or beyond its length would be the next
// client's answer. A limit of 0 is for none.
func (p *pool) get(now time.Time, limit time.Duration) *upstream {
	for limit > 0 {
		u := p.pop()
		if u == nil {
			return nil
		}
		idle := now.Sub(u.used)
		open := u.quiet()
		switch {
		case idle >= u.idle:
		case !open:
			p.patience.closed(now.Sub(u.back))
		case idle > limit:
			if !p.push(u) { // the youngest is too old for this request
				u.drop()
			}
			return nil
		default:
			u.used = now
			return u
		}
		u.drop()
	}
	return nil
}

func (p *pool) pop() *upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	u := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return u
}

// push keeps a connection, and says whether there was room for it.
func (p *pool) push(u *upstream) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= perPool {
		return false
	}
	p.idle = append(p.idle, u)
	return true
}

// put keeps a connection after an exchange, or closes it. told is for how long
// the server says that it keeps it, 0 when it does not say.
func (u *upstream) put(now time.Time, told time.Duration) {
	u.back = now
	if told > 0 {
		u.idle = min(maxIdle, max(told-time.Second, 0))
		u.pool.patience.told(u.idle)
	}
	if !u.pool.push(u) {
		u.drop()
	}
}

// drop closes a connection that carries nothing, by a reset: a port of ours in
// TIME_WAIT for each would soon be all of them.
func (u *upstream) drop() {
	_ = u.SetLinger(0)
	_ = u.Close()
}

// expire closes what has been idle for too long or was closed by the server,
// and learns from it how long the server waits.
func (p *pool) expire(now time.Time) {
	rested := p.rested(now)
	kept := rested[:0]
	for _, u := range rested {
		idle := now.Sub(u.back)
		open := u.quiet()
		if open {
			p.patience.open(idle)
		} else {
			p.patience.closed(idle)
		}
		if open && now.Sub(u.used) < u.idle {
			kept = append(kept, u)
		} else {
			u.drop()
		}
	}
	for _, u := range p.unrest(kept) {
		u.drop()
	}
	p.shared.expire(now)
}

// rested takes out the connections that came back a while ago, oldest first.
func (p *pool) rested(now time.Time) []*upstream {
	const aWhile = 500 * time.Millisecond
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(p.idle) && now.Sub(p.idle[n].back) > aWhile {
		n++
	}
	rested := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	return rested
}

// unrest puts connections back as the oldest ones, and returns those for which
// there is no place any more.
func (p *pool) unrest(list []*upstream) []*upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle)+len(list) > perPool {
		return list
	}
	p.idle = slices.Insert(p.idle, 0, list...)
	return nil
}

// shut closes all idle connections; with forever, later ones too.
func (p *pool) shut(forever bool) {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, p.closed || forever
	p.mu.Unlock()
	for _, u := range idle {
		u.drop()
	}
	p.shared.shut(forever)
}

func (e *endpoint) eachPool(f func(*pool)) {
	e.mu.Lock()
	pools := make([]*pool, 0, len(e.pools))
	for _, p := range e.pools {
		pools = append(pools, p)
	}
	e.mu.Unlock()
	for _, p := range pools {
		f(p)
	}
}
