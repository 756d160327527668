package docker

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/remorahq/remora/internal/engine"
)

// TestQueueKeepsTheLastOfEachKind: whatever is pushed and popped, what comes
// out is what was pushed, without those that a later one of the same
// container and kind overtook while both were waiting.
func TestQueueKeepsTheLastOfEachKind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue()
		var waiting []engine.Event
		for n := range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 4).Draw(t, "pop") == 0 {
				got, ok := q.pop()
				if ok != (len(waiting) > 0) {
					t.Fatalf("pop gives %v with %d waiting", ok, len(waiting))
				}
				if ok {
					if diff := cmp.Diff(waiting[0], got); diff != "" {
						t.Fatal(diff)
					}
					waiting = waiting[1:]
				}
				continue
			}
			ev := engine.Event{
				Kind:      rapid.SampledFrom([]engine.EventKind{engine.Resync, engine.EventStart, engine.EventDie, engine.EventStop}).Draw(t, "kind"),
				Container: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "container"),
				ExitCode:  n,
			}
			waiting = slices.DeleteFunc(waiting, func(w engine.Event) bool { return w.Kind == ev.Kind && w.Container == ev.Container })
			waiting = append(waiting, ev)
			q.push(ev)
			if len(q.ready) != 1 {
				t.Fatal("the reader is not told")
			}
		}
	})
}
