package wire

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/e2e/load"
)

// Total sums cells up.
type Total struct {
	Cases, Requests, Sent, Answered, Unsafe int
	Failed, Duplicates, Slow                int
	// P99 and Max are of the answers in cells that promise a start-first
	// switch's bound.
	P99, Max time.Duration
	// Elapsed is the time under load.
	Elapsed time.Duration
}

// Sum sums cells up; elapsed is how long the load ran.
func Sum(cells []*Cell, elapsed time.Duration) Total {
	t := Total{Cases: len(cells), Elapsed: elapsed}
	var took []time.Duration
	for _, c := range cells {
		t.Requests += c.Requests
		t.Sent += c.Sent
		t.Answered += c.Answered
		t.Unsafe += c.Unsafe
		t.Failed += c.Failed + c.Foreign + c.Forged
		t.Duplicates += c.Duplicates
		t.Slow += c.Slow
		if c.Promise.Max == startFirst {
			took = append(took, c.took...)
		}
	}
	t.P99, t.Max = percentile(took)
	return t
}

func percentile(took []time.Duration) (p99, most time.Duration) {
	n := len(took)
	if n == 0 {
		return 0, 0
	}
	slices.Sort(took)
	return took[(n*99-1)/100], took[n-1]
}

// Rate is answers a second.
func (t Total) Rate() float64 {
	if t.Elapsed <= 0 {
		return 0
	}
	return float64(t.Answered) / t.Elapsed.Seconds()
}

// OK says that every promise was kept and that there was something to keep. The
// patient do not mind slow answers.
func (t Total) OK(patient bool) bool {
	return t.Cases > 0 && t.Sent > 0 && t.Sent == t.Answered && t.Failed+t.Duplicates == 0 && (patient || t.Slow == 0)
}

// String is the last line of a torture.
func (t Total) String() string {
	return fmt.Sprintf("cases=%d requests=%d sent=%d answered=%d failed=%d duplicates=%d p99_ms=%d max_ms=%d rate=%.0f",
		t.Cases, t.Requests, t.Sent, t.Answered, t.Failed, t.Duplicates, t.P99.Milliseconds(), t.Max.Milliseconds(), t.Rate())
}

// String is a cell in one line.
func (c *Cell) String() string {
	_, most := percentile(slices.Clone(c.took))
	s := fmt.Sprintf("%-16s %-10s %-12s %7d sent %7d answered", c.Event, c.Kind, c.Promise.Word, c.Sent, c.Answered)
	if len(c.Otherwise)+c.Closings > 0 {
		s += "  " + c.otherwise()
	}
	if c.Replayed > 0 {
		s += fmt.Sprintf("  replayed %d", c.Replayed)
	}
	s += fmt.Sprintf("  max %d ms", most.Milliseconds())
	if c.Broken() > 0 {
		s += fmt.Sprintf("  BROKEN: failed %d duplicates %d foreign %d forged %d slow %d", c.Failed, c.Duplicates, c.Foreign, c.Forged, c.Slow)
	}
	return s
}

// otherwise lists what ended otherwise as promised.
func (c *Cell) otherwise() string {
	var parts []string
	for _, cause := range slices.Sorted(maps.Keys(c.Otherwise)) {
		parts = append(parts, fmt.Sprintf("%s %d", cause, c.Otherwise[cause]))
	}
	if c.Closings > 0 {
		parts = append(parts, fmt.Sprintf("%s %d", load.Closing, c.Closings))
	}
	return strings.Join(parts, ", ")
}

// Explain quotes the broken promises of a cell.
func (c *Cell) Explain() string {
	var b strings.Builder
	for _, p := range c.Problems {
		fmt.Fprintf(&b, "%s %s × %s: %s: %s: %s\n", p.At.Format(clock), c.Kind, c.Event, p.Sort, p.ID, p.What)
		for _, l := range p.Lines {
			fmt.Fprintf(&b, "    %s\n", l)
		}
	}
	return b.String()
}
