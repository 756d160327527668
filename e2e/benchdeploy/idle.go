package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// tick is the unit of CPU times in /proc (USER_HZ, 100 on every Linux).
const tick = 10 * time.Millisecond

// idle reads the memory of an agent and an ambassador that carry one app.
func idle(t rig.TB, e *rig.Engine, s settings, f *figures) {
	c := cases()[1]
	name := rig.Unique("bench")
	e.LoadImage(t, rig.Image{Name: name + ":v0", Expose: []string{"8080/tcp"}})
	h := host.Start(t, e, host.Options{Bin: s.bin})
	h.App(t, "shop", c.compose(name, rig.FreePort(t)), map[string]string{"TAG": "v0"})
	h.Reconcile(t)
	settled(t, h)
	rest(t, time.Duration(s.idle)*time.Second)
	f.agent = memory(t, agentPID(h))
	f.ambassador = 0
	for _, pid := range ambassadorPIDs(t, h) {
		f.ambassador += memory(t, pid)
	}
	h.Close(t)
}

// rest lets time pass; what is measured is that nothing happens.
func rest(t rig.TB, d time.Duration) {
	select {
	case <-t.Context().Done():
		t.Fatalf("interrupted")
	case <-time.After(d):
	}
}

// noop measures the CPU of a reconcile with nothing to do, and of one after a
// commit that changes no app.
func noop(t rig.TB, e *rig.Engine, s settings, f *figures) {
	name := rig.Unique("bench")
	e.LoadImage(t, rig.Image{Name: name + ":v0", Expose: []string{"8080/tcp"}})
	h := host.Start(t, e, host.Options{Bin: s.bin})
	var changes []rig.Change
	for a := range s.apps {
		changes = append(changes, rig.File(fmt.Sprintf("environments/%s/app%d/compose.yaml", host.Environment, a), many(name, s.services)))
	}
	h.Commit(t, "many services", changes...)
	h.Reconcile(t)
	rig.Eventually(t, 5*time.Minute, "all apps to be in sync", func() error { return inSync(h.Status(t), s) })
	rest(t, 5*time.Second)
	pid := agentPID(h)
	const rounds = 20
	before := memory(t, pid)
	same := perRound(t, pid, rounds, func(int) { h.Reconcile(t) })
	unrelated := perRound(t, pid, rounds, func(i int) {
		h.Commit(t, "unrelated", rig.File("README.md", fmt.Sprint(i)))
		h.Reconcile(t)
		rest(t, 200*time.Millisecond)
	})
	f.noop = same
	fmt.Printf("\nreconcile, %d apps of %d services (one container each app, the others with replicas: 0), mean of %d:\n", s.apps, s.services, rounds)
	fmt.Printf("  nothing new in the repository   %6.1f ms CPU of the agent\n", same)
	fmt.Printf("  a commit that changes no app    %6.1f ms CPU of the agent and its loaders\n", unrelated)
	fmt.Printf("  memory of the agent             %6.1f MB before, %.1f MB after\n", before, memory(t, pid))
}

// many is an app of n services, of which one has a container.
func many(image string, n int) string {
	var b strings.Builder
	b.WriteString("services:\n")
	for i := range n {
		replicas := 0
		if i == 0 {
			replicas = 1
		}
		fmt.Fprintf(&b, "  s%d: {image: %s:v0, deploy: {replicas: %d, update_config: {monitor: 100ms}}}\n", i, image, replicas)
	}
	return b.String()
}

func inSync(st status.Host, s settings) error {
	n := 0
	for _, a := range st.Apps {
		if a.Sync == status.Synced && a.Rollout == nil {
			n++
		}
	}
	if n != s.apps {
		return fmt.Errorf("%d of %d apps are in sync", n, s.apps)
	}
	return nil
}

// perRound is the CPU time of one round in ms: of the process and of the
// children that it has waited for.
func perRound(t rig.TB, pid, rounds int, f func(int)) float64 {
	begun := cpu(t, pid)
	for i := range rounds {
		f(i)
	}
	return ms(cpu(t, pid)-begun) / float64(rounds)
}

// cpu is user and system time, of waited-for children too (proc(5), stat).
func cpu(t rig.TB, pid int) time.Duration {
	f := statFields(t, pid)
	total := 0
	for _, v := range f[11:15] {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("read CPU time of %d: %v", pid, err)
		}
		total += n
	}
	return time.Duration(total) * tick
}

// statFields are those of /proc/PID/stat after the name; the first is the state.
func statFields(t rig.TB, pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatalf("read process: %v", err)
	}
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}

// memory is the resident set in MB (10^6 bytes).
func memory(t rig.TB, pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatalf("read process: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			kib, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatalf("read memory: %v", err)
			}
			return float64(kib) * 1024 / 1e6
		}
	}
	t.Fatalf("process %d has no VmRSS", pid)
	return 0
}

// agentPID is the agent: the command that entered the namespace replaced
// itself by it.
func agentPID(h *host.Host) int { return h.Agent().PID() }

// ambassadorPIDs are the holder and its worker.
func ambassadorPIDs(t rig.TB, h *host.Host) []int {
	holder := h.Ambassador().PID()
	pids := []int{holder}
	children, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", holder))
	if err != nil {
		t.Fatalf("list children: %v", err)
	}
	for _, path := range children {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		for f := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	if len(pids) < 2 {
		t.Fatalf("the ambassador's holder %d has no worker", holder)
	}
	return pids
}
