package check_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/e2e/load"
	"github.com/remorahq/remora/e2e/load/check"
	"github.com/remorahq/remora/e2e/rig"
)

var start = time.Unix(1_000_000, 0)

func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

func sent(k load.Kind, id, session string, ms int) load.Record {
	return load.Record{At: at(ms), Outcome: load.Sent, Kind: k, ID: id, Session: session}
}

func ended(o load.Outcome, k load.Kind, id, session string, ms, took int) load.Record {
	return load.Record{At: at(ms), Outcome: o, Kind: k, ID: id, Session: session, Took: time.Duration(took) * time.Millisecond}
}

func arrival(kind, id, version string) rig.Entry {
	return rig.Entry{At: start, Kind: kind, ID: id, Version: version}
}

// good is a run in which all went well.
func good() ([]load.Record, []rig.Entry) {
	records := []load.Record{
		sent(load.Get, "g1", "g1", 0), ended(load.Answered, load.Get, "g1", "g1", 10, 10),
		sent(load.Post, "p1", "p1", 10), ended(load.Answered, load.Post, "p1", "p1", 30, 20),
		sent(load.WebSocket, "w1", "w1", 30), ended(load.Answered, load.WebSocket, "w1", "w1", 40, 10),
		sent(load.WebSocket, "w2", "w1", 40), ended(load.Answered, load.WebSocket, "w2", "w1", 50, 10),
	}
	return records, []rig.Entry{
		arrival("GET", "g1", "v1"), arrival("POST", "p1", "v1"), arrival("GET", "w1", "v1"),
	}
}

func TestJoin(t *testing.T) {
	base := check.Verdict{
		Requests: 4, Sent: 4, Answered: 4, Unsafe: 3, P99: 20 * time.Millisecond, Max: 20 * time.Millisecond, Elapsed: 50 * time.Millisecond,
	}
	for name, tc := range map[string]struct {
		change func(r []load.Record, e []rig.Entry) ([]load.Record, []rig.Entry)
		moves  []check.Move
		want   func(v *check.Verdict)
		ok     bool
	}{
		"all well": {ok: true},
		"lost: sent and never heard of": {
			change: func(r []load.Record, e []rig.Entry) ([]load.Record, []rig.Entry) {
				return append(r, sent(load.Post, "p2", "p1", 50)), e
			},
			want: func(v *check.Verdict) { v.Requests, v.Sent, v.Unsafe, v.Failed = 5, 5, 4, 1 },
		},
		"failed": {
			change: func(r []load.Record, e []rig.Entry) ([]load.Record, []rig.Entry) {
				return append(r, sent(load.Get, "g2", "g1", 50), ended(load.Failed, load.Get, "g2", "g1", 50, 0)), e
			},
			want: func(v *check.Verdict) { v.Requests, v.Sent, v.Failed = 5, 5, 1 },
		},
		"a tunnel broke between messages": {
			change: func(r []load.Record, e []rig.Entry) ([]load.Record, []rig.Entry) {
				return append(r, ended(load.Failed, load.WebSocket, "w1", "w1", 50, 0)), e
			},
			want: func(v *check.Verdict) { v.Failed = 1 },
		},
		"done twice": {
			change: func(r []load.Record, e []rig.Entry) ([]load.Record, []rig.Entry) {
				return r, append(e, arrival("POST", "p1", "v2"), arrival("POST", "p1", "v2"))
			},
			want: func(v *check.Verdict) { v.Duplicates = 2 },
		},
		"a GET replayed is no duplicate": {
			change: func(r []load.Record, e []rig.Entry) ([]load.Record, []rig.Entry) {
				return r, append(e, arrival("GET", "g1", "v2"))
			},
			want: func(v *check.Verdict) { v.Replayed = 1 }, ok: true,
		},
		"answered by nobody": {
			change: func(r []load.Record, e []rig.Entry) ([]load.Record, []rig.Entry) {
				return r, e[:2] // the WebSocket's upgrade is missing: two messages
			},
			want: func(v *check.Verdict) { v.Forged = 2 },
		},
		"arrived out of nowhere": {
			change: func(r []load.Record, e []rig.Entry) ([]load.Record, []rig.Entry) {
				return r, append(e, arrival("POST", "x", "v1"))
			},
			want: func(v *check.Verdict) { v.Strangers = 1 },
		},
		"answered twice": {
			change: func(r []load.Record, e []rig.Entry) ([]load.Record, []rig.Entry) {
				return append(r, ended(load.Answered, load.Get, "g1", "g1", 50, 1)), e
			},
			want: func(v *check.Verdict) { v.Failed = 1 },
		},
		"sent twice by the client": {
			change: func(r []load.Record, e []rig.Entry) ([]load.Record, []rig.Entry) {
				return append(r, sent(load.Get, "g1", "g1", 50), ended(load.Answered, load.Get, "g1", "g1", 50, 1)), e
			},
			want: func(v *check.Verdict) { v.Requests, v.Sent, v.Answered, v.Failed = 5, 5, 5, 1 },
		},
		"cut after its release was left": {
			change: cut, moves: []check.Move{{At: at(0), Version: "v1", Active: true}, {At: at(45), Version: "v1"}},
			want: func(v *check.Verdict) { v.Requests, v.Unsafe, v.Cut, v.Ended = 5, 4, 1, 1 }, ok: true,
		},
		"cut while its release had the traffic": {
			change: cut, moves: []check.Move{{At: at(0), Version: "v1"}, {At: at(45), Version: "v1", Active: true}},
			want: func(v *check.Verdict) { v.Requests, v.Unsafe, v.Cut, v.Ended, v.Early = 5, 4, 1, 1, 2 },
		},
		"left only afterwards": {
			change: cut, moves: []check.Move{{At: at(51), Version: "v1"}},
			want: func(v *check.Verdict) { v.Requests, v.Unsafe, v.Cut, v.Ended, v.Early = 5, 4, 1, 1, 2 },
		},
		"the backend's own time does not count": {
			change: func(r []load.Record, e []rig.Entry) ([]load.Record, []rig.Entry) {
				slow := ended(load.Answered, load.Get, "g2", "g1", 50, 5010)
				slow.Own = 5 * time.Second
				return append(r, sent(load.Get, "g2", "g1", 50), slow), append(e, arrival("GET", "g2", "v1"))
			},
			want: func(v *check.Verdict) { v.Requests, v.Sent, v.Answered = 5, 5, 5 }, ok: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			records, entries := good()
			if tc.change != nil {
				records, entries = tc.change(records, entries)
			}
			want := base
			if tc.want != nil {
				tc.want(&want)
			}
			got := check.Join(records, entries, tc.moves)
			if got.OK() != tc.ok {
				t.Errorf("OK is %v: %s", got.OK(), got.Explain())
			}
			if bad := got.Failed + got.Duplicates + got.Forged + got.Strangers + got.Early; bad > 0 && len(got.Problems) == 0 {
				t.Error("no problem is quoted")
			}
			got.Problems = nil
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("verdict (-want +got):\n%s", d)
			}
		})
	}
}

// cut ends a WebSocket of v1 once in the middle of a message and once between
// two.
func cut(r []load.Record, e []rig.Entry) ([]load.Record, []rig.Entry) {
	return append(r,
		sent(load.WebSocket, "w3", "w1", 45), ended(load.Cut, load.WebSocket, "w3", "w1", 50, 5),
		ended(load.Ended, load.WebSocket, "w1", "w1", 50, 0)), e
}

func TestNothingIsNotOK(t *testing.T) {
	if check.Join(nil, nil, nil).OK() {
		t.Error("a run without a request is OK")
	}
}
