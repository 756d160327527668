package app

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

func newTestApp(t *testing.T) *App {
	t.Helper()
	dir := t.TempDir()
	a, err := New(Config{
		Host: manifests.Host{
			Name: "host", State: filepath.Join(dir, "state"), Run: filepath.Join(dir, "run"),
			Engine: "unix://" + filepath.Join(dir, "no-engine.sock"), Ambassador: manifests.HostAmbassador{Mode: "external"},
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// An agent whose engine another agent took ends, and says why.
func TestLockLost(t *testing.T) {
	a := newTestApp(t)
	a.run(t.Context())
	a.lockLost(engine.ErrLocked)
	a.lockLost(engine.ErrLocked) // told twice is told once
	if err := a.Wait(); !errors.Is(err, engine.ErrLocked) || !strings.Contains(err.Error(), "so this one ends") {
		t.Errorf("wait: %v", err)
	}
	if err := a.Stop(t.Context()); !errors.Is(err, engine.ErrLocked) {
		t.Errorf("stop: %v", err)
	}
}

// Start waits for an engine that is away only as long as it may, and Stop is
// idempotent.
func TestStartWithoutEngine(t *testing.T) {
	a := newTestApp(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := a.Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("start: %v", err)
	}
	for range 2 {
		if err := a.Stop(t.Context()); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
}
