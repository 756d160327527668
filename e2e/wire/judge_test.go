package wire_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/load"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/e2e/wire"
)

var start = time.Unix(1_000_000, 0)

func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

// story is a run as a test tells it.
type story struct{ wire.Run }

func (s *story) sent(k load.Kind, id, session string, ms int) *story {
	s.Records = append(s.Records, load.Record{At: at(ms), Outcome: load.Sent, Kind: k, ID: id, Session: session})
	return s
}

func (s *story) end(o load.Outcome, c load.Cause, ms int) *story {
	last := s.Records[len(s.Records)-1]
	return s.ends(o, c, last, ms)
}

func (s *story) ends(o load.Outcome, c load.Cause, of load.Record, ms int) *story {
	r := of
	r.Outcome, r.Cause, r.At, r.Took = o, c, at(ms), at(ms).Sub(of.At)
	if o == load.Answered && !r.Kind.Tunnel() {
		r.Version = "web-1"
	}
	s.Records = append(s.Records, r)
	return s
}

// answered tells a whole request: sent, accounted by instance a, answered.
func (s *story) answered(k load.Kind, id string, ms int) *story {
	return s.sent(k, id, id, ms).took("a", "web-1", id).end(load.Answered, "", ms+10)
}

func (s *story) took(instance, version, id string) *story {
	s.Entries = append(s.Entries, rig.Entry{At: start, Kind: "X", ID: id, Version: version, Instance: instance})
	return s
}

func (s *story) incident(e wire.Event, from, to int, instances ...string) *story {
	s.Incidents = append(s.Incidents, wire.Incident{What: e, Begin: at(from), End: at(to), Instances: instances})
	return s
}

func tell(e wire.Event) *story { return &story{wire.Run{Event: e}} }

