// Package rig is the ground that the end-to-end tests stand on: Docker
// Engines of our own, git servers, a registry, and images made of one test
// program. Everything in it is the real thing; nothing is a double.
//
// It must not import anything of remora (it judges remora), must not touch
// the machine's own engine unless asked for it by [MachineEngine], and must
// leave nothing behind: what it starts is removed by the cleanup of the test
// that asked for it, and leftovers of a killed test are removed by the next.
//
// Helpers take a [TB], fail it with a reason, and never skip. They are called
// from the test's own goroutine; the values that they return are safe for
// concurrent use where they say so. Every goroutine of the package has ended
// when the cleanup of its TB has.
package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
)

// TB is the part of testing.TB that the rig uses. Tests pass their *testing.T
// or *testing.B; programs such as the demo get one from [Run].
type TB interface {
	Helper()
	Name() string
	Context() context.Context
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(func())
	TempDir() string
}

// Run runs main as a program that uses the rig and returns its exit code: 0,
// or 1 when it failed. SIGINT and SIGTERM end its context. Cleanups run last
// in, first out, also after a failure or a panic. Messages go to w.
func Run(name string, w io.Writer, main func(TB)) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process
	p := &program{name: name, w: w, ctx: ctx}
	done := make(chan struct{})
	go func() { // a goroutine of its own, so that Fatalf can end it
		defer close(done)
		defer p.cleanup()
		defer p.recover()
		main(p)
	}()
	<-done
	if p.Failed() {
		return 1
	}
	return 0
}

// program is the TB of a main.
type program struct {
	name string
	w    io.Writer
	ctx  context.Context // the TB interface asks for it

	mu       sync.Mutex
	failed   bool
	cleanups []func()
}

func (p *program) Helper()                  {}
func (p *program) Name() string             { return p.name }
func (p *program) Context() context.Context { return p.ctx }

func (p *program) Logf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format+"\n", args...)
}

func (p *program) Errorf(format string, args ...any) {
	p.Logf(format, args...)
	p.fail()
}

func (p *program) fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = true
}

func (p *program) Fatalf(format string, args ...any) {
	p.Errorf(format, args...)
	runtime.Goexit()
}

func (p *program) Failed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

func (p *program) Cleanup(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cleanups = append(p.cleanups, f)
}

func (p *program) TempDir() string {
	dir, err := os.MkdirTemp("", p.name+"-")
	if err != nil {
		p.Fatalf("make temporary folder: %v", err)
	}
	p.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			p.Errorf("remove temporary folder: %v", err)
		}
	})
	return dir
}

func (p *program) recover() {
	if r := recover(); r != nil {
		p.Errorf("panic: %v\n%s", r, debug.Stack())
	}
}

func (p *program) cleanup() {
	for {
		p.mu.Lock()
		n := len(p.cleanups)
		if n == 0 {
			p.mu.Unlock()
			return
		}
		last := p.cleanups[n-1]
		p.cleanups = p.cleanups[:n-1]
		p.mu.Unlock()
		p.guarded(last)
	}
}

// guarded runs one cleanup so that its failure does not skip the others.
func (p *program) guarded(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer p.recover()
		f()
	}()
	<-done
}

// requireRoot fails the test with what to do when it does not run as root.
func requireRoot(t TB, what string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatalf("%s needs root: run `sudo -E env PATH=\"$PATH\" make test`", what)
	}
}

// must fails the test when err is not nil.
func must(t TB, what string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if ctx := t.Context(); ctx.Err() != nil && errors.Is(err, context.Canceled) {
		t.Fatalf("%s: interrupted", what)
	}
	t.Fatalf("%s: %v", what, err)
}
