package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/api"
	"github.com/remorahq/remora/internal/content"
	"github.com/remorahq/remora/internal/docker"
	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/gitsource"
	"github.com/remorahq/remora/internal/loader"
	"github.com/remorahq/remora/internal/policy"
	"github.com/remorahq/remora/internal/telemetry"
	"github.com/remorahq/remora/reconciler"
)

// sourcePort is a source that can be closed.
type sourcePort interface {
	reconciler.Source
	Close() error
}

func (a *App) openEngine() error {
	e, err := docker.New(docker.Options{Host: a.cfg.Host.Engine, Judge: a.judge, Log: a.cfg.Logger, Owner: a.cfg.Host.Name, LockLost: a.lockLost})
	if err != nil {
		return fmt.Errorf("open engine: %w", err)
	}
	a.engine = e
	a.later("engine", e.Close)
	return nil
}

// judge is the host's policy on a final create payload.
func (a *App) judge(c engine.Create) error {
	violations := policy.Judge(a.policy(c.Labels[engine.LabelSource]), c, a.ownFolders(c)...)
	if len(violations) == 0 {
		return nil
	}
	lines := make([]string, len(violations))
	for i, v := range violations {
		lines[i] = v.String()
	}
	return fmt.Errorf("%w: %s", engine.ErrPolicy, strings.Join(lines, "; "))
}

// ownFolders are the folders that a container may mount from without
// permission: content of commits, its own project's data, and the folder of
// its source where that is a local one.
func (a *App) ownFolders(c engine.Create) []string {
	state := a.cfg.Host.State
	own := []string{
		filepath.Join(state, "blobs"), filepath.Join(state, "live"),
		filepath.Join(state, "data", c.Labels[engine.LabelComposeProject]),
	}
	for _, s := range a.cfg.Host.Sources {
		if s.Name == c.Labels[engine.LabelSource] && s.Folder != "" {
			own = append(own, s.Folder)
		}
	}
	return own
}

func (a *App) openSources() error {
	a.loader = loader.New()
	a.later("loader", func() error { a.loader.Close(); return nil })
	a.sources = map[string]sourcePort{}
	for _, src := range a.cfg.Host.Sources {
		opts := gitsource.Options{State: a.cfg.Host.State, Logger: a.cfg.Logger, Poll: time.Duration(a.cfg.Host.Poll), Fetching: a.loader.Expect}
		var port sourcePort
		var err error
		if src.Folder != "" {
			port, err = gitsource.NewFolder(src, opts)
		} else {
			port, err = gitsource.New(src, opts)
		}
		if err != nil {
			return fmt.Errorf("open source %s: %w", src.Name, err)
		}
		a.sources[src.Name] = port
		a.later("source "+src.Name, port.Close)
	}
	return nil
}

// openCertificates makes what keeps certificates, between the ambassador and the
// reconciler.
func (a *App) openCertificates() error {
	c, err := newCertificates(a.cfg.Host, a.cfg.Logger)
	if err != nil {
		return fmt.Errorf("open certificates: %w", err)
	}
	c.put, c.record = a.ambass.client.PutCertificates, a.journal.Record
	a.certs, a.ambass.certs = c, c
	a.later("certificates", c.close)
	return nil
}

func (a *App) makeReconciler() error {
	store, err := content.New(a.cfg.Host.State)
	if err != nil {
		return fmt.Errorf("open content: %w", err)
	}
	ports := map[string]reconciler.Source{}
	for name, s := range a.sources {
		ports[name] = s
	}
	a.rec, err = reconciler.New(reconciler.Config{
		Host: a.cfg.Host, Engine: a.engine, Traffic: a.ambass, Certificates: a.certs, Sources: ports, Loader: a.loader,
		Content: contentPort{store}, Namespaces: a.namespaces(), Gate: openGate{},
		Journal: a.journal, Policy: a.policy, Logger: a.cfg.Logger, Render: a.render,
		BootID: bootID(), Version: a.cfg.Version, UsedPrefixes: hostPrefixes, KeepClient: mayOpenWays(), PortBusy: portBusy, BeforeAction: a.cfg.BeforeAction,
	})
	if err != nil {
		return fmt.Errorf("make reconciler: %w", err)
	}
	return nil
}

// render is a create payload as the engine would be sent it.
func (a *App) render(c engine.Create) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := a.engine.Render(ctx, c)
	if err != nil {
		return nil, err
	}
	return json.Marshal(req)
}

// openGate grants every rollout: on one host nobody else waits.
type openGate struct{}

func (openGate) Acquire(context.Context, string, string, string) (bool, string, error) {
	return true, "", nil
}
func (openGate) Release(context.Context, string, string) error { return nil }

// portBusy says whether a program holds a TCP port of the host.
func portBusy(port uint16) bool {
	l, err := net.Listen("tcp", ":"+strconv.Itoa(int(port)))
	if err != nil {
		return true
	}
	_ = l.Close()
	return false
}

func (a *App) makeAPI() {
	a.metrics = telemetry.New()
	a.metrics.Attach(a.rec, a.cfg.Version)
	a.api = api.New(api.Options{
		Socket: a.socket(), Backend: a.rec, Events: a.journal, Metrics: a.metrics.Handler(),
		MetricsAddress: a.cfg.Host.API.Metrics, Version: a.cfg.Version, Logger: a.cfg.Logger,
	})
}

// socket is where the API listens.
func (a *App) socket() string {
	if s := a.cfg.Host.API.Socket; s != "" {
		return s
	}
	return filepath.Join(a.cfg.Host.Run, "agent.sock")
}

func (a *App) namespaces() namespaces {
	return namespaces{filepath.Join(a.cfg.Host.Run, "netns")}
}

// lock makes this the only agent of the engine. While the engine does not
// answer the lock is tried again; another agent is an error.
func (a *App) lock(ctx context.Context) error {
	for {
		release, err := a.engine.Lock(ctx)
		if err == nil {
			a.later("engine lock", func() error { release(); return nil })
			return nil
		}
		if !errors.Is(err, engine.ErrUnavailable) {
			return fmt.Errorf("take the engine: %w", err)
		}
		a.cfg.Logger.Warn("the container engine does not answer yet", "err", err)
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(time.Second):
		}
	}
}

// lockLost ends the agent: two on one engine would undo each other's work.
func (a *App) lockLost(err error) {
	a.fail(fmt.Errorf("another agent has taken this engine, so this one ends: %w", err))
}

// Teardown removes every container and network that remora made on the engine
// for this host: what `remora try` leaves. Volumes stay.
func (a *App) Teardown(ctx context.Context) error {
	list, err := a.engine.Containers(ctx)
	if err != nil {
		return unavailable(err)
	}
	var errs []error
	for _, c := range list {
		if c.Ours() && c.Labels[engine.LabelHost] == a.cfg.Host.Name {
			errs = append(errs, a.engine.Remove(ctx, c.ID))
		}
	}
	networks, err := a.engine.Networks(ctx)
	errs = append(errs, err, removeWays())
	for _, n := range networks {
		if n.Labels[engine.LabelHost] == a.cfg.Host.Name {
			errs = append(errs, a.namespaces().Remove(ctx, n.Name), a.engine.RemoveNetwork(ctx, n.Name))
		}
	}
	return errors.Join(errs...)
}