func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		story *story
		want  string // counts of the one cell, those that are not 0
	}{
		"all well": {
			tell(wire.Switch).answered(load.Get, "g1", 0).answered(load.Get, "g2", 20),
			"requests 2 sent 2 answered 2",
		},
		"sent and never heard of": {
			tell(wire.Switch).sent(load.Get, "g1", "g1", 0),
			"requests 1 sent 1 failed 1",
		},
		"502 although nothing died": {
			tell(wire.Switch).sent(load.Post, "p1", "p1", 0).end(load.Failed, load.Status(502), 5),
			"requests 1 sent 1 failed 1 unsafe 1",
		},
		"a keep-alive connection ended while idle": {
			tell(wire.Switch).answered(load.Get, "g1", 0).end(load.Failed, load.Hangup, 50),
			"requests 1 sent 1 answered 1 failed 1",
		},
		"answered twice": {
			tell(wire.Switch).answered(load.Get, "g1", 0).end(load.Answered, "", 20),
			"requests 1 sent 1 answered 1 failed 1",
		},
		"sent twice by the client": {
			tell(wire.Switch).answered(load.Get, "g1", 0).answered(load.Get, "g1", 20),
			"requests 2 sent 2 answered 2 failed 1 replayed 1",
		},
		"done twice": {
			tell(wire.Switch).answered(load.Post, "p1", 0).took("b", "web-2", "p1"),
			"requests 1 sent 1 answered 1 duplicates 1 unsafe 1",
		},
		"a line of TCP done twice": {
			tell(wire.Crash).answered(load.TCP, "t1", 0).took("a", "web-1", "t1"),
			"requests 1 sent 1 answered 1 duplicates 1 unsafe 1",
		},
		"a GET replayed": {
			tell(wire.Kill).answered(load.Get, "g1", 0).took("b", "web-1", "g1"),
			"requests 1 sent 1 answered 1 replayed 1",
		},
		"answered by nobody": {
			tell(wire.Switch).sent(load.Get, "g1", "g1", 0).end(load.Answered, "", 5),
			"requests 1 sent 1 answered 1 forged 1",
		},
		"answered in another's name": {
			tell(wire.Switch).sent(load.Get, "g1", "g1", 0).took("a", "web-2", "g1").end(load.Answered, "", 5),
			"requests 1 sent 1 answered 1 forged 1",
		},
		"arrived at a stranger": {
			tell(wire.Reuse).answered(load.Get, "g1", 0).took("s", wire.Stranger+"-1", "g1"),
			"requests 1 sent 1 answered 1 replayed 1 foreign 1",
		},
		"too slow": {
			tell(wire.Switch).sent(load.Get, "g1", "g1", 0).took("a", "web-1", "g1").end(load.Answered, "", 251),
			"requests 1 sent 1 answered 1 slow 1",
		},
		"as slow as the machine": {
			slowMachine(tell(wire.Switch).sent(load.Get, "g1", "g1", 0).took("a", "web-1", "g1").end(load.Answered, "", 251)),
			"requests 1 sent 1 answered 1",
		},
		"502 of one under way on an instance that died": {
			tell(wire.Kill).incident(wire.Kill, 10, 12, "a").sent(load.Post, "p1", "p1", 11).took("a", "web-1", "p1").end(load.Failed, load.Status(502), 15),
			"requests 1 otherwise 1",
		},
		"502 of one lost on its way there": {
			tell(wire.Kill).incident(wire.Kill, 10, 12, "a").sent(load.Post, "p1", "p1", 11).end(load.Failed, load.Status(502), 15),
			"requests 1 otherwise 1",
		},
		"502 of one on another instance": {
			tell(wire.Kill).incident(wire.Kill, 10, 12, "b").sent(load.Post, "p1", "p1", 11).took("a", "web-1", "p1").end(load.Failed, load.Status(502), 15),
			"requests 1 sent 1 failed 1 unsafe 1",
		},
		"502 of one sent after the death": {
			tell(wire.Kill).incident(wire.Kill, 10, 12, "a").sent(load.Post, "p1", "p1", 13).took("a", "web-1", "p1").end(load.Failed, load.Status(502), 15),
			"requests 1 sent 1 failed 1 unsafe 1",
		},
		"502 before the death": {
			tell(wire.Kill).incident(wire.Kill, 10, 12, "a").sent(load.Post, "p1", "p1", 5).took("a", "web-1", "p1").end(load.Failed, load.Status(502), 9),
			"requests 1 sent 1 failed 1 unsafe 1",
		},
		"502 of a GET": {
			tell(wire.Kill).incident(wire.Kill, 10, 12, "a").sent(load.Get, "g1", "g1", 11).took("a", "web-1", "g1").end(load.Failed, load.Status(502), 15),
			"requests 1 sent 1 failed 1",
		},
		"502 of a PUT that could be replayed": {
			tell(wire.Kill).incident(wire.Kill, 10, 12, "a").sent(load.Put, "g1", "g1", 11).took("a", "web-1", "g1").end(load.Failed, load.Status(502), 15),
			"requests 1 sent 1 failed 1",
		},
		"a stream that looks whole when its instance died": {
			tell(wire.Kill).incident(wire.Kill, 10, 12, "a").sent(load.Events, "e1", "e1", 0).took("a", "web-1", "e1").end(load.Cut, load.Short, 15),
			"requests 1 sent 1 failed 1",
		},
		"a WebSocket on an instance that died, noticed late": {
			tell(wire.Kill).incident(wire.Kill, 10, 12, "a").answered(load.WebSocket, "w1", -10).sent(load.WebSocket, "w2", "w1", 20).end(load.Failed, load.Reset, 21),
			"requests 2 sent 1 answered 1 otherwise 1 unsafe 1",
		},
		"a WebSocket that began after the death": {
			tell(wire.Kill).incident(wire.Kill, 10, 12, "a").answered(load.WebSocket, "w1", 13).sent(load.WebSocket, "w2", "w1", 30).end(load.Failed, load.Reset, 31),
			"requests 2 sent 2 answered 1 failed 1 unsafe 2",
		},
		"a WebSocket ended by frame at the deadline": {
			tell(wire.Deadline).incident(wire.Deadline, 10, 90, "a").answered(load.WebSocket, "w1", -10).end(load.Ended, load.Code(1012), 50),
			"requests 1 sent 1 answered 1 otherwise 1 unsafe 1",
		},
		"a WebSocket ended in a frame at the deadline": {
			tell(wire.Deadline).incident(wire.Deadline, 10, 90, "a").answered(load.WebSocket, "w1", -10).end(load.Failed, load.Truncated, 50),
			"requests 1 sent 1 answered 1 failed 1 unsafe 1",
		},
		"a WebSocket ended at a mere switch": {
			tell(wire.Switch).incident(wire.Switch, 10, 90).answered(load.WebSocket, "w1", -10).end(load.Ended, load.Code(1012), 50),
			"requests 1 sent 1 answered 1 failed 1 unsafe 1",
		},
		"TCP reset at the deadline": {
			tell(wire.Deadline).incident(wire.Deadline, 10, 90, "a").answered(load.TCP, "t1", -10).end(load.Failed, load.Reset, 50),
			"requests 1 sent 1 answered 1 failed 1 unsafe 1",
		},
		"close announced at an upgrade": {
			tell(wire.Upgrade).incident(wire.Upgrade, 5, 9).sent(load.Get, "g1", "g1", 0).took("a", "web-1", "g1").end(load.Answered, load.Closing, 15),
			"requests 1 sent 1 answered 1 closings 1",
		},
		"close announced before any upgrade": {
			tell(wire.Upgrade).incident(wire.Upgrade, 50, 90).sent(load.Get, "g1", "g1", 0).took("a", "web-1", "g1").end(load.Answered, load.Closing, 15),
			"requests 1 sent 1 answered 1 failed 1",
		},
		"close announced at a switch": {
			tell(wire.Switch).incident(wire.Switch, 5, 9).sent(load.Get, "g1", "g1", 0).took("a", "web-1", "g1").end(load.Answered, load.Closing, 15),
			"requests 1 sent 1 answered 1 failed 1",
		},
		"closed, not announced, at an upgrade": {
			tell(wire.Upgrade).incident(wire.Upgrade, 5, 9).answered(load.Get, "g1", -20).end(load.Failed, load.Hangup, 15),
			"requests 1 sent 1 answered 1 failed 1",
		},
		"a canary's share": {
			canary(50), "requests 100 sent 100 answered 100",
		},
		"a canary that gets nothing": {
			canary(0), "requests 100 sent 100 answered 100 failed 1",
		},
		"a canary that gets all": {
			canary(100), "requests 100 sent 100 answered 100 failed 1",
		},
		"lost with the worker": {
			tell(wire.Crash).incident(wire.Crash, 5, 9).sent(load.Get, "g1", "g1", 0).end(load.Failed, load.Reset, 15),
			"requests 1 otherwise 1",
		},
		"lost on a connection made after the worker died": {
			tell(wire.Crash).incident(wire.Crash, 5, 9).sent(load.Get, "g1", "g1", 10).end(load.Failed, load.Reset, 15),
			"requests 1 sent 1 failed 1",
		},
		"refused when the worker died": {
			tell(wire.Crash).incident(wire.Crash, 5, 9).sent(load.Get, "g1", "g1", 6).end(load.Failed, load.Refused, 7),
			"requests 1 sent 1 failed 1",
		},
		"served too late after the worker died": {
			tell(wire.Crash).incident(wire.Crash, 5, 9).sent(load.Get, "g1", "g1", 10).took("a", "web-1", "g1").end(load.Answered, "", 311),
			"requests 1 sent 1 answered 1 slow 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			cells, err := wire.Judge(tc.story.Run, 3)
			if err != nil || len(cells) != 1 {
				t.Fatalf("%d cells, %v", len(cells), err)
			}
			c := cells[0]
			if got := counts(c); got != tc.want {
				t.Errorf("counted %s, want %s\n%s", got, tc.want, c.Explain())
			}
			if broken := c.Broken() > 0; broken != (len(c.Problems) > 0) || wire.Sum(cells, time.Second).OK(false) && broken {
				t.Errorf("broken %d, explained %q, total %s", c.Broken(), c.Explain(), wire.Sum(cells, time.Second))
			}
		})
	}
}

