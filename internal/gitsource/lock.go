package gitsource

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lock admits one operation on a source at a time: in this process by a
// semaphore, among processes by a lock on a file. The kernel frees the latter
// when a process dies.
type lock struct {
	path string
	held chan struct{} // holds one element while the lock is taken
}

func newLock(path string) *lock { return &lock{path: path, held: make(chan struct{}, 1)} }

// take waits for the lock, or for the end of ctx.
func (l *lock) take(ctx context.Context) (release func(), err error) {
	select {
	case l.held <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another operation on this source: %w", context.Cause(ctx))
	}
	f, err := l.file(ctx)
	if err != nil {
		<-l.held
		return nil, err
	}
	return func() {
		_ = f.Close() // unlocks
		<-l.held
	}, nil
}

// try takes the lock if nobody has it.
func (l *lock) try() (release func(), ok bool) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	select {
	case l.held <- struct{}{}:
	default:
		return nil, false
	}
	f, err := l.file(ctx)
	if err != nil {
		<-l.held
		return nil, false
	}
	return func() {
		_ = f.Close() // unlocks
		<-l.held
	}, true
}

// file locks the file, asking again until ctx ends: a blocked flock could not
// be ended.
func (l *lock) file(ctx context.Context) (*os.File, error) {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock source: %w", err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return nil, fmt.Errorf("lock %s: %w", l.path, errors.Join(err, f.Close()))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = f.Close() // nothing was written
			return nil, fmt.Errorf("wait for another process that uses this source: %w", context.Cause(ctx))
		}
	}
}
