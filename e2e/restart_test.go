package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// tenant says in every answer which app it is.
const tenant = `services:
  web:
    image: %s:v1
    environment: {APP_VERSION: %s}
    ports: ["%d:8080"]
    stop_grace_period: 1s
    deploy: {update_config: {monitor: 100ms}}
    x-remora: {probe: {http: /health, interval: 200ms}}
`

// backWithin is how long an app may be away once the engine answers again.
const backWithin = 10 * time.Second

// TestEngineRestartMixesNothingUp restarts the engine while no agent runs, with
// twenty apps on the same container port: no request is ever answered by
// another app, and all are back without help.
func TestEngineRestartMixesNothingUp(t *testing.T) {
	e := rig.StartEngine(t, rig.Debian)
	image := load(t, e, "v1")
	h := host.Start(t, e, host.Options{})
	ports := map[string]int{}
	for i := range 20 {
		app := fmt.Sprintf("app-%02d", i)
		ports[app] = rig.FreePort(t)
		h.App(t, app, fmt.Sprintf(tenant, image, app, ports[app]), nil)
	}
	h.Reconcile(t)
	for app := range ports {
		h.Until(t, app, "healthy", func(a status.App) bool { return a.Rollout == nil && a.Health == status.Healthy })
	}
	h.Agent().Kill(t)

	w := watch(t, e, ports)
	w.wait(t, time.Now(), 5*time.Second) // each answers before
	e.Restart(t)
	since := time.Now()
	w.wait(t, since, backWithin)
	back := w.lastBack(since)
	h.StartAgent(t)
	w.more(t, 1000)
	w.stop()
	for app, other := range w.wrong {
		t.Errorf("requests for %s were answered by %s", app, other)
	}
	t.Logf("%d answers; the last app was back %s after the engine", w.answers, back.Round(time.Millisecond))
}

// watcher asks every app all the time who it is.
type watcher struct {
	stop func()

	mu      sync.Mutex
	answers int
	seen    map[string]time.Time // the last right answer of each app
	first   map[string]time.Time // the first right answer since a mark
	wrong   map[string]string
}

func watch(t *testing.T, e *rig.Engine, ports map[string]int) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watcher{seen: map[string]time.Time{}, first: map[string]time.Time{}, wrong: map[string]string{}}
	var group sync.WaitGroup
	w.stop = func() { cancel(); group.Wait() }
	t.Cleanup(w.stop)
	for app, port := range ports {
		group.Go(func() { w.follow(ctx, e, app, port) })
	}
	return w
}

func (w *watcher) follow(ctx context.Context, e *rig.Engine, app string, port int) {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DialContext: e.DialContext, DisableKeepAlives: true}}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		if who, err := whoAnswers(client, port); err == nil {
			w.note(app, who)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func whoAnswers(client *http.Client, port int) (string, error) {
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("answered %s", resp.Status)
	}
	var answer struct{ Version string }
	err = json.NewDecoder(resp.Body).Decode(&answer)
	return answer.Version, err
}

func (w *watcher) note(app, who string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers++
	if who != app {
		w.wrong[app] = who
		return
	}
	w.seen[app] = time.Now()
	if w.first[app].IsZero() {
		w.first[app] = w.seen[app]
	}
}

// wait waits until every app has answered since a time.
func (w *watcher) wait(t *testing.T, since time.Time, within time.Duration) {
	t.Helper()
	w.mu.Lock()
	clear(w.first)
	w.mu.Unlock()
	rig.Eventually(t, within, "every app to answer", func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		for app, at := range w.first {
			if at.Before(since) {
				delete(w.first, app)
			}
		}
		if len(w.first) < 20 {
			return errorf("%d of 20 do", len(w.first))
		}
		return nil
	})
}

// more waits for so many further answers.
func (w *watcher) more(t *testing.T, n int) {
	t.Helper()
	count := func() int { w.mu.Lock(); defer w.mu.Unlock(); return w.answers }
	until := count() + n
	rig.Eventually(t, time.Minute, "more answers", func() error {
		if now := count(); now < until {
			return errorf("%d are missing", until-now)
		}
		return nil
	})
}

func (w *watcher) lastBack(since time.Time) (longest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range w.first {
		longest = max(longest, at.Sub(since))
	}
	return longest
}