// canary is a step to a half, and a hundred GETs of which it gets some.
func canary(got int) *story {
	s := tell(wire.Canary)
	s.Incidents = []wire.Incident{
		{What: wire.Canary, Begin: at(-9), End: at(-1), Version: "web-2", Share: 5000},
		{What: wire.Canary, Begin: at(5000), End: at(5001)},
	}
	for n := range 100 {
		s.answered(load.Get, fmt.Sprintf("g%d", n), 20*n)
		if n < got {
			s.Records[len(s.Records)-1].Version, s.Entries[len(s.Entries)-1].Version = "web-2", "web-2"
		}
	}
	return s
}

func slowMachine(s *story) *story {
	s.Control = []load.Record{{Took: 300 * time.Millisecond}}
	return s
}

func counts(c *wire.Cell) string {
	var parts []string
	for _, n := range []struct {
		name string
		n    int
	}{
		{"requests", c.Requests},
		{"sent", c.Sent},
		{"answered", c.Answered},
		{"otherwise", sum(c)},
		{"closings", c.Closings},
		{"failed", c.Failed},
		{"replayed", c.Replayed},
		{"duplicates", c.Duplicates},
		{"foreign", c.Foreign},
		{"forged", c.Forged},
		{"slow", c.Slow},
		{"unsafe", c.Unsafe},
	} {
		if n.n != 0 {
			parts = append(parts, fmt.Sprintf("%s %d", n.name, n.n))
		}
	}
	return strings.Join(parts, " ")
}

