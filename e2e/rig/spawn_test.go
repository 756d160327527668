package rig_test

import (
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/rig"
)

func TestSpawn(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	cmd := e.Command(rig.TestProgram(t), "-http", "127.0.0.1:8090", "-version", "v5")
	p := rig.Spawn(t, "program", cmd)
	if _, version := get(t, e, "http://127.0.0.1:8090/"); version != "v5" {
		t.Errorf("answered by %q", version)
	}
	if err := p.Alive(); err != nil || p.ExitCode() != -1 {
		t.Errorf("it runs, but: %v, code %d", err, p.ExitCode())
	}
	p.Stop(t, 10*time.Second)
	if p.ExitCode() != 0 || !strings.Contains(p.Output(t), "stop version=v5") {
		t.Errorf("code %d, output %q", p.ExitCode(), p.Output(t))
	}
	crashing := rig.Spawn(t, "crashing", e.Command(rig.TestProgram(t), "-crash-after", "1ms", "-exit-code", "9", "timer"))
	<-crashing.Done()
	if err := crashing.Alive(); err == nil || !strings.Contains(err.Error(), "crash version") {
		t.Errorf("its end is told as %v", err)
	}
	if crashing.ExitCode() != 9 {
		t.Errorf("exit code %d, want 9", crashing.ExitCode())
	}
}
