package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Options are what a server is made of.
type Options struct {
	// Socket is the path of the unix socket; default [DefaultSocket].
	Socket string
	// Mode is the socket's permission, default 0600; 0660 lets the folder's
	// group in.
	Mode fs.FileMode
	// Backend and Events are required.
	Backend Backend
	Events  Events
	// Metrics serves /metrics; without it that page does not exist.
	Metrics http.Handler
	// MetricsAddress is a TCP address that serves /metrics, /healthz and
	// /readyz, and nothing else; empty is none.
	MetricsAddress string
	// Version is the agent's.
	Version string
	// Poll is how often a watched status is looked at; default 250 ms.
	Poll time.Duration
	// Heartbeat is the pause after which a silent stream says that it lives;
	// default 15 s.
	Heartbeat time.Duration
	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

// ErrInUse says that another agent answers on the socket.
var ErrInUse = errors.New("another agent answers on the socket")

// Server is the API's server. Make one with [New].
type Server struct {
	opt     Options
	log     *slog.Logger
	servers []*http.Server
	socket  os.FileInfo
	metrics net.Addr
	cancel  context.CancelFunc
	done    sync.WaitGroup
	once    sync.Once
	err     error
}

// New returns a server that does not listen yet.
func New(opt Options) *Server {
	if opt.Socket == "" {
		opt.Socket = DefaultSocket
	}
	if opt.Mode == 0 {
		opt.Mode = 0o600
	}
	if opt.Poll <= 0 {
		opt.Poll = 250 * time.Millisecond
	}
	if opt.Heartbeat <= 0 {
		opt.Heartbeat = 15 * time.Second
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	return &Server{opt: opt, log: opt.Logger}
}

// Start listens and serves until Stop. Values of ctx reach the backend; its end
// ends all requests but does not stop the server.
func (s *Server) Start(ctx context.Context) error {
	ctx, s.cancel = context.WithCancel(ctx)
	socket, err := s.listenSocket(ctx)
	if err != nil {
		s.cancel()
		return err
	}
	s.serve(ctx, socket, s.routes())
	if s.opt.MetricsAddress == "" {
		return nil
	}
	tcp, err := new(net.ListenConfig).Listen(ctx, "tcp", s.opt.MetricsAddress)
	if err != nil {
		return errors.Join(fmt.Errorf("serve metrics: %w", err), s.Stop(ctx))
	}
	s.metrics = tcp.Addr()
	s.serve(ctx, tcp, s.publicRoutes())
	return nil
}

// MetricsAddr is the TCP address that metrics are served on, nil for none.
func (s *Server) MetricsAddr() net.Addr { return s.metrics }

func (s *Server) serve(ctx context.Context, l net.Listener, h http.Handler) {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withPeer,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.servers = append(s.servers, server)
	s.done.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the API stopped serving", "address", l.Addr().String(), "error", err)
		}
	})
}

// listenSocket binds under another name and renames, so that the socket never
// exists with a wider permission than it should have.
func (s *Server) listenSocket(ctx context.Context) (net.Listener, error) {
	path := s.opt.Socket
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the socket's folder: %w", err)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, ErrInUse)
	}
	private, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	defer os.RemoveAll(private) //nolint:errcheck // an empty folder
	temp := filepath.Join(private, "s")
	l, err := new(net.ListenConfig).Listen(ctx, "unix", temp)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	s.socket, err = publish(temp, path, s.opt.Mode)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), l.Close())
	}
	return l, nil
}

func publish(temp, path string, mode fs.FileMode) (os.FileInfo, error) {
	if err := os.Chmod(temp, mode); err != nil {
		return nil, err
	}
	if err := os.Rename(temp, path); err != nil {
		return nil, err
	}
	return os.Lstat(path)
}

// Stop ends streams, lets requests under way finish while ctx lasts, and
// returns when everything has ended. It may be called again.
func (s *Server) Stop(ctx context.Context) error {
	s.once.Do(func() {
		if s.cancel == nil {
			return
		}
		s.cancel()
		s.removeSocket()
		for _, server := range s.servers {
			if err := server.Shutdown(ctx); err != nil {
				s.err = errors.Join(s.err, err, server.Close())
			}
		}
		s.done.Wait()
	})
	return s.err
}

// removeSocket removes the socket unless a successor has put its own there.
func (s *Server) removeSocket() {
	now, err := os.Lstat(s.opt.Socket)
	if err != nil || s.socket == nil || !os.SameFile(now, s.socket) {
		return
	}
	if err := os.Remove(s.opt.Socket); err != nil {
		s.log.Warn("remove the API's socket", "error", err)
	}
}
