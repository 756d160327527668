package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
)

// errorf is fmt.Errorf, short because conditions are many.
func errorf(format string, args ...any) error { return fmt.Errorf(format, args...) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// beginWith is begin with options of the host.
func beginWith(t *testing.T, e *rig.Engine, compose, image string, opts host.Options) (h *host.Host, url string) {
	t.Helper()
	h = host.Start(t, e, opts)
	port := rig.FreePort(t)
	h.App(t, "shop", fmt.Sprintf(compose, image, port), map[string]string{"WEB_TAG": "v1"})
	h.Reconcile(t)
	h.WaitHealthy(t, "shop", time.Minute)
	return h, fmt.Sprintf("http://127.0.0.1:%d/", port)
}
