package docker

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/image"

	"github.com/remorahq/remora/internal/engine"
)

// The lock of an engine is made of two. An abstract unix socket of the host's
// network namespace is exact: the kernel gives it to one process, and takes it
// back when that ends. It does not reach an agent in another namespace, such
// as one in a container. For that there is a mark on the engine: an image of
// no size, whose labels name the agent and which is made anew at every beat.
// An image because nothing else is as harmless: it takes no address and no
// name from anybody, starts nothing, `docker image prune` leaves it alone, and
// what `prune -a` takes is back at the next beat.
const (
	lockRepository = "remora/lock"
	lockTag        = lockRepository + ":agent"

	labelLock = "remora.lock"

	beatEvery = 20 * time.Second
	// lockStale is how long the mark of an agent that was killed keeps others
	// out that cannot see its process.
	lockStale = 3*beatEvery + 10*time.Second
	// lockSettle is the time in which two agents that begin at once see each
	// other's mark: it outlasts one call of the engine.
	lockSettle = 300 * time.Millisecond
)

// holder is what a lock says about the agent that holds it.
type holder struct {
	Nonce string    `json:"nonce"`
	PID   int       `json:"pid"`
	Host  string    `json:"host"`
	Netns string    `json:"netns"`
	Since time.Time `json:"since"`
	Beat  time.Time `json:"beat"`
}

func (h *holder) String() string {
	return fmt.Sprintf("process %d on %s, since %s", h.PID, h.Host, h.Since.Format(time.RFC3339))
}

// Lock makes this the only agent of the engine, or says who is: the error is
// then engine.ErrLocked. release gives the lock back and returns when all that
// held it has ended; it may be called again. Closing the adapter frees the
// socket, and leaves the mark to grow stale. Where another agent takes the
// mark on the engine away later, Options.LockLost hears of it.
func (e *Engine) Lock(ctx context.Context) (release func(), err error) {
	info, err := e.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock the engine: %w", err)
	}
	me := e.holder()
	socket, err := listenLock(info, me)
	if err != nil {
		return nil, fmt.Errorf("lock the engine: %w", err)
	}
	if err := e.claim(ctx, me); err != nil {
		socket.close()
		return nil, fmt.Errorf("lock the engine: %w", err)
	}
	beat, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	if !e.background(beat, func(ctx context.Context) {
		defer close(done)
		defer socket.close()
		e.beat(ctx, me)
	}) {
		cancel()
		socket.close()
		return nil, fmt.Errorf("lock the engine: %w", net.ErrClosed)
	}
	return sync.OnceFunc(func() {
		cancel()
		<-done
		e.unmark(me)
	}), nil
}

func (e *Engine) holder() *holder {
	h := &holder{Nonce: rand.Text(), PID: os.Getpid(), Host: e.opts.Owner, Since: time.Now().UTC().Truncate(time.Second)}
	if h.Host == "" {
		h.Host, _ = os.Hostname()
	}
	h.Netns, _ = os.Readlink("/proc/thread-self/ns/net")
	return h
}

// lockSocket is the abstract socket; it tells who connects who holds it.
type lockSocket struct {
	listener net.Listener
	done     chan struct{}
}

// listenLock takes the socket of an engine. Engines are told apart by ID and
// data folder: two on one host may share the ID.
func listenLock(info engine.Info, me *holder) (*lockSocket, error) {
	sum := sha256.Sum256([]byte(info.ID + "\x00" + info.RootDir))
	name := "@remora/engine/" + hex.EncodeToString(sum[:16])
	listener, err := net.Listen("unix", name)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%w: %s", engine.ErrLocked, askHolder(name))
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", name, err)
	}
	s := &lockSocket{listener: listener, done: make(chan struct{})}
	go s.serve(me)
	return s, nil
}

func (s *lockSocket) serve(me *holder) {
	defer close(s.done)
	answer, _ := json.Marshal(me)
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		// An answer of this size fits the socket's buffer: nobody can hold
		// this up.
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write(answer)
		conn.Close()
	}
}

func (s *lockSocket) close() {
	s.listener.Close()
	<-s.done
}

