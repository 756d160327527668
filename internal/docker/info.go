package docker

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/network"

	"github.com/remorahq/remora/internal/engine"
)

// factsTTL is how long facts for payloads hold while no event stream would
// say that the engine was restarted.
const factsTTL = 30 * time.Second

// engineFacts are what is known about the engine itself.
type engineFacts struct {
	info      engine.Info
	payload   Facts
	serverAPI string // the newest that the engine speaks, also where we do not
}

// cachedFacts hold until the connection to the engine breaks.
type cachedFacts struct {
	mu    sync.Mutex
	facts *engineFacts
	read  time.Time
}

func (c *cachedFacts) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.facts = nil
}

func (c *cachedFacts) get() (*engineFacts, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.facts, c.read
}

func (c *cachedFacts) set(f *engineFacts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.facts, c.read = f, time.Now()
}

// Info describes the engine. Info.Start is another value after every start of
// the engine that may have moved addresses.
func (e *Engine) Info(ctx context.Context) (engine.Info, error) {
	if f, _ := e.facts.get(); f != nil && e.cache.live() {
		return f.info, nil
	}
	f, err := e.readFacts(ctx)
	if err != nil {
		return engine.Info{}, err
	}
	return f.info, nil
}

// engineFacts are the facts, at most factsTTL old.
func (e *Engine) engineFacts(ctx context.Context) (*engineFacts, error) {
	if f, read := e.facts.get(); f != nil && (e.cache.live() || time.Since(read) < factsTTL) {
		return f, nil
	}
	return e.readFacts(ctx)
}

func (e *Engine) readFacts(ctx context.Context) (*engineFacts, error) {
	f, err := ask(ctx, e, "ask the engine for its state", func(ctx context.Context) (*engineFacts, error) {
		version, err := e.version(ctx)
		if err != nil {
			return nil, err
		}
		ping, err := e.client().Ping(ctx)
		if err != nil {
			return nil, err
		}
		info, err := e.client().Info(ctx)
		if err != nil {
			return nil, err
		}
		d := e.daemon()
		return &engineFacts{
			info: engine.Info{
				ID: info.ID, Version: info.ServerVersion, APIVersion: version, Start: e.start(ctx, d),
				RootDir: info.DockerRootDir, Cgroup: info.CgroupVersion, Name: info.Name,
			},
			serverAPI: ping.APIVersion,
			payload:   Facts{API: version, LogDriver: info.LoggingDriver, LogOptions: d.logOptions()},
		}, nil
	})
	if err != nil {
		return nil, err
	}
	e.facts.set(f)
	return f, nil
}

// start names this start of the engine by three marks, of which the ones that
// can be seen are joined: the kernel's boot; the engine's process, behind its
// socket (not where systemd listens for it, or from within a container); and
// the default bridge, which every start makes anew unless containers lived on
// (`live-restore`: then their addresses did not move either).
func (e *Engine) start(ctx context.Context, d daemon) string {
	var marks []string
	if boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		marks = append(marks, "boot="+strings.TrimSpace(string(boot)))
	}
	if d.pid > 0 {
		marks = append(marks, fmt.Sprintf("process=%d/%s", d.pid, d.started))
	}
	if bridge, err := e.client().NetworkInspect(ctx, "bridge", network.InspectOptions{}); err == nil {
		marks = append(marks, "bridge="+short(bridge.ID))
	}
	return strings.Join(marks, " ")
}
