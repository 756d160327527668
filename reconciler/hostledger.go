package reconciler

import (
	"encoding/json"
	"sync"

	"github.com/remorahq/remora/reconciler/ledger"
)

// hostLedger owns the part of the ledger that apps share. It is safe for
// concurrent use; its lock is not held while it writes.
type hostLedger struct {
	store *store

	mu   sync.Mutex
	h    ledger.Host
	next uint64 // counts changes

	saving sync.Mutex
	saved  uint64
}

// read calls f with the shared ledger; f must not keep it.
func (l *hostLedger) read(f func(h *ledger.Host)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.h)
}

// update lets f change the shared ledger and returns when the change is on
// disk. When f or the disk fails, nothing is changed.
func (l *hostLedger) update(f func(h *ledger.Host) error) error {
	l.mu.Lock()
	h, err := cloneHost(l.h)
	if err == nil {
		err = f(&h)
	}
	if err != nil {
		l.mu.Unlock()
		return err
	}
	before := l.h
	l.h = h
	l.next++
	mine := l.next
	l.mu.Unlock()

	if err := l.flush(mine); err != nil {
		l.mu.Lock()
		if l.next == mine {
			l.h = before
		}
		l.mu.Unlock()
		return err
	}
	return nil
}

// flush writes the ledger unless a later writer already did.
func (l *hostLedger) flush(mine uint64) error {
	l.saving.Lock()
	defer l.saving.Unlock()
	if l.saved >= mine {
		return nil
	}
	l.mu.Lock()
	h, at := l.h, l.next
	l.mu.Unlock()
	if err := l.store.saveHost(h); err != nil {
		return err
	}
	l.saved = at
	return nil
}

// cloneHost copies h deeply, by way of its form on disk.
func cloneHost(h ledger.Host) (ledger.Host, error) {
	data, err := json.Marshal(h)
	if err != nil {
		return h, err
	}
	var c ledger.Host
	err = json.Unmarshal(data, &c)
	return c, err
}
