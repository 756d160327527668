package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
)

// database is a stop-first service that keeps rows in %[3]s.
const database = `services:
  web:
    image: %[1]s:${WEB_TAG}
    command: [http, database]
    ports: ["%[2]d:8080"]
    environment: {APP_DATA: /data}
    stop_grace_period: 2s
    deploy: {update_config: {monitor: 500ms}}
    x-remora: {probe: {http: /health, interval: 200ms}}
%[3]s
`

// TestDataOutlivesReleases writes a row in each release and reads all of them
// in the next, for the three ways to keep data.
func TestDataOutlivesReleases(t *testing.T) {
	cases := []struct{ name, volumes string }{
		{"named_volume", "    volumes: [\"rows:/data\"]\nvolumes: {rows: {}}"},
		{"anonymous_volume", "    volumes: [\"/data\"]"},
		{"relative_folder", "    volumes: [\"./rows:/data\"]"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
				image := load(t, e, "v1", "v2", "v3")
				h := host.Start(t, e, host.Options{})
				port := rig.FreePort(t)
				url := fmt.Sprintf("http://127.0.0.1:%d/", port)
				h.App(t, "shop", fmt.Sprintf(database, image, port, c.volumes), map[string]string{"WEB_TAG": "v1"})
				h.Reconcile(t)
				for i, tag := range []string{"v1", "v2", "v3"} {
					if i > 0 {
						release(t, h, tag)
					}
					h.WaitApp(t, "shop", 40*time.Second, "on "+tag, running("web", tag))
					addRow(t, e, url, "row of "+tag)
				}
				rows, err := get(e, url+"rows")
				if err != nil {
					t.Fatal(err)
				}
				for _, tag := range []string{"v1", "v2", "v3"} {
					if !strings.Contains(rows, "row of "+tag) {
						t.Errorf("the row of %s is gone: %s", tag, rows)
					}
				}
			})
		})
	}
}

func addRow(t *testing.T, e *rig.Engine, url, row string) {
	t.Helper()
	resp, err := e.Client().Post(url+"rows", "text/plain", strings.NewReader(row))
	if err != nil {
		t.Fatalf("add a row: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		t.Fatalf("add a row: %s", resp.Status)
	}
}
