package rig_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remorahq/remora/e2e/rig"
)

const victim = "RIG_TEST_VICTIM"

// TestVictim is the child of TestLeftoversAreSwept: it leaves an engine with a
// running and a paused container behind. Alone it does nothing.
func TestVictim(t *testing.T) {
	if os.Getenv(victim) == "" {
		return
	}
	e := rig.StartEngine(t, rig.Debian)
	image := e.LoadImage(t, rig.Image{Name: "web:v1"})
	paused := e.Run(t, rig.Spec{Image: image})
	paused.Post(t, "pause")
	marker := filepath.Join(filepath.Dir(e.Socket()), rig.Unique("marker"))
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("left %s %s\n", marker, paused.ID)
	<-t.Context().Done()
}

func TestLeftoversAreSwept(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$", "-test.v")
	cmd.Env = append(os.Environ(), victim+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var marker, container string
	for lines := bufio.NewScanner(out); marker == "" && lines.Scan(); {
		if left, ok := strings.CutPrefix(lines.Text(), "left "); ok {
			marker, container, _ = strings.Cut(left, " ")
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as it should be
	if marker == "" {
		t.Fatal("the child did not start its engine")
	}
	if len(processesOf(t, container)) == 0 {
		t.Fatal("the child left nothing: this test shows nothing")
	}
	if err := rig.Sweep(); err != nil {
		t.Fatal(err)
	}
	if left := processesOf(t, container); len(left) != 0 {
		t.Errorf("processes are left: %q", left)
	}
	if _, err := os.Stat(marker); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
	if groups, _ := filepath.Glob("/sys/fs/cgroup/*/remora-rig-*/" + container); len(groups) != 0 {
		t.Errorf("cgroups are left: %q", groups)
	}
}

// processesOf are the command lines that name the container.
func processesOf(t *testing.T, container string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(line), container) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}
