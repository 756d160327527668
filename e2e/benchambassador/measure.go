package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/remorahq/remora/e2e/rig"
)

// samples are one peer's figures of one case.
type samples struct {
	cost []float64 // µs of CPU for each unit, or MB
	rate []float64 // units a second
}

// measureCase runs the rounds of a case and returns its last line.
func measureCase(t rig.TB, f *field, c benchCase, peers []*peer) string {
	all := map[string]*samples{}
	for round := range f.rounds {
		for i := range peers {
			p := peers[(i+round)%len(peers)] // nobody is always first
			if slices.Contains(c.without, p.name) {
				continue
			}
			if all[p.name] == nil {
				all[p.name] = &samples{}
			}
			all[p.name].add(t, f, c, p)
		}
	}
	what := "µs of CPU for each " + c.unit
	if c.memory {
		what = "MB with idle connections"
	}
	fmt.Printf("%s (%s)\n", c.name, what)
	for _, p := range peers {
		if s := all[p.name]; s != nil {
			fmt.Printf("  %-9s %9.2f   %10.0f/s   rounds %s\n", p.name, median(s.cost), median(s.rate), list(s.cost))
		}
	}
	return line(c, all)
}

func (s *samples) add(t rig.TB, f *field, c benchCase, p *peer) {
	before, err := usageOf(p.process.PID())
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	r := c.load(t, f, p, f.length())
	after, err := usageOf(p.process.PID())
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	if r.Failed > 0 {
		fmt.Printf("  %s: %s: %d failed\n", c.name, p.name, r.Failed)
	}
	if r.Done == 0 {
		t.Fatalf("%s: %s did nothing", c.name, p.name)
	}
	if c.memory {
		s.cost = append(s.cost, r.Done)
		return
	}
	s.cost = append(s.cost, float64((after.cpu-before.cpu).Microseconds())/r.Done)
	s.rate = append(s.rate, r.Done/f.length().Seconds())
}

// line is a case's machine-readable summary; a peer that does not do it is "-".
func line(c benchCase, all map[string]*samples) string {
	unit := "us"
	if c.memory {
		unit = "mb"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "bench: %s", c.name)
	for _, name := range []string{ours, "haproxy", "caddy"} {
		fmt.Fprintf(&b, " %s_%s=%s", name, unit, figure(all[name]))
	}
	ratio := "-"
	if a, h := all[ours], all["haproxy"]; a != nil && h != nil {
		ratio = fmt.Sprintf("%.2f", median(a.cost)/median(h.cost))
	}
	fmt.Fprintf(&b, " ratio_haproxy=%s", ratio)
	for _, name := range []string{"nginx", "httputil"} {
		if all[name] != nil {
			fmt.Fprintf(&b, " %s_%s=%s", name, unit, figure(all[name]))
		}
	}
	if a, h := all[ours], all["haproxy"]; a != nil && h != nil && !c.memory {
		fmt.Fprintf(&b, " remora_rate=%.0f haproxy_rate=%.0f", median(a.rate), median(h.rate))
	}
	return b.String()
}

func figure(s *samples) string {
	if s == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f", median(s.cost))
}

func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

func list(v []float64) string {
	out := make([]string, len(v))
	for i, x := range v {
		out[i] = fmt.Sprintf("%.2f", x)
	}
	return strings.Join(out, " ")
}
