package http2x

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"
)

// ErrLost says that a body cannot be read from its beginning any more.
var ErrLost = errors.New("the body was not kept")

// errLetGo is what a read of an attempt that was let go of returns.
var errLetGo = errors.New("the attempt was let go of")

const pieceSize = 16 << 10

// Upload is a request's body that is read once and can be sent more than once,
// as long as all of it so far is kept. A goroutine reads it, so that an attempt
// can be given up while the client is silent; it reads ahead no more than is
// kept, and no more than one piece when nothing is.
type Upload struct {
	src    io.ReadCloser
	length int64
	limit  int
	charge func(int64) bool
	slow   func(read int64, waited time.Duration) bool
	end    sync.WaitGroup

	mu   sync.Mutex
	cond sync.Cond
	kept []byte // from base on
	base int64
	lost bool  // base is not the beginning
	err  error // how the body ended
	shut bool
	now  *Attempt
}

// NewUpload begins to read src, whose length is told, or -1. A body has ended
// with its last byte: a server may answer that before another read would tell.
// limit is how many bytes are kept; charge is
// asked for each that is, and may say no. slow is told how much came in which
// time of waiting; true gives the body up.
func NewUpload(src io.ReadCloser, length int64, limit int, charge func(int64) bool, slow func(int64, time.Duration) bool) *Upload {
	u := &Upload{src: src, length: length, limit: limit, charge: charge, slow: slow}
	u.cond.L = &u.mu
	u.end.Go(u.fill)
	return u
}

// Close ends reading and returns when it has ended.
func (u *Upload) Close() {
	u.mu.Lock()
	u.shut = true
	u.cond.Broadcast()
	u.mu.Unlock()
	_ = u.src.Close()
	u.end.Wait()
}

// fill reads the body.
func (u *Upload) fill() {
	buf := make([]byte, pieceSize)
	read, waited := int64(0), time.Duration(0)
	for u.mayRead() {
		begun := time.Now()
		n, err := u.src.Read(buf)
		read, waited = read+int64(n), waited+time.Since(begun)
		switch {
		case err == nil && read == u.length:
			err = io.EOF
		case err == nil && u.slow(read, waited):
			err = ErrSlow
		}
		if !u.add(buf[:n], err) || err != nil {
			return
		}
	}
}

// ErrSlow says that the client sends its body too slowly.
var ErrSlow = errors.New("the body comes too slowly")

// consumed says that the present attempt has read all there is.
func (u *Upload) consumed() bool {
	return u.now != nil && u.now.at == u.base+int64(len(u.kept))
}

func (u *Upload) mayRead() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for !u.shut && (u.lost || len(u.kept) >= u.limit) && !u.consumed() {
		u.cond.Wait()
	}
	return !u.shut
}

// add keeps a piece. Where it cannot be kept beside what there is, that goes
// when the attempt has read it.
func (u *Upload) add(piece []byte, err error) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	defer u.cond.Broadcast()
	if len(piece) > 0 && (u.lost || len(u.kept)+len(piece) > u.limit || !u.charge(int64(len(piece)))) {
		for !u.shut && !u.consumed() {
			u.cond.Wait()
		}
		u.lost = true
		u.base += int64(len(u.kept))
		u.kept = append(u.kept[:0:0], piece...)
	} else {
		u.kept = append(u.kept, piece...)
	}
	u.err = err
	return !u.shut
}

// Whole says that the body can still be read from its beginning.
func (u *Upload) Whole() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return !u.lost
}

// Ended says how reading has ended: nil not yet, [io.EOF] well.
func (u *Upload) Ended() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// Small waits until the body has ended, if it is not larger than what is kept,
// and returns it whole; false says that it is larger or did not end well.
func (u *Upload) Small() ([]byte, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.err == nil && !u.shut && !u.lost && len(u.kept) < u.limit {
		u.cond.Wait()
	}
	return u.kept, errors.Is(u.err, io.EOF) && !u.lost
}

// Attempt begins to read the body from its beginning again. The attempt before
// is let go of.
func (u *Upload) Attempt() (*Attempt, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lost {
		return nil, ErrLost
	}
	if u.now != nil {
		u.now.closed = true
	}
	u.now = &Attempt{u: u}
	u.cond.Broadcast()
	return u.now, nil
}

// Attempt is a body as one attempt reads it.
type Attempt struct {
	u      *Upload
	at     int64
	closed bool
}

// Read implements [io.Reader].
func (a *Attempt) Read(p []byte) (int, error) {
	u := a.u
	u.mu.Lock()
	defer u.mu.Unlock()
	for {
		have := u.base + int64(len(u.kept)) - a.at
		switch {
		case a.closed || u.shut:
			return 0, errLetGo
		case have > 0:
			n := copy(p, u.kept[a.at-u.base:])
			a.at += int64(n)
			if u.consumed() {
				u.cond.Broadcast()
			}
			return n, nil
		case u.err != nil:
			return 0, u.err
		}
		u.cond.Wait()
	}
}

// Close implements [io.Closer]; a read that waits returns.
func (a *Attempt) Close() error {
	a.u.mu.Lock()
	defer a.u.mu.Unlock()
	a.closed = true
	a.u.cond.Broadcast()
	return nil
}

// Done says whether the attempt has read the body to its end.
func (a *Attempt) Done() bool {
	a.u.mu.Lock()
	defer a.u.mu.Unlock()
	return errors.Is(a.u.err, io.EOF) && a.at == a.u.base+int64(len(a.u.kept))
}

// Whole is a body that is at hand.
func Whole(b []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) }
