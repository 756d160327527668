// Package app is the composition root of the agent: it makes every part from
// the host file, joins them, and takes them down again, last in, first out.
//
// Nothing is decided here; what a part needs of another it gets as an
// interface that it declares itself. An App is made once, started once and
// stopped once; Stop may be called from any goroutine, also after a failed
// Start, and returns when everything that was started has ended. Containers
// and traffic go on: the agent is no part of the data path.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/remorahq/remora/internal/api"
	"github.com/remorahq/remora/internal/docker"
	"github.com/remorahq/remora/internal/journal"
	"github.com/remorahq/remora/internal/loader"
	"github.com/remorahq/remora/internal/policy"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/telemetry"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler"
)

// Config is what an App is made of.
type Config struct {
	// Host is the effective host file.
	Host   manifests.Host
	Logger *slog.Logger
	// Version of the agent, as status shows it.
	Version string
	// Progress receives a line for what takes longer than two seconds while
	// starting; nil for none.
	Progress io.Writer
	// BeforeAction is called before every action of a rollout with its name;
	// the crash tests cut the process off there. Nil otherwise.
	BeforeAction func(name string)
}

// App is the agent.
type App struct {
	cfg     Config
	journal *journal.Journal
	engine  *docker.Engine
	rec     *reconciler.Reconciler
	ambass  *ambassador
	certs   *certificates
	sources map[string]sourcePort
	loader  *loader.Loader
	api     *api.Server
	metrics *telemetry.Metrics

	cleanup []step
	stop    sync.Once
	stopErr error
	done    chan struct{}
	runErr  error
	// failed gets the first reason to end that no part returns by itself.
	failed chan error
}

// step is one named part of the teardown.
type step struct {
	name string
	run  func() error
}

// New makes every part; nothing is begun, but the state folder is made and
// locked files are opened. On an error what was made is taken down again.
func New(cfg Config) (_ *App, err error) {
	a := &App{cfg: cfg, done: make(chan struct{}), failed: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.takeDown())
		}
	}()
	for _, dir := range []string{cfg.Host.State, cfg.Host.Run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make folder: %w", err)
		}
	}
	if err := a.openJournal(); err != nil {
		return nil, err
	}
	if err := a.openEngine(); err != nil {
		return nil, err
	}
	if err := a.openSources(); err != nil {
		return nil, err
	}
	a.ambass = newAmbassador(cfg.Host, cfg.Logger)
	a.later("ambassador client", a.ambass.close)
	if err := a.openCertificates(); err != nil {
		return nil, err
	}
	if err := a.makeReconciler(); err != nil {
		return nil, err
	}
	a.makeAPI()
	return a, nil
}

// later adds a step to the teardown.
func (a *App) later(name string, run func() error) {
	a.cleanup = append(a.cleanup, step{name, run})
}

// takeDown runs the steps, last in, first out, and joins their errors.
func (a *App) takeDown() error {
	var errs []error
	for _, s := range slices.Backward(a.cleanup) {
		if err := s.run(); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", s.name, err))
		}
	}
	a.cleanup = nil
	return errors.Join(errs...)
}

func (a *App) openJournal() error {
	j, err := journal.Open(filepath.Join(a.cfg.Host.State, "journal"), journal.Options{Host: a.cfg.Host.Name, Logger: a.cfg.Logger})
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	a.journal = j
	a.later("journal", j.Close)
	return nil
}

// Start takes the engine's lock, makes sure that an ambassador answers, and
// begins to reconcile. An engine that does not answer yet is no error: the
// agent waits for it and says so.
func (a *App) Start(ctx context.Context) error {
	if err := a.lock(ctx); err != nil {
		return errors.Join(err, a.Stop(ctx))
	}
	if err := a.ambass.ensure(ctx, a.cfg.Progress); err != nil {
		return errors.Join(err, a.Stop(ctx))
	}
	a.run(ctx)
	if err := a.api.Start(context.WithoutCancel(ctx)); err != nil {
		return errors.Join(fmt.Errorf("start the API: %w", err), a.Stop(ctx))
	}
	a.later("api", func() error { return a.api.Stop(context.WithoutCancel(ctx)) })
	return nil
}

// run starts the reconciler, the counting of events, and the watch over an
// ambassador of the agent's own.
func (a *App) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	events := a.journal.Subscribe(ctx, a.journal.Last(), status.EventFilter{})
	var beside sync.WaitGroup
	beside.Go(func() { a.metrics.Run(events) })
	beside.Go(func() { a.ambass.keep(ctx) })
	beside.Go(func() { a.certs.run(ctx) })
	go func() {
		defer close(a.done)
		a.runErr = a.reconcile(ctx)
	}()
	a.later("reconciler", func() error {
		cancel()
		<-a.done
		beside.Wait()
		return a.runErr
	})
}

// reconcile runs the reconciler until ctx ends or something else fails.
func (a *App) reconcile(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- a.rec.Run(ctx) }()
	defer cancel()
	select {
	case err := <-ended:
		return err
	case err := <-a.failed:
		cancel()
		return errors.Join(err, <-ended)
	}
}

// fail ends the agent with err; it may be called at any time.
func (a *App) fail(err error) {
	select {
	case a.failed <- err:
	default:
	}
}

// Stop ends everything that was started and returns when it has.
func (a *App) Stop(context.Context) error {
	a.stop.Do(func() { a.stopErr = a.takeDown() })
	return a.stopErr
}

// Wait returns when the reconciler has ended.
func (a *App) Wait() error {
	<-a.done
	return a.runErr
}

// Backend is what answers the API.
func (a *App) Backend() api.Backend { return a.rec }

// Journal is where the events are.
func (a *App) Journal() api.Events { return a.journal }

// SourceNames are the sources that the host follows.
func (a *App) SourceNames() []string {
	var names []string
	for _, s := range a.cfg.Host.Sources {
		names = append(names, s.Name)
	}
	return names
}

// policy is the host's policy for a source: the source's own, where it has
// one, in place of the host's.
func (a *App) policy(source string) manifests.Policy {
	for _, s := range a.cfg.Host.Sources {
		if s.Name == source && s.Policy != nil {
			return policy.Merge(a.cfg.Host.Policy, s.Policy)
		}
	}
	return a.cfg.Host.Policy
}

// bootID is the kernel's, new at every boot.
func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// unavailable is the answer where the agent cannot say.
func unavailable(err error) error {
	return &status.Error{Kind: status.Unavailable, Message: err.Error()}
}
