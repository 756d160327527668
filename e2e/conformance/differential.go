package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/remorahq/remora/e2e/conformance/smuggling"
	"github.com/remorahq/remora/e2e/rig"
)

// runDifferential sends every stream to other proxies too, and counts those
// that all treat alike or whose difference is explained.
func runDifferential(t rig.TB, s settings) score {
	f := newField(t, s.bin)
	all := append([]stranger{{name: "remora", addr: f.addr(f.http), backend: f.backend}}, strangers(t)...)
	used := map[string]bool{}
	var sc score
	for _, c := range smuggling.Cases() {
		got := compare(t, all, c)
		sc.total++
		differs := differences(c, got)
		unexplained := false
		for _, d := range differs {
			reason := explained(d)
			used[d.rule()] = true
			if reason == "" {
				unexplained = true
				t.Errorf("differential: %s: %s: remora %s, %s %s; explain it in differences.go", c.Rule, c.Name, d.ours, d.peer, d.theirs)
			} else if s.verbose {
				fmt.Printf("  %s: %s: remora %s, %s %s: %s\n", c.Rule, c.Name, d.ours, d.peer, d.theirs, reason)
			}
		}
		if !unexplained {
			sc.passed++
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(reasons())) {
		if !used[rule] {
			t.Errorf("differential: differences.go explains %q, which nothing differs in", rule)
		}
	}
	return sc
}

// compare sends a stream to all proxies at once.
func compare(t rig.TB, all []stranger, c smuggling.Case) map[string]string {
	got := make([]string, len(all))
	var wg sync.WaitGroup
	for i, s := range all {
		wg.Go(func() {
			o, err := s.backend.Send(s.addr, c)
			if err != nil {
				got[i] = err.Error()
				return
			}
			got[i] = o.Class(c)
		})
	}
	wg.Wait()
	out := map[string]string{}
	for i, s := range all {
		out[s.name] = got[i]
	}
	return out
}

// difference is a stream of which a proxy makes something else than we do.
type difference struct {
	c                  smuggling.Case
	peer, ours, theirs string
}

// rule is what explains it: what we refuse by rule, what we take case by case.
func (d difference) rule() string {
	switch {
	case !forwards(d.ours):
		return "stricter: " + d.c.Rule
	case !forwards(d.theirs):
		return "laxer: " + d.c.Rule + ": " + d.c.Name
	}
	return "other: " + d.c.Rule + ": " + d.c.Name
}

func forwards(class string) bool { return strings.HasPrefix(class, "forwards") }

// differences are those that matter: how a refusal is worded does not.
func differences(c smuggling.Case, got map[string]string) []difference {
	var out []difference
	for _, peer := range slices.Sorted(maps.Keys(got)) {
		d := difference{c: c, peer: peer, ours: got["remora"], theirs: got[peer]}
		if forwards(d.ours) || forwards(d.theirs) {
			if d.ours != d.theirs {
				out = append(out, d)
			}
		}
	}
	return out
}

func explained(d difference) string { return reasons()[d.rule()] }