func sum(c *wire.Cell) (n int) {
	for _, v := range c.Otherwise {
		n += v
	}
	return n
}

func TestRequestsThatNobodySentAreAnError(t *testing.T) {
	if _, err := wire.Judge(tell(wire.Switch).answered(load.Get, "g1", 0).took("a", "web-1", "x").Run, 3); err == nil {
		t.Error("a request that nobody sent is no error")
	}
}

func TestNothingIsNotOK(t *testing.T) {
	if wire.Sum(nil, time.Second).OK(true) {
		t.Error("a torture without a request is OK")
	}
}

// Every word of a promise is explained, and every word that is explained is
// some cell's.
func TestLegend(t *testing.T) {
	used := map[string]bool{}
	for _, e := range wire.Events() {
		for _, k := range wire.Kinds() {
			used[wire.Promised(k, e).Word] = true
		}
	}
	for _, l := range wire.Legend() {
		if !used[l[0]] {
			t.Errorf("%q is explained and never promised", l[0])
		}
		delete(used, l[0])
	}
	for w := range used {
		t.Errorf("%q is promised and not explained", w)
	}
}

// The README says what is promised, in the same words.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(wire.Words()) {
		if !strings.Contains(string(text), line) {
			t.Errorf("e2e/README.md lacks the line %q; torturewire -markdown writes it", line)
		}
	}
	for _, e := range wire.Events() {
		if !strings.Contains(string(text), "| **"+string(e)+"** |") {
			t.Errorf("e2e/README.md has no row for %s", e)
		}
	}
}

func TestRunsCanBeReadAgain(t *testing.T) {
	dir := t.TempDir()
	s := tell(wire.Kill).answered(load.Post, "p1", 0).incident(wire.Kill, 1, 2, "a")
	if err := wire.Save(dir, s.Event, s.Entries, s.Incidents); err != nil {
		t.Fatal(err)
	}
	write(t, dir, wire.ClientsFile, s.Records)
	write(t, dir, wire.ControlFile, nil)
	got, err := wire.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	cells, err := wire.Judge(got, 3)
	if err != nil || len(cells) != 1 || counts(cells[0]) != "requests 1 sent 1 answered 1 unsafe 1" {
		t.Errorf("read again: %v %v", cells, err)
	}
	if len(got.Incidents) != 1 || !got.Incidents[0].Begin.Equal(at(1)) || !slices.Equal(got.Incidents[0].Instances, []string{"a"}) {
		t.Errorf("incidents: %+v", got.Incidents)
	}
}

func write(t *testing.T, dir, name string, records []load.Record) {
	t.Helper()
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintln(&b, r)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
