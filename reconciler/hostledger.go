package reconciler

import (
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/remorahq/remora/reconciler/ledger"
)

// hostLedger owns the part of the ledger that apps share. It is safe for
// concurrent use.
//
// Readers see what is on disk, and wait for nobody. Changes that come while
// one is being written go to disk together with the next writing; where that
// fails, none of them was made.
type hostLedger struct {
	store *store
	saved atomic.Pointer[ledger.Host] // never changed in place

	mu sync.Mutex
	// pending is saved with the changes of batch, and of the one that is being
	// written.
	pending *ledger.Host
	batch   *hostBatch

	writing sync.Mutex
}

// hostBatch are changes that are written together.
type hostBatch struct {
	done chan struct{} // closed when they are on disk, or failed
	err  error
}

func newHostLedger(st *store, h ledger.Host) *hostLedger {
	l := &hostLedger{store: st, pending: &h}
	l.saved.Store(&h)
	return l
}

// read calls f with the shared ledger; f may keep it, and must not change it.
func (l *hostLedger) read(f func(h *ledger.Host)) { f(l.saved.Load()) }

// update lets f change the shared ledger and returns when the change is on
// disk. When f or the disk fails, nothing is changed. f is called once, with
// other writers waiting.
func (l *hostLedger) update(f func(h *ledger.Host) error) error {
	l.mu.Lock()
	h := cloneHost(l.pending)
	if err := f(h); err != nil {
		l.mu.Unlock()
		return err
	}
	if l.pending == l.saved.Load() && reflect.DeepEqual(h, l.pending) {
		l.mu.Unlock() // it is so, and on disk
		return nil
	}
	l.pending = h
	b := l.batch
	first := b == nil
	if first {
		b = &hostBatch{done: make(chan struct{})}
		l.batch = b
	}
	l.mu.Unlock()
	if first {
		l.write(b)
	}
	<-b.done
	return b.err
}

// write writes a batch, together with what joined it while another was written.
func (l *hostLedger) write(b *hostBatch) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	if l.batch != b { // the batch before failed, and this one stood on it
		l.mu.Unlock()
		return
	}
	l.batch = nil
	h := l.pending
	l.mu.Unlock()
	if b.err = l.store.saveHost(*h); b.err == nil {
		l.saved.Store(h)
	} else {
		l.fail(b.err)
	}
	close(b.done)
}

// fail takes every change back that is not on disk.
func (l *hostLedger) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = l.saved.Load()
	if b := l.batch; b != nil {
		b.err, l.batch = err, nil
		close(b.done)
	}
}

// cloneHost copies h deeply.
func cloneHost(h *ledger.Host) *ledger.Host {
	c := *h
	c.Digests, c.Subnets, c.Ports = maps.Clone(h.Digests), maps.Clone(h.Subnets), maps.Clone(h.Ports)
	c.Claims, c.Addresses, c.ServerFirst = maps.Clone(h.Claims), maps.Clone(h.Addresses), maps.Clone(h.ServerFirst)
	c.Images = maps.Clone(h.Images)
	for network, addresses := range c.Addresses {
		c.Addresses[network] = maps.Clone(addresses)
	}
	for service, ports := range c.ServerFirst {
		c.ServerFirst[service] = slices.Clone(ports)
	}
	return &c
}
