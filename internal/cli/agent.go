package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/api"
	composition "github.com/remorahq/remora/internal/app"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/version"
	"github.com/remorahq/remora/manifests"
)

// instance is the agent as this package uses it.
type instance interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	Wait() error
	Backend() api.Backend
	Teardown(ctx context.Context) error
}

var _ instance = (*composition.App)(nil)

func (a *app) agentCommand() *cobra.Command {
	var print bool
	var host *hostConfig
	c := &cobra.Command{
		Use:   "agent",
		Short: "follow the repository and keep this host as it says",
		Long: `Runs the agent in the foreground; a service manager starts it. Traffic does not
depend on it: the ambassador goes on while it is stopped, restarted or upgraded.

Reads the host file; REMORA_* variables stand over it, flags over both. When the
file changes, sources, policy, labels, variables, the poll and the log's level are
taken at once; for the rest it says that it wants a restart. SIGHUP reads the file
and looks at the repository.`,
		Example: `  remora agent
  remora agent --config ./host.yaml --log-level debug
  REMORA_POLICY_PRESET=compose remora agent --print-config`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := host.read()
			if err != nil {
				return err
			}
			if print {
				return printHost(a.out, cfg)
			}
			g := agent{app: a, file: host}
			g.log = newLogger(a.err, cfg.Log, &g.level)
			return g.run(c.Context(), cfg)
		},
	}
	host = hostFlags(c)
	c.Flags().BoolVar(&print, "print-config", false, "print the effective host file, secrets as ***, and exit")
	return c
}

type agent struct {
	*app
	file  *hostConfig
	log   *slog.Logger
	level slog.LevelVar
}

// errReload ends an instance so that the next one takes the new host file.
var errReload = errors.New("the host file changed")

// run runs one instance after the other until ctx ends.
func (g *agent) run(ctx context.Context, cfg manifests.Host) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	changed, stopWatching, err := watchFile(g.file.path)
	if err != nil {
		g.log.Warn("the host file is not watched: SIGHUP reads it again", "error", err)
	}
	defer stopWatching()
	former := cfg
	for {
		next, err := g.instance(ctx, cfg, hup, changed)
		switch {
		case errors.Is(err, errReload):
			former, cfg = cfg, next
		case err != nil && !reflect.DeepEqual(cfg, former) && ctx.Err() == nil:
			g.log.Error("the agent does not run with the new host file; going back to the former", "error", err)
			cfg = former
		default:
			return err
		}
	}
}

// instance runs the agent until ctx ends, it fails, or the host file asks for
// a new one: then the error is errReload.
func (g *agent) instance(ctx context.Context, cfg manifests.Host, hup <-chan os.Signal, changed <-chan struct{}) (next manifests.Host, err error) {
	in, err := composition.New(composition.Config{Host: cfg, Logger: g.log, Version: version.Get().Version})
	if err != nil {
		return next, err
	}
	if err := in.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return next, nil // asked to end while starting
		}
		return next, err
	}
	defer func() {
		g.notify(ctx, "STOPPING=1")
		err = errors.Join(err, in.Stop(context.WithoutCancel(ctx)))
	}()
	ended := make(chan error, 1)
	go func() { ended <- in.Wait() }()
	g.log.Info("the agent runs", "host", cfg.Name, "version", version.Get().Version, "engine", cfg.Engine, "sources", len(cfg.Sources))
	if len(cfg.Sources) == 0 {
		g.log.Warn("the host file names no source: nothing is followed, what runs goes on")
	}
	g.notify(ctx, "READY=1")
	return g.serve(ctx, in, cfg, ended, hup, changed)
}

func (g *agent) serve(ctx context.Context, in instance, cfg manifests.Host, ended <-chan error, hup <-chan os.Signal, changed <-chan struct{}) (manifests.Host, error) {
	var watchdog <-chan time.Time
	if every := watchdogInterval(); every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		watchdog = t.C
	}
	for {
		select {
		case <-ctx.Done():
			g.log.Info("the agent ends; containers and traffic go on")
			return cfg, nil
		case err := <-ended:
			if err == nil && ctx.Err() == nil {
				err = errors.New("the reconciler ended by itself")
			}
			return cfg, err
		case <-watchdog:
			g.alive(ctx, in)
			continue
		case <-changed:
		case <-hup:
			g.reconcile(ctx, in)
		}
		next, again := g.reload(cfg)
		if again {
			return next, errReload
		}
		cfg = next
	}
}

// reload reads the host file again; again says that it takes a new instance.
func (g *agent) reload(now manifests.Host) (next manifests.Host, again bool) {
	read, err := g.file.read()
	if err != nil {
		g.log.Error("the changed host file is not taken; the former stays in force", "error", err)
		return now, false
	}
	next, kept := reloaded(now, read)
	if len(kept) > 0 {
		g.log.Warn("a part of the changed host file is taken only when the agent is restarted", "settings", strings.Join(kept, ", "))
	}
	g.level.Set(logLevel(next.Log.Level))
	now.Log.Level = next.Log.Level
	if reflect.DeepEqual(now, next) {
		return now, false
	}
	g.log.Info("the host file changed; taking it")
	return next, true
}

// alive tells the service manager that the agent answers.
func (g *agent) alive(ctx context.Context, in instance) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := in.Backend().Status(ctx); err != nil {
		g.log.Error("the agent cannot tell its own status", "error", err)
		return
	}
	g.notify(ctx, "WATCHDOG=1")
}

func (g *agent) reconcile(ctx context.Context, in instance) {
	cmd := status.Command{Verb: "reconcile", Actor: status.Actor{Kind: "remora", Name: "SIGHUP"}}
	if _, err := in.Backend().Do(ctx, cmd); err != nil {
		g.log.Warn("reconcile on SIGHUP", "error", err)
	}
}

func (g *agent) notify(ctx context.Context, state string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := notifySystemd(ctx, state); err != nil {
		g.log.Warn("tell the service manager", "state", state, "error", err)
	}
}

// watchFile tells of changes of a file, also where editors replace it. The
// channel gives one signal for changes in quick succession.
func watchFile(path string) (<-chan struct{}, func(), error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, func() {}, err
	}
	full, err := filepath.Abs(path)
	if err == nil {
		err = w.Add(filepath.Dir(full))
	}
	if err != nil {
		return nil, func() {}, errors.Join(fmt.Errorf("watch %s: %w", path, err), w.Close())
	}
	out := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		settle(w, full, out)
	}()
	return out, func() {
		_ = w.Close()
		<-done
	}, nil
}

// settle signals once no event of the file has come for a moment.
func settle(w *fsnotify.Watcher, path string, out chan<- struct{}) {
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	for {
		select {
		case e, ok := <-w.Events:
			if !ok {
				return
			}
			if e.Name == path {
				quiet.Reset(200 * time.Millisecond)
			}
		case _, ok := <-w.Errors:
			if !ok {
				return
			}
		case <-quiet.C:
			quiet.Reset(time.Hour)
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}
}
