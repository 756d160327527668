package main

import (
	"slices"
	"sync"

	"github.com/remorahq/remora/e2e/rig"
)

// scope is the life of one run within the program's.
type scope struct {
	rig.TB
	mu       sync.Mutex
	cleanups []func()
}

// Cleanup has f called at the scope's end, last in, first out.
func (s *scope) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

func (s *scope) end() {
	s.mu.Lock()
	cleanups := slices.Backward(s.cleanups)
	s.cleanups = nil
	s.mu.Unlock()
	for _, f := range cleanups {
		f()
	}
}
