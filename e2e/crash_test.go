package e2e_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
)

// maxSteps bounds the actions of one rollout in these tests.
const maxSteps = 40

// TestAgentKilledAtEveryStep cuts the agent off at each action of a rollout in
// turn, start-first and stop-first, starts it again, and wants the new release.
func TestAgentKilledAtEveryStep(t *testing.T) {
	t.Run("start_first", func(t *testing.T) { crashAtEveryStep(t, rig.Debian, web) })
	t.Run("stop_first", func(t *testing.T) { crashAtEveryStep(t, rig.Current, databaseNamed) })
}

// databaseNamed is the database with a named volume.
var databaseNamed = strings.Replace(database, "%[3]s", "    volumes: [\"rows:/data\"]\nvolumes: {rows: {}}", 1)

func crashAtEveryStep(t *testing.T, line rig.Line, compose string) {
	e := engines.Get(t, line)
	image := load(t, e, "v0")
	h := host.Start(t, e, host.Options{})
	port := rig.FreePort(t)
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	h.App(t, "shop", fmt.Sprintf(compose, image, port), map[string]string{"WEB_TAG": "v0"})
	h.Reconcile(t)
	h.WaitApp(t, "shop", 40*time.Second, "on v0", running("web", "v0"))
	for step := 1; ; step++ {
		if step > maxSteps {
			t.Fatalf("the rollout has more than %d actions", maxSteps)
		}
		tag := fmt.Sprintf("v%d", step)
		e.LoadImage(t, rig.Image{Name: image + ":" + tag, Version: tag, Expose: []string{"8080/tcp"}})
		died := crashDuring(t, h, tag, step)
		h.WaitApp(t, "shop", time.Minute, "on "+tag+" after a crash at step "+fmt.Sprint(step), running("web", tag))
		answers(t, e, url, tag)
		oneWriter(t, h)
		if !died {
			t.Logf("the rollout has %d actions", step-1)
			return
		}
	}
}

// crashDuring has an agent die at a step of a release, and then starts one
// that does not. It says whether the first one died.
func crashDuring(t *testing.T, h *host.Host, tag string, step int) (died bool) {
	t.Helper()
	died = cutOff(t, h, tag, step)
	if !died {
		stopAgent(t, h)
	}
	h.StartAgent(t)
	return died
}

// cutOff commits a release under an agent that dies at a step, and says
// whether it did, or had rolled it out before.
func cutOff(t *testing.T, h *host.Host, tag string, step int) (died bool) {
	t.Helper()
	stopAgent(t, h)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h.SetAgent([]string{self, "crashing-agent"}, []string{fmt.Sprintf("%s=%d", crashStep, step)})
	defer h.SetAgent(nil, nil)
	h.Set(t, "shop", map[string]string{"WEB_TAG": tag})
	return diesOrSettles(t, h, h.SpawnAgent(t), tag)
}

// diesOrSettles waits until the agent dies or has rolled the release out.
func diesOrSettles(t *testing.T, h *host.Host, p *rig.Process, tag string) (died bool) {
	t.Helper()
	settled := running("web", tag)
	err := rig.Poll(t.Context(), time.Minute, func() error {
		if p.Alive() != nil {
			died = true
			return nil
		}
		s, err := h.TryStatus()
		if err != nil {
			return err
		}
		if a, ok := host.App(s, "shop"); !ok || !settled(a) || len(host.Service(a, "web").Instances) > 2 {
			return fmt.Errorf("not settled")
		}
		return nil
	})
	if err != nil {
		t.Fatalf("the agent neither died nor settled: %v\n%s", err, p.Output(t))
	}
	return died
}

func stopAgent(t *testing.T, h *host.Host) {
	t.Helper()
	if p := h.Agent(); p.Alive() == nil {
		p.Stop(t, 10*time.Second)
	}
}

// oneWriter checks that no database ever saw another one at its data.
func oneWriter(t *testing.T, h *host.Host) {
	t.Helper()
	out, _ := h.Remora(t, "logs", "shop/web")
	if strings.Contains(out, "two-writers") {
		t.Fatalf("two databases on one volume:\n%s", out)
	}
}

// TestEngineRestartedAtEveryStepOfStopFirst kills the agent at each action of a
// stop-first rollout, restarts the engine while no agent runs, and wants that
// at most one container of the service runs, and the new release in the end.
func TestEngineRestartedAtEveryStepOfStopFirst(t *testing.T) {
	e := rig.StartEngine(t, rig.Debian)
	image := load(t, e, "v0")
	h := host.Start(t, e, host.Options{})
	port := rig.FreePort(t)
	h.App(t, "shop", fmt.Sprintf(databaseNamed, image, port), map[string]string{"WEB_TAG": "v0"})
	h.Reconcile(t)
	h.WaitApp(t, "shop", 40*time.Second, "on v0", running("web", "v0"))
	for step := 1; ; step++ {
		if step > maxSteps {
			t.Fatalf("the rollout has more than %d actions", maxSteps)
		}
		tag := fmt.Sprintf("v%d", step)
		e.LoadImage(t, rig.Image{Name: image + ":" + tag, Version: tag, Expose: []string{"8080/tcp"}})
		if !engineRestartDuring(t, h, tag, step) {
			return
		}
		h.WaitApp(t, "shop", time.Minute, fmt.Sprintf("on %s after a restart of the engine at step %d", tag, step), running("web", tag))
	}
}

func engineRestartDuring(t *testing.T, h *host.Host, tag string, step int) (died bool) {
	t.Helper()
	if !cutOff(t, h, tag, step) {
		return false
	}
	h.Engine.Restart(t)
	atMostOne(t, h, step)
	h.StartAgent(t)
	return true
}

// atMostOne checks that the engine runs at most one container of the service.
func atMostOne(t *testing.T, h *host.Host, step int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var list []struct{ Names []string }
	if err := h.Engine.Do(ctx, "GET", "/containers/json?filters=%7B%22label%22%3A%5B%22remora.service%3Dweb%22%5D%7D", nil, &list); err != nil {
		t.Fatalf("list containers: %v", err)
	}
	if len(list) > 1 {
		t.Fatalf("step %d: after a restart of the engine %d containers of a stop-first service run: %v", step, len(list), list)
	}
}
