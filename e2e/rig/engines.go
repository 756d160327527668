package rig

import (
	"context"
	"os"
	"sync"
)

// Engines are the engines of one test binary, one for each line, started when
// first asked for:
//
//	var engines rig.Engines
//
//	func TestMain(m *testing.M) { os.Exit(engines.Main(m)) }
//
//	func TestPause(t *testing.T) {
//		rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) { … })
//	}
//
// Tests that share an engine use names of their own ([Unique]) and remove
// what they made. A test that restarts the engine must not run in parallel
// with others, or starts one of its own.
type Engines struct {
	mu      sync.Mutex
	owner   *program
	running map[Line]*Engine
}

// Main runs the tests, takes the engines down, and returns the exit code.
func (s *Engines) Main(m interface{ Run() int }) int {
	s.mu.Lock()
	s.owner = &program{name: "engines", w: os.Stderr, ctx: context.Background()}
	s.running = map[Line]*Engine{}
	s.mu.Unlock()
	code := m.Run()
	if code != 0 {
		s.owner.fail() // so that logs are kept
	}
	failedBefore := s.owner.Failed()
	s.owner.cleanup()
	if !failedBefore && s.owner.Failed() {
		return 1
	}
	return code
}

// Get is the engine of the line, started if it is the first call for it.
func (s *Engines) Get(t TB, line Line) *Engine {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner == nil {
		t.Fatalf("the test binary has no TestMain that calls Engines.Main")
	}
	if e := s.running[line]; e != nil {
		return e
	}
	e := StartEngine(shared{t, s.owner}, line)
	s.running[line] = e
	return e
}

// EachLine runs f as a subtest on the engine of every line.
func EachLine[T interface {
	TB
	Run(name string, f func(T)) bool
}](t T, s *Engines, f func(T, *Engine)) {
	t.Helper()
	for _, line := range Lines() {
		t.Run(string(line), func(t T) {
			t.Helper()
			f(t, s.Get(t, line))
		})
	}
}

// shared fails the test that asked for a thing that outlives it; what
// happens after that test is said of the owner.
type shared struct {
	TB
	owner *program
}

func (s shared) Cleanup(f func())                  { s.owner.Cleanup(f) }
func (s shared) TempDir() string                   { return s.owner.TempDir() }
func (s shared) Logf(format string, args ...any)   { s.owner.Logf(format, args...) }
func (s shared) Errorf(format string, args ...any) { s.owner.Errorf(format, args...) }
func (s shared) Failed() bool                      { return s.owner.Failed() }
