package docker_test

import (
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/docker"
)

// line is the connection between an adapter and its engine, which a test can
// cut, and count the bytes on.
type line struct {
	path   string
	engine string
	sent   atomic.Int64 // bytes from the adapter
	hangs  atomic.Bool  // new connections are taken and not answered

	mu       sync.Mutex
	listener net.Listener
	open     map[net.Conn]struct{}
	work     sync.WaitGroup
}

// newLine connects at once; through makes an adapter use it.
func newLine(t *testing.T, e *rig.Engine) *line {
	t.Helper()
	l := &line{path: filepath.Join(t.TempDir(), "engine.sock"), engine: e.Socket(), open: map[net.Conn]struct{}{}}
	l.connect(t)
	t.Cleanup(l.cut)
	return l
}

func (l *line) through(o *docker.Options) { o.Host = "unix://" + l.path }

func (l *line) connect(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("unix", l.path)
	must(t, err)
	l.mu.Lock()
	l.listener = listener
	l.mu.Unlock()
	l.work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			l.work.Go(func() { l.serve(conn) })
		}
	})
}

func (l *line) serve(client net.Conn) {
	if l.hangs.Load() {
		l.keep(client) // and never answer
		return
	}
	server, err := net.Dial("unix", l.engine)
	if err != nil {
		client.Close()
		return
	}
	l.keep(client, server)
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(server, io.TeeReader(client, counter{&l.sent}))
		_ = server.(*net.UnixConn).CloseWrite()
	})
	_, _ = io.Copy(client, server)
	client.Close()
	server.Close()
	both.Wait()
}

func (l *line) keep(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		l.open[c] = struct{}{}
	}
}

// cut ends all connections and refuses new ones.
func (l *line) cut() {
	l.mu.Lock()
	l.listener.Close()
	for c := range l.open {
		c.Close()
	}
	clear(l.open)
	l.mu.Unlock()
	l.work.Wait()
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}
