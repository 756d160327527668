package ambassador

import (
	"net/netip"
	"sync"
)

// clients counts the open connections of each client address, where a limit is
// set. Behind a trusted proxy, or one that sends the PROXY protocol, many
// clients share an address: those are not counted by it.
type clients struct {
	shards [limiterShards]clientShard
}

type clientShard struct {
	mu   sync.Mutex
	open map[clientKey]int
	_    [40]byte
}

// enter counts a connection in, unless the client has as many as it may have.
// counted says that leave has to follow.
func (c *clients) enter(v *view, peer netip.Addr) (counted, ok bool) {
	most := v.table.Limits.PerClient
	if most <= 0 || peer.IsLoopback() || v.trusts(peer) {
		return false, true
	}
	key := keyOfClient(peer)
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[key] >= most {
		return false, false
	}
	if s.open == nil {
		s.open = make(map[clientKey]int)
	}
	s.open[key]++
	return true, true
}

// leave counts a connection out.
func (c *clients) leave(peer netip.Addr) {
	key := keyOfClient(peer)
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[key]--; s.open[key] <= 0 {
		delete(s.open, key)
	}
}

func (c *clients) shard(key clientKey) *clientShard {
	return &c.shards[key.mixed(0)%limiterShards]
}

// enter counts the connection as one of its client's. False is one too many.
func (k *conn) enter() bool {
	v := k.wk.view.Load()
	if lv := v.listeners[k.key]; k.proxied == nil && lv != nil && lv.believes(k.peer) {
		return true // the proxy itself
	}
	counted, ok := k.wk.clients.enter(v, k.peer)
	k.counted = counted
	return ok
}

func (k *conn) leave() {
	if k.counted {
		k.wk.clients.leave(k.peer)
	}
}
