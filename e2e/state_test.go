package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// TestFullDisk: with no room in the state folder traffic goes on and the status
// says what is wrong; with room again the waiting release goes out.
func TestFullDisk(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	image := load(t, e, "v1", "v2")
	disk := rig.SmallDisk(t, 16<<20)
	h, url := beginWith(t, e, plainWeb, image, host.Options{State: disk, Poll: time.Second})
	free := rig.FillDisk(t, disk)
	h.Set(t, "shop", map[string]string{"WEB_TAG": "v2"})
	rig.Eventually(t, time.Minute, "the status to name the disk", func() error {
		out, err := h.Ask(t.Context())
		if err != nil {
			return err
		}
		for _, s := range out.Sources {
			for _, c := range s.Conditions {
				if c.Reason == status.DiskLow && strings.Contains(c.Message, "no space") {
					return nil
				}
			}
		}
		return errorf("it is %+v", out.Sources)
	})
	answers(t, e, url, "v1")
	if got := h.Active(t, "shop", "web").Inspect(t); !got.State.Running {
		t.Errorf("the container is %+v", got.State)
	}
	free()
	h.Until(t, "shop", "on v2", host.On("web", "v2"))
	answers(t, e, url, "v2")
}

// TestDamagedLedger: from whatever became of the ledger's files the agent comes
// back without touching a container, and goes on deploying.
func TestDamagedLedger(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	image := load(t, e, "v1", "v2", "v3", "v4")
	h, url := begin(t, e, plainWeb, image)
	damages := []struct {
		name   string
		damage func(path string) error
		next   string
	}{
		{"garbage", func(path string) error { return os.WriteFile(path, []byte("\x00\x01garbage"), 0o600) }, "v2"},
		{"truncated", func(path string) error { return os.Truncate(path, 10) }, "v3"},
		{"removed", os.Remove, "v4"},
	}
	whole := t // the agents outlive the parts
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			active := h.Active(t, "shop", "web").Inspect(t)
			h.Agent().Kill(t)
			before := h.Containers(t, "shop", "")
			harmAll(t, filepath.Join(h.State, "ledger", "*.json*"), d.damage)
			h.StartAgent(whole)
			h.WaitHealthy(t, "shop", time.Minute)
			nothingMade(t, active, before, h.Containers(t, "shop", ""))
			if now := h.Active(t, "shop", "web").Inspect(t); now.ID != active.ID || !now.State.StartedAt.Equal(active.State.StartedAt) {
				t.Errorf("the active container was %s, started %s, and is %s, started %s", active.Name, active.State.StartedAt, now.Name, now.State.StartedAt)
			}
			release(t, h, d.next)
			h.Until(t, "shop", "on "+d.next, host.On("web", d.next))
			answers(t, e, url, d.next)
		})
	}
}

// harmAll does harm to every file of a pattern, of which there must be some.
func harmAll(t *testing.T, pattern string, harm func(path string) error) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	for _, path := range files {
		must(t, harm(path))
	}
}

// nothingMade checks that the active container runs on as it was, and that none
// runs that did not before. A former release may leave.
func nothingMade(t *testing.T, active rig.Inspection, before, after []host.Container) {
	t.Helper()
	known := map[string]bool{}
	for _, c := range before {
		known[c.ID] = true
	}
	found := false
	for _, c := range after {
		found = found || c.ID == active.ID
		if c.State == "running" && !known[c.ID] {
			t.Errorf("%s was made", c.Name())
		}
	}
	if !found {
		t.Fatalf("the active container %s is gone", active.Name)
	}
}

// TestDamagedTable: the ambassador serves from the previous copy of its table
// while no agent runs; without any copy the agent gives it a new one.
func TestDamagedTable(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	h, url := begin(t, e, plainWeb, load(t, e, "v1"))
	h.Must(t, "restart", "shop") // the previous copy knows the service, too
	h.WaitHealthy(t, "shop", time.Minute)
	active := h.Active(t, "shop", "web").Inspect(t)
	h.Agent().Kill(t)
	table := filepath.Join(h.State, "ambassador", "table.json")

	h.Ambassador().Kill(t)
	harmAll(t, table, func(path string) error { return os.WriteFile(path, []byte("{"), 0o600) })
	h.StartAmbassador(t)
	answers(t, e, url, "v1")

	h.Ambassador().Kill(t)
	harmAll(t, table+"*", func(path string) error { return os.WriteFile(path, nil, 0o600) })
	h.StartAmbassador(t)
	before := h.Containers(t, "shop", "")
	h.StartAgent(t)
	answers(t, e, url, "v1")
	nothingMade(t, active, before, h.Containers(t, "shop", ""))
}

// TestSecondAgentRefuses: one engine has one agent; another one says so and
// ends, and the first one does not notice.
func TestSecondAgentRefuses(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	first, url := begin(t, e, plainWeb, load(t, e, "v1", "v2"))
	second := host.New(t, e, host.Options{})
	p := second.SpawnAgent(t)
	select {
	case <-p.Done():
	case <-time.After(time.Minute):
		t.Fatalf("the second agent runs:\n%s", p.Output(t))
	}
	if out := p.Output(t); p.ExitCode() <= 0 || !strings.Contains(out, "another agent") {
		t.Errorf("the second agent ended with exit code %d:\n%s", p.ExitCode(), out)
	}
	release(t, first, "v2")
	first.Until(t, "shop", "on v2", host.On("web", "v2"))
	answers(t, e, url, "v2")

	first.Agent().Signal(t, syscall.SIGTERM)
	<-first.Agent().Done()
	second.StartAgent(t) // the lock is free again
}
