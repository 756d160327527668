package ambassador

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// listener accepts on one socket that the holder opened.
type listener struct {
	key      traffic.ListenerKey
	inode    uint64
	ln       *net.TCPListener
	protocol atomic.Pointer[traffic.Protocol]
	accepts  bool
	done     sync.WaitGroup
}

// InUse is an error of an [Opener] for a port that another program holds.
type InUse struct{ Text string }

func (e *InUse) Error() string { return e.Text }

// openListeners opens what the view wants and is not open, and closes what it
// does not want any more. What fails is told and tried again later.
func (wk *Worker) openListeners(ctx context.Context, v *view) {
	if wk.draining.Load() {
		return
	}
	for key, l := range wk.listeners {
		if v.listeners[key] == nil {
			delete(wk.listeners, key)
			l.close()
			if err := wk.opt.Opener.Close(key); err != nil {
				wk.log.Error("give up listener", "port", key.Port, "err", err)
			}
		}
	}
	failures := slices.Clip(v.failures) // of the view, and shared with reports
	same := make(map[string]bool)       // namespaces that are still the ones we opened in
	for key, lv := range v.listeners {
		if err := wk.openListener(ctx, v, lv, same); err != nil {
			inUse := new(InUse)
			failures = append(failures, traffic.ListenFailure{ListenerKey: key, Owner: lv.spec.Owner, Error: err.Error(), InUse: errors.As(err, &inUse)})
		}
	}
	wk.failures.Store(&failures)
	if v.keepsClients() {
		wk.spares.probe(wk.opt.Opener)
	}
}

// openListener opens one listener, unless it is open in the right namespace. A
// namespace that was made anew has the same path and other listeners, so the
// holder is asked about one listener of each.
func (wk *Worker) openListener(ctx context.Context, v *view, lv *listenerView, same map[string]bool) error {
	key := lv.spec.ListenerKey
	path, ok := namespacePath(v.table, key.Namespace)
	if !ok {
		return fmt.Errorf("network namespace %q is not in the table", key.Namespace)
	}
	have := wk.listeners[key]
	if have != nil {
		have.protocol.Store(&lv.spec.Protocol)
		if path == "" || same[path] {
			return nil
		}
	}
	inode := uint64(0)
	if have != nil {
		inode = have.inode
	}
	ln, inode, err := wk.opt.Opener.Open(ctx, key, path, inode)
	switch {
	case err != nil:
		return err
	case ln == nil:
		same[path] = true
		return nil
	case have != nil:
		have.close()
	}
	l := &listener{key: key, inode: inode, ln: ln}
	l.protocol.Store(&lv.spec.Protocol)
	wk.listeners[key] = l
	return nil
}

// namespacePath finds the file of a network namespace; the empty name is the
// ambassador's own.
func namespacePath(t *traffic.Table, name string) (string, bool) {
	if name == "" {
		return "", true
	}
	for _, ns := range t.Namespaces {
		if ns.Name == name {
			return ns.Path, ns.Path != ""
		}
	}
	return "", false
}

// acceptListeners begins to accept on listeners that were opened, now that
// their routes are in force, if the worker leads.
func (wk *Worker) acceptListeners() {
	if !wk.leads {
		return
	}
	for _, l := range wk.listeners {
		if !l.accepts {
			l.accepts = true
			l.done.Go(func() { wk.accept(l) })
		}
	}
}

// retryListeners tries again what could not be opened.
func (wk *Worker) retryListeners() {
	if len(*wk.failures.Load()) == 0 {
		return
	}
	wk.mu.Lock()
	defer wk.mu.Unlock()
	before := len(*wk.failures.Load())
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	v := wk.view.Load()
	wk.openListeners(ctx, v)
	wk.acceptListeners()
	if len(*wk.failures.Load()) != before {
		wk.changed.fire()
	}
}

// close stops accepting, without closing the holder's socket.
func (l *listener) close() {
	_ = l.ln.Close()
	l.done.Wait()
}

func (wk *Worker) accept(l *listener) {
	for {
		c, err := l.ln.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// Out of descriptors, or a client that left before it was accepted.
			wk.log.Warn("accept", "port", l.key.Port, "err", err)
			select {
			case <-time.After(10 * time.Millisecond):
			case <-wk.stopping:
			}
			continue
		}
		wk.accepted.Add(1)
		k, err := wk.newConn(c, l.key, *l.protocol.Load())
		if err != nil {
			_ = c.Close()
			continue
		}
		wk.conns.add(k)
		go func() {
			defer wk.conns.remove(k)
			k.serve()
		}()
	}
}
