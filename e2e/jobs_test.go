package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// migrated has a migration before its web, which writes a row per run.
const migrated = `services:
  migrate:
    image: %[1]s:${MIGRATE_TAG}
    command: [once]
    environment: {APP_ROW_FILE: /rows/runs, APP_EXIT_CODE: "${MIGRATE_EXIT:-0}"}
    volumes: ["runs:/rows"]
  web:
    image: %[1]s:${WEB_TAG}
    ports: ["%[2]d:8080"]
    volumes: ["runs:/rows:ro"]
    depends_on: {migrate: {condition: service_completed_successfully}}
    deploy: {update_config: {monitor: 500ms}}
    x-remora: {probe: {http: /health, interval: 200ms}}
volumes: {runs: {}}
`

// TestMigrationRunsOncePerRelease: once, not again for an unrelated release nor
// by a revert; a failing one keeps the old release.
func TestMigrationRunsOncePerRelease(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	image := load(t, e, "v1", "v2", "v3")
	h := host.Start(t, e, host.Options{})
	port := rig.FreePort(t)
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	set := func(web, migrate, exit string) {
		h.Set(t, "shop", map[string]string{"WEB_TAG": web, "MIGRATE_TAG": migrate, "MIGRATE_EXIT": exit})
		h.Reconcile(t)
	}
	h.App(t, "shop", fmt.Sprintf(migrated, image, port), map[string]string{"WEB_TAG": "v1", "MIGRATE_TAG": "v1", "MIGRATE_EXIT": "0"})
	h.Reconcile(t)
	h.WaitApp(t, "shop", 30*time.Second, "on v1", running("web", "v1"))
	set("v2", "v1", "0")
	h.WaitApp(t, "shop", 30*time.Second, "on v2", running("web", "v2"))
	runs(t, e, url, 1)
	set("v3", "v3", "7")
	h.WaitApp(t, "shop", 30*time.Second, "rolled back", func(a status.App) bool { return a.Rollout == nil && a.Reason == status.Quarantined })
	answers(t, e, url, "v2")
	if out := h.Must(t, "events", "shop"); !strings.Contains(out, "JobFailed") {
		t.Errorf("the events do not name the job:\n%s", out)
	}
	h.Repo.Revert(t, "main")
	h.Reconcile(t)
	h.WaitApp(t, "shop", 30*time.Second, "on v2", running("web", "v2"))
	runs(t, e, url, 2)
}

// runs checks how often the migration wrote its row.
func runs(t *testing.T, e *rig.Engine, url string, want int) {
	t.Helper()
	body, err := get(e, url+"file?path=/rows/runs")
	if err != nil {
		t.Fatalf("read the migration's rows: %v", err)
	}
	if got := len(strings.Fields(strings.TrimSpace(body))); strings.Count(body, "\n") != want {
		t.Errorf("the migration ran %d times (%d words), want %d:\n%s", strings.Count(body, "\n"), got, want, body)
	}
}
