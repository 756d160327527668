package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/remorahq/remora/e2e/testprogram/jobqueue"
)

// program is the roles at work.
type program struct {
	settings
	account *account
	started time.Time
	mux     *http.ServeMux
	work    sync.WaitGroup
	failed  chan error // first failure of any role; buffered
	kept    []*os.File // open until the process ends
}

// serve runs the roles until ctx ends or one of them fails.
func serve(ctx context.Context, s settings, roles []string, a *account) error {
	p := &program{settings: s, account: a, mux: http.NewServeMux(), failed: make(chan error, 16)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, role := range roles {
		if err := p.begin(ctx, role); err != nil {
			return fmt.Errorf("start role %s: %w", role, err)
		}
	}
	if usesHTTP(roles) {
		if err := p.listenHTTP(ctx); err != nil {
			return err
		}
	}
	var err error
	select {
	case err = <-p.failed:
	case <-ctx.Done():
		pause(context.Background(), s.StopDelay)
	}
	cancel()
	p.work.Wait()
	fmt.Printf("stop version=%s instance=%s\n", s.Version, s.Instance)
	return err
}

func usesHTTP(roles []string) bool {
	return slices.ContainsFunc(roles, func(r string) bool {
		return r == "http" || r == "queue" || r == "database" || r == "caller"
	})
}

func (p *program) begin(ctx context.Context, role string) error {
	switch role {
	case "http":
		p.handle()
	case "queue":
		p.mux.Handle("/jobs/", jobqueue.New(p.Jobs))
	case "database":
		return p.openDatabase()
	case "caller":
		p.callForever(ctx)
	case "worker":
		p.background(func() error { return p.drainQueue(ctx) })
	case "timer":
		p.background(func() error { return p.tick(ctx) })
	case "grpc":
		return p.listenGRPC(ctx)
	case "tcp":
		return errors.Join(p.listenTCP(ctx, p.TCPEcho, false), p.listenTCP(ctx, p.TCPGreeting, true))
	}
	return nil
}

// background runs f; its failure ends the program.
func (p *program) background(f func() error) {
	p.work.Go(func() {
		if err := f(); err != nil {
			p.failed <- err
		}
	})
}

func (p *program) listenHTTP(ctx context.Context) error {
	return p.serveOn(ctx, p.HTTP, &http.Server{Handler: p.identify(p.mux)})
}

// serveOn serves HTTP until the program stops.
func (p *program) serveOn(ctx context.Context, addr string, server *http.Server) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	p.started = time.Now()
	fmt.Printf("listen http=%s version=%s\n", listener.Addr(), p.Version)
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	if p.Temper == shortKeepAlive {
		server.IdleTimeout = 20 * time.Millisecond
	}
	p.background(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	p.background(func() error {
		<-ctx.Done()
		pause(context.Background(), p.StopDelay)
		return server.Shutdown(context.Background())
	})
	return nil
}

// identify puts the release and the instance on every answer.
func (p *program) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Version", p.Version)
		w.Header().Set("X-Instance", p.Instance)
		next.ServeHTTP(w, r)
	})
}
