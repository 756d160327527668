package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"

	"github.com/remorahq/remora/internal/engine"
)

// minAPI is the API of Docker 20.10, the oldest engine that is supported.
const minAPI = "1.41"

// Options of an [Engine]; the zero value is the engine that the environment
// names (DOCKER_HOST), else the local one.
type Options struct {
	// Host is the engine's address, such as unix:///var/run/docker.sock.
	Host string
	// ConfigDir holds Docker's config.json with the registries' credentials;
	// default $DOCKER_CONFIG, else ~/.docker.
	ConfigDir string
	// Judge is the host's policy; it sees the final payload of every container
	// before the engine does. Nil permits everything.
	Judge func(engine.Create) error
	// Timeout is how long the engine may take to answer a call that only
	// reads; default 30 s. Calls that change something take what they take.
	Timeout time.Duration
	// Log receives what no error says; default is slog's default.
	Log *slog.Logger
	// Owner names this agent to a second one on the same engine; default is
	// the host's name.
	Owner string
	// LockLost is called once when another agent took the lock of
	// [Engine.Lock] away; nil only logs it.
	LockLost func(error)
}

// Engine is one Docker Engine.
type Engine struct {
	opts  Options
	log   *slog.Logger
	api   atomic.Pointer[client.Client]
	facts cachedFacts
	cache cache

	mu     sync.Mutex // orders the start of goroutines and Close
	closed chan struct{}
	work   sync.WaitGroup
}

// New returns the adapter of an engine. It makes no call: an engine that does
// not answer yet is engine.ErrUnavailable of the first one.
func New(opts Options) (*Engine, error) {
	e := &Engine{opts: opts, log: opts.Log, closed: make(chan struct{})}
	if e.opts.Timeout <= 0 {
		e.opts.Timeout = 30 * time.Second
	}
	if e.log == nil {
		e.log = slog.Default()
	}
	c, err := e.newClient()
	if err != nil {
		return nil, err
	}
	e.api.Store(c)
	e.cache.init()
	return e, nil
}

// newClient makes a client that agrees on a version with its first call.
func (e *Engine) newClient() (*client.Client, error) {
	opts := []client.Opt{
		client.WithHTTPClient(&http.Client{
			CheckRedirect: client.CheckRedirect,
			Transport:     &http.Transport{MaxIdleConnsPerHost: parallel, IdleConnTimeout: 30 * time.Second},
		}),
		client.WithHost(client.DefaultDockerHost), client.FromEnv, client.WithAPIVersionNegotiation(),
	}
	if e.opts.Host != "" {
		opts = append(opts, client.WithHost(e.opts.Host))
	}
	c, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to the engine at %q: %w", e.opts.Host, err)
	}
	return c, nil
}

// client is the present client; it changes when the engine changes its
// version while the agent runs.
func (e *Engine) client() *client.Client { return e.api.Load() }

// version is the API version agreed upon, or why there is none.
func (e *Engine) version(ctx context.Context) (string, error) {
	c := e.client()
	if err := c.NewVersionError(ctx, minAPI, "remora"); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err = classify(err); errors.Is(err, engine.ErrUnavailable) {
			return "", err
		}
		return "", fmt.Errorf("%w: engine %s speaks API %s, remora needs %s (Docker 20.10) or newer",
			engine.ErrUnsupported, c.DaemonHost(), c.ClientVersion(), minAPI)
	}
	return c.ClientVersion(), nil
}

// renegotiate agrees on a version anew, after the engine was away: it may be
// another one now.
func (e *Engine) renegotiate(ctx context.Context) error {
	ping, err := e.client().Ping(ctx)
	if err != nil {
		return classify(err)
	}
	want := ping.APIVersion
	if versions.GreaterThan(want, api.DefaultVersion) {
		want = api.DefaultVersion
	}
	if want == e.client().ClientVersion() {
		return nil
	}
	fresh, err := e.newClient()
	if err != nil {
		return err
	}
	fresh.NegotiateAPIVersionPing(ping)
	// The former client may be in use; its idle connections end by themselves.
	e.api.Store(fresh)
	return nil
}

// background runs f with a context that ends with ctx or with Close, which
// waits for it; after Close it says no.
func (e *Engine) background(ctx context.Context, f func(context.Context)) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isClosed() {
		return false
	}
	ctx, cancel := context.WithCancel(ctx)
	e.work.Go(func() {
		defer cancel()
		f(ctx)
	})
	e.work.Go(func() {
		select {
		case <-e.closed:
			cancel()
		case <-ctx.Done():
		}
	})
	return true
}

func (e *Engine) isClosed() bool {
	select {
	case <-e.closed:
		return true
	default:
		return false
	}
}

// Close ends everything that the adapter started and waits for it. It may be
// called again.
func (e *Engine) Close() error {
	e.mu.Lock()
	if !e.isClosed() {
		close(e.closed)
	}
	e.mu.Unlock()
	e.work.Wait()
	return e.client().Close()
}
