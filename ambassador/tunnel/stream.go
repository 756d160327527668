package tunnel

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Stream joins a WebSocket that is one stream of an HTTP/2 connection (RFC 8441)
// with a connection to its server. All fields are set before Run.
type Stream struct {
	// Client reads what the client sends. It is closed by Run, which makes a read
	// that waits return.
	Client io.ReadCloser
	// ToClient passes bytes on, at once.
	ToClient func([]byte) error
	// Server is the connection, closed by Run; FromServer was read of it already.
	Server     net.Conn
	FromServer []byte
	// Up counts the client's bytes, Down the server's.
	Up, Down *atomic.Uint64

	ending   atomic.Bool
	mu       sync.Mutex // guards up and closed, and orders writes to the server
	up, down frames
	closed   bool
	atEnd    chan struct{} // closed when nothing more goes to the server
}

// Run copies until the server has ended, End, or an error; true says that the
// client got the end.
func (s *Stream) Run() (whole bool) {
	s.atEnd = make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(s.send)
	err := s.receive()
	switch {
	case errors.Is(err, errEnded):
		s.closeServer()
		whole = s.down.boundary() && s.ToClient([]byte(closePlain)) == nil
		s.await()
	case errors.Is(err, io.EOF):
		whole = true
	}
	_ = s.Server.SetWriteDeadline(time.Unix(1, 0)) // send may wait for it, with the lock held
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	_, _ = s.Server.Close(), s.Client.Close()
	sender.Wait()
	return whole
}

// End ends the WebSocket with status 1012 at the next frames' ends. It does not
// wait.
func (s *Stream) End() {
	if !s.ending.Swap(true) {
		_ = s.Server.SetWriteDeadline(time.Now().Add(frameLimit + lingerLimit))
		_ = s.Server.SetReadDeadline(time.Unix(1, 0))
	}
}

// Abort ends it now, for a client that is gone.
func (s *Stream) Abort() { _ = s.Server.Close() }

// closeServer sends the Close frame, if no frame is under way. Otherwise send
// does at its end.
func (s *Stream) closeServer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.up.boundary() {
		s.endUp()
	}
}

// endUp writes the Close frame, with the lock held.
func (s *Stream) endUp() {
	s.closed = true
	_ = s.Server.SetWriteDeadline(time.Now().Add(lingerLimit))
	_, _ = io.WriteString(s.Server, closeMasked)
	close(s.atEnd)
}

// await waits until the server knows, for a frame's time at most.
func (s *Stream) await() {
	timer := time.NewTimer(frameLimit)
	defer timer.Stop()
	select {
	case <-s.atEnd:
	case <-timer.C:
	}
}

// send passes on what the client sends.
func (s *Stream) send() {
	buf := make([]byte, smallSize)
	for {
		n, err := s.Client.Read(buf)
		if !s.toServer(buf[:n], err) || err != nil {
			return
		}
	}
}

func (s *Stream) toServer(b []byte, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	n := s.up.scan(b, s.ending.Load())
	s.Up.Add(uint64(n))
	if _, werr := s.Server.Write(b[:n]); werr != nil {
		return false
	}
	switch half, ok := s.Server.(interface{ CloseWrite() error }); {
	case s.ending.Load() && s.up.boundary():
		s.endUp()
		return false
	case errors.Is(err, io.EOF) && ok:
		_ = half.CloseWrite()
	case err != nil:
		_ = s.Server.Close()
	}
	return true
}

// receive passes on what the server sends, until it ends (io.EOF) or End
// (errEnded).
func (s *Stream) receive() error {
	if err := s.toClient(s.FromServer); err != nil {
		return err
	}
	buf := make([]byte, bufferSize)
	for late := false; ; {
		if s.ending.Load() && s.down.boundary() {
			return errEnded
		}
		n, err := s.Server.Read(buf)
		if werr := s.toClient(buf[:n]); werr != nil {
			return werr
		}
		switch {
		case err == nil:
		case !s.ending.Load() || !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case late:
			return errEnded
		default: // within a frame
			late = true
			_ = s.Server.SetReadDeadline(time.Now().Add(frameLimit))
		}
	}
}

func (s *Stream) toClient(b []byte) error {
	n := s.down.scan(b, s.ending.Load())
	if n == 0 {
		return nil
	}
	s.Down.Add(uint64(n))
	return s.ToClient(b[:n])
}
