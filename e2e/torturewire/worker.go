package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/remorahq/remora/e2e/rig"
)

// killWorker kills the holder's one worker and returns when it is dead.
func killWorker(tb rig.TB, holder int) {
	tb.Helper()
	var pid int
	rig.Eventually(tb, 10*time.Second, "the ambassador's worker", func() (err error) {
		pid, err = child(holder)
		return err
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		tb.Fatalf("kill the worker: %v", err)
	}
	rig.Eventually(tb, 10*time.Second, "the worker to be dead", func() error {
		if now, err := child(holder); err == nil && now == pid {
			return fmt.Errorf("%d lives", pid)
		}
		return nil
	})
}

// child is the only child of a process.
func child(pid int) (int, error) {
	var all []string
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0, err
	}
	for _, t := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		if err != nil {
			return 0, err
		}
		all = append(all, strings.Fields(string(text))...)
	}
	if len(all) != 1 {
		return 0, fmt.Errorf("%d has the children %v", pid, all)
	}
	return strconv.Atoi(all[0])
}
