package ambassador

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// listener accepts on one socket that the holder opened.
type listener struct {
	key      traffic.ListenerKey
	inode    uint64
	ln       *net.TCPListener
	protocol traffic.Protocol
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
	failures := v.failures
	for key, lv := range v.listeners {
		if f, ok := wk.openListener(ctx, v, key, lv); !ok {
			failures = append(failures, f)
		}
	}
	wk.failures.Store(&failures)
}

func (wk *Worker) openListener(ctx context.Context, v *view, key traffic.ListenerKey, lv *listenerView) (traffic.ListenFailure, bool) {
	fail := func(err error) (traffic.ListenFailure, bool) {
		inUse := new(InUse)
		f := traffic.ListenFailure{ListenerKey: key, Owner: lv.spec.Owner, Error: err.Error(), InUse: errors.As(err, &inUse)}
		return f, false
	}
	path, ok := namespacePath(v.table, key.Namespace)
	if !ok {
		return fail(fmt.Errorf("network namespace %q is not in the table", key.Namespace))
	}
	have := wk.listeners[key]
	if have != nil && path == "" && have.protocol == lv.spec.Protocol {
		return traffic.ListenFailure{}, true
	}
	inode := uint64(0)
	if have != nil && have.protocol == lv.spec.Protocol {
		inode = have.inode
	}
	ln, inode, err := wk.opt.Opener.Open(ctx, key, path, inode)
	if err != nil {
		return fail(err)
	}
	if ln == nil {
		return traffic.ListenFailure{}, true
	}
	if have != nil {
		have.close()
	}
	wk.listeners[key] = &listener{key: key, inode: inode, ln: ln, protocol: lv.spec.Protocol}
	return traffic.ListenFailure{}, true
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
// their routes are in force.
func (wk *Worker) acceptListeners(*view) {
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
	wk.acceptListeners(v)
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
		k, err := wk.newConn(c, l.key, l.protocol)
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
