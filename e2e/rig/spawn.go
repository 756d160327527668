package rig

import (
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Process is a program of the test's, such as an agent or an ambassador, that
// runs until it is stopped or the test ends. Its output is kept and shown when
// the test fails. Processes that it started itself are its own business.
type Process struct {
	name string
	run  *process
}

// Spawn starts a command, such as one of [Engine.Command], in a process group
// of its own.
func Spawn(t TB, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	run, err := startProcess(name, filepath.Join(t.TempDir(), "output"), cmd)
	must(t, "spawn "+name, err)
	p := &Process{name: name, run: run}
	t.Cleanup(func() {
		if err := run.stop(syscall.SIGKILL, 0); err != nil {
			t.Errorf("end %s: %v", name, err)
		}
		if t.Failed() {
			t.Logf("last output of %s:\n%s", name, run.tail())
		}
	})
	return p
}

// PID is the process's number.
func (p *Process) PID() int { return p.run.cmd.Process.Pid }

// Alive is nil while the process runs, else an error with its last output.
func (p *Process) Alive() error { return p.run.alive() }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.run.done }

// ExitCode is the exit code after Done; -1 when a signal ended it, or it runs.
func (p *Process) ExitCode() int {
	select {
	case <-p.run.done:
		return p.run.cmd.ProcessState.ExitCode()
	default:
		return -1
	}
}

// Output is everything that the process has written so far, both streams.
func (p *Process) Output(t TB) string {
	t.Helper()
	out, err := p.run.output()
	must(t, "read output of "+p.name, err)
	return string(out)
}

// Signal sends a signal and does not wait.
func (p *Process) Signal(t TB, sig syscall.Signal) {
	t.Helper()
	must(t, "signal "+p.name, p.run.cmd.Process.Signal(sig))
}

// Kill kills the process and returns when it has ended.
func (p *Process) Kill(t TB) {
	t.Helper()
	must(t, "kill "+p.name, p.run.stop(syscall.SIGKILL, 0))
}

// Stop sends SIGTERM and waits; a process that lives longer than the grace
// fails the test.
func (p *Process) Stop(t TB, grace time.Duration) {
	t.Helper()
	must(t, "stop "+p.name, p.run.stop(syscall.SIGTERM, grace))
}