// askHolder describes who listens at an abstract socket: in its own words,
// and where it has none by its process.
func askHolder(name string) string {
	conn, err := net.DialTimeout("unix", name, time.Second)
	if err != nil {
		return "a process that just ended or does not answer"
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	text, _ := io.ReadAll(io.LimitReader(conn, 4096))
	var h holder
	if json.Unmarshal(text, &h) == nil && h.PID != 0 {
		return h.String()
	}
	cred, err := peerCred(conn.(*net.UnixConn))
	if err != nil {
		return "a process that does not say who it is"
	}
	return fmt.Sprintf("process %d of user %d, which is no agent; it holds the socket %s", cred.Pid, cred.Uid, name)
}

// claim puts the mark on the engine, if nobody alive has one there.
func (e *Engine) claim(ctx context.Context, me *holder) error {
	other, err := e.marked(ctx)
	if err != nil {
		return err
	}
	// One of this network namespace is dead: we hold the socket.
	if other != nil && other.Netns != me.Netns && time.Since(other.Beat) < lockStale {
		return fmt.Errorf("%w: %s (if that is gone, wait %s)", engine.ErrLocked, other, (lockStale - time.Since(other.Beat)).Round(time.Second))
	}
	if err := e.mark(ctx, me); err != nil {
		return err
	}
	select {
	case <-time.After(lockSettle):
	case <-ctx.Done():
		e.unmark(me)
		return ctx.Err()
	}
	return e.mine(ctx, me)
}

// mine says whether the mark is still ours.
func (e *Engine) mine(ctx context.Context, me *holder) error {
	now, err := e.marked(ctx)
	if err != nil {
		return err
	}
	if now != nil && now.Nonce != me.Nonce {
		return fmt.Errorf("%w: %s", engine.ErrLocked, now)
	}
	return nil
}

// marked reads the mark; nil where there is none that can be read.
func (e *Engine) marked(ctx context.Context) (*holder, error) {
	h, err := call(ctx, "read the mark on the engine", func() (*holder, error) {
		i, err := e.client().ImageInspect(ctx, lockTag)
		if err != nil || i.Config == nil {
			return nil, err
		}
		text, err := hex.DecodeString(i.Config.Labels[labelLock])
		var h holder
		if err != nil || json.Unmarshal(text, &h) != nil || h.Nonce == "" {
			return nil, nil
		}
		return &h, nil
	})
	if errors.Is(err, engine.ErrNotFound) {
		return nil, nil
	}
	return h, err
}

// mark makes the image anew, in the place of the last one.
func (e *Engine) mark(ctx context.Context, me *holder) error {
	now := *me
	now.Beat = time.Now().UTC()
	text, err := json.Marshal(&now)
	if err != nil {
		return err
	}
	return do(ctx, "mark the engine", func() error {
		before, _ := e.client().ImageInspect(ctx, lockTag)
		stream, err := e.client().ImageImport(ctx, image.ImportSource{Source: emptyTar(), SourceName: "-"}, lockTag, image.ImportOptions{
			Message: "lock of the remora agent", Changes: []string{"LABEL " + labelLock + "=" + hex.EncodeToString(text)},
		})
		if err != nil {
			return err
		}
		defer stream.Close()
		said, err := io.ReadAll(io.LimitReader(stream, 1<<20))
		if err != nil {
			return err
		}
		var m pullMessage
		if line := bytes.TrimSpace(said); bytes.Contains(line, []byte(`"error"`)) && json.Unmarshal(line, &m) == nil && m.Error != "" {
			return errors.New(m.Error)
		}
		if before.ID != "" {
			_, _ = e.client().ImageRemove(ctx, before.ID, image.RemoveOptions{})
		}
		return nil
	})
}

// emptyTar is an archive of nothing: two empty records.
func emptyTar() io.Reader { return strings.NewReader(strings.Repeat("\x00", 1024)) }

// unmark takes our mark away; what fails here ends by growing stale.
func (e *Engine) unmark(me *holder) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if now, err := e.marked(ctx); err != nil || now == nil || now.Nonce != me.Nonce {
		return
	}
	if _, err := e.client().ImageRemove(ctx, lockTag, image.RemoveOptions{}); err != nil {
		e.log.Debug("the lock's mark stays on the engine", "err", err)
	}
}

// beat renews the mark until ctx ends, and says when somebody took it.
func (e *Engine) beat(ctx context.Context, me *holder) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := e.mine(ctx, me)
		if errors.Is(err, engine.ErrLocked) {
			e.log.Error("another agent took this engine over", "err", err)
			if e.opts.LockLost != nil {
				e.opts.LockLost(err)
			}
			<-ctx.Done()
			return
		}
		if err == nil {
			err = e.mark(ctx, me)
		}
		if err != nil && ctx.Err() == nil {
			e.log.Warn("the lock's mark on the engine is not renewed", "err", err)
		}
	}
}
