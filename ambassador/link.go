package ambassador

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/remorahq/remora/ambassador/handoff"
	"github.com/remorahq/remora/internal/traffic"
)

// link is the worker's end of the link to the holder.
type link struct {
	conn    *handoff.Conn
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan reply
	gone    chan struct{}
}

type reply struct {
	m   handoff.Message
	fds []*os.File
}

// file is the one descriptor of a message, or nil.
func file(fds []*os.File) *os.File {
	if len(fds) == 0 {
		return nil
	}
	return fds[0]
}

func closeFiles(fds []*os.File) {
	for _, f := range fds {
		_ = f.Close()
	}
}

func newLink(conn *handoff.Conn) *link {
	return &link{conn: conn, waiting: make(map[uint64]chan reply), gone: make(chan struct{})}
}

// receive hands answers to their callers and everything else to tell, until
// the holder is gone.
func (l *link) receive(tell func(handoff.Message, *os.File)) {
	defer close(l.gone)
	for {
		m, fds, err := l.conn.Receive()
		if err != nil {
			return
		}
		if m.Op != handoff.Answer {
			tell(m, file(fds))
			continue
		}
		if !l.answer(m, fds) {
			closeFiles(fds)
		}
	}
}

// answer gives an answer to who waits for it.
func (l *link) answer(m handoff.Message, fds []*os.File) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	ch := l.waiting[m.ID]
	delete(l.waiting, m.ID)
	if ch != nil {
		ch <- reply{m, fds} // there is room for one
	}
	return ch != nil
}

func (l *link) tell(op handoff.Op) error { return l.conn.Send(handoff.Message{Op: op}, nil) }

// ask sends a message and waits for its answer.
func (l *link) ask(ctx context.Context, m handoff.Message) (reply, error) {
	ch := make(chan reply, 1)
	l.mu.Lock()
	l.last++
	m.ID = l.last
	l.waiting[m.ID] = ch
	l.mu.Unlock()
	defer l.forget(m.ID, ch)
	if err := l.conn.Send(m, nil); err != nil {
		return reply{}, err
	}
	select {
	case r := <-ch:
		return r, nil
	case <-l.gone:
		return reply{}, errors.New("the holder is gone")
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
}

// forget lets nobody wait for an answer any more. What came too late is closed.
func (l *link) forget(id uint64, ch <-chan reply) {
	l.mu.Lock()
	delete(l.waiting, id)
	l.mu.Unlock()
	select {
	case r := <-ch:
		closeFiles(r.fds)
	default:
	}
}

// Open implements [Opener].
func (l *link) Open(ctx context.Context, key traffic.ListenerKey, path string, have uint64) (*net.TCPListener, uint64, error) {
	r, err := l.ask(ctx, handoff.Message{Op: handoff.Open, Key: key, Path: path, Inode: have, Same: have != 0})
	if err != nil {
		return nil, 0, fmt.Errorf("ask the holder for port %d: %w", key.Port, err)
	}
	switch {
	case r.m.Error != "" && r.m.InUse:
		return nil, 0, &InUse{Text: r.m.Error}
	case r.m.Error != "":
		return nil, 0, errors.New(r.m.Error)
	case r.m.Same:
		return nil, r.m.Inode, nil
	case file(r.fds) == nil:
		return nil, 0, errors.New("the holder sent no listener")
	}
	ln, err := net.FileListener(file(r.fds))
	if err = errors.Join(err, file(r.fds).Close()); err != nil {
		return nil, 0, fmt.Errorf("take over listener: %w", err)
	}
	t, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, 0, errors.Join(errors.New("the holder sent no TCP listener"), ln.Close())
	}
	return t, r.m.Inode, nil
}

// Close implements [Opener].
func (l *link) Close(key traffic.ListenerKey) error {
	return l.conn.Send(handoff.Message{Op: handoff.Close, Key: key}, nil)
}

// Sweep implements [Opener].
func (l *link) Sweep() error { return l.tell(handoff.Sweep) }

// Upgrade implements [Opener].
func (l *link) Upgrade(ctx context.Context) error {
	r, err := l.ask(ctx, handoff.Message{Op: handoff.Upgrade})
	switch {
	case err != nil:
		return fmt.Errorf("ask the holder for an upgrade: %w", err)
	case r.m.Error != "":
		return fmt.Errorf("upgrade: %s", r.m.Error)
	}
	return nil
}

// Sockets implements [Opener].
func (l *link) Sockets(ctx context.Context, v6 bool) ([]*os.File, error) {
	r, err := l.ask(ctx, handoff.Message{Op: handoff.Sockets, V6: v6, Count: handoff.MaxFiles})
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask the holder for sockets: %w", err)
	case r.m.Denied:
		return nil, &NotAllowed{Text: r.m.Error}
	case r.m.Error != "":
		return nil, errors.New(r.m.Error)
	}
	return r.fds, nil
}
