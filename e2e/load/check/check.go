// Package check joins the clients' log of a load with the backends' own
// account and judges: nothing lost, nothing done twice, no answer without a
// backend that gave it. It reads what was written down and nothing else; it
// opens no connection, so it can judge a run that is long over. All of it may
// be used concurrently.
package check

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/e2e/load"
	"github.com/remorahq/remora/e2e/rig"
)

// Move says that a release got or lost the traffic. A tunnel may end at its
// server's wish only after its release lost it.
type Move struct {
	At      time.Time
	Version string
	Active  bool
}

// Verdict is what came out.
type Verdict struct {
	Requests   int // IDs that clients wrote down before sending: Sent and Cut
	Sent       int // of these, all but the cut ones
	Answered   int
	Failed     int // Sent without a whole and correct answer, and tunnels that broke
	Cut        int // messages on their way when a tunnel's server said goodbye
	Ended      int // tunnels that their server ended between messages
	Duplicates int // further arrivals of the same ID that is not a GET, by the backends' account
	Replayed   int // further arrivals of the same GET: allowed
	Forged     int // answered, and in no backend's account
	Strangers  int // in a backend's account, and sent by nobody
	Early      int // tunnels that ended although their release had the traffic
	Unsafe     int // of Sent, those that must not be replayed

	P99, Max time.Duration // of answers, without the backend's own time
	Elapsed  time.Duration
	// Problems quotes the first of each kind.
	Problems []string
}

// Rate is answers a second.
func (v Verdict) Rate() float64 {
	if v.Elapsed <= 0 {
		return 0
	}
	return float64(v.Answered) / v.Elapsed.Seconds()
}

// OK says that nothing was lost, doubled or made up.
func (v Verdict) OK() bool {
	return v.Sent == v.Answered && v.Sent > 0 && v.Failed == 0 && v.Duplicates == 0 && v.Forged == 0 && v.Strangers == 0 && v.Early == 0
}

// String is the verdict in the words of the last line of a torture.
func (v Verdict) String() string {
	return fmt.Sprintf("requests=%d sent=%d answered=%d failed=%d duplicates=%d p99_ms=%d max_ms=%d rate=%.0f",
		v.Requests, v.Sent, v.Answered, v.Failed, v.Duplicates, v.P99.Milliseconds(), v.Max.Milliseconds(), v.Rate())
}

// quoted is how many problems of each kind are quoted.
const quoted = 5

// Join judges a run. The records are the clients' log, entries the backends'
// account; moves may be nil where no release changed.
func Join(records []load.Record, entries []rig.Entry, moves []Move) Verdict {
	j := &joiner{sent: map[string]load.Record{}, seen: map[string]int{}, version: map[string]string{}, moves: moves, quotes: map[string]int{}}
	for _, e := range entries {
		j.seen[e.ID]++
		j.version[e.ID] = e.Version
	}
	for _, r := range records {
		j.record(r)
	}
	j.unanswered()
	j.arrivals(entries)
	j.latency(records)
	return j.Verdict
}

type joiner struct {
	Verdict
	sent    map[string]load.Record // by ID, until its outcome is known
	known   map[string]bool        // every ID and session that was ever sent
	seen    map[string]int         // arrivals by ID
	version map[string]string      // of the backend that took an ID
	moves   []Move
	quotes  map[string]int
	took    []time.Duration
}

func (j *joiner) problem(kind, format string, args ...any) {
	if j.quotes[kind]++; j.quotes[kind] <= quoted {
		j.Problems = append(j.Problems, kind+": "+fmt.Sprintf(format, args...))
	}
}

func (j *joiner) record(r load.Record) {
	switch r.Outcome {
	case load.Sent:
		j.begin(r)
	case load.Answered:
		if !j.end(r) {
			return
		}
		j.Answered++
		j.took = append(j.took, max(0, r.Took-r.Own))
		j.accounted(r)
	case load.Cut:
		if !j.end(r) {
			return
		}
		j.Sent--
		j.Cut++
		j.early(r)
	case load.Ended:
		j.Ended++
		j.early(r)
	case load.Failed:
		delete(j.sent, r.ID)
		j.Failed++
		j.problem("failed", "%s %s %s (session %s, %s) after %s: %s", r.At.Format("15:04:05.000"), r.Kind, r.ID, r.Session, r.Version, r.Took, r.Detail)
	default:
		j.Failed++
		j.problem("failed", "%s has the unknown outcome %q", r.ID, r.Outcome)
	}
}

func (j *joiner) begin(r load.Record) {
	if j.known == nil {
		j.known = map[string]bool{}
	}
	if j.known[r.ID] {
		j.Failed++
		j.problem("failed", "%s was sent twice by its client", r.ID)
	}
	j.known[r.ID], j.sent[r.ID] = true, r
	j.Requests++
	j.Sent++
	if !r.Kind.Replayable() {
		j.Unsafe++
	}
}

// end takes the outcome of an ID that was sent.
func (j *joiner) end(r load.Record) bool {
	if _, ok := j.sent[r.ID]; !ok {
		j.Failed++
		j.problem("failed", "%s is %s and was never sent, or ended before", r.ID, r.Outcome)
		return false
	}
	delete(j.sent, r.ID)
	return true
}

// accounted looks for the backend that gave an answer. Messages of a WebSocket
// are accounted by its upgrade.
func (j *joiner) accounted(r load.Record) {
	id := r.ID
	if r.Kind == load.WebSocket {
		id = r.Session
	}
	if j.seen[id] == 0 {
		j.Forged++
		j.problem("forged", "%s was answered and is in no backend's account", r.ID)
	}
}

// early judges a tunnel that its server ended: its release must have lost the
// traffic by then.
func (j *joiner) early(r load.Record) {
	version, ok := j.version[r.Session]
	if !ok {
		j.Early++
		j.problem("early", "%s ended and its session is in no backend's account", r.Session)
		return
	}
	active := true
	for _, m := range j.moves {
		if m.Version == version && !m.At.After(r.At) {
			active = m.Active
		}
	}
	if active {
		j.Early++
		j.problem("early", "%s on %s was ended by its server although that release had the traffic: %s", r.Session, version, r.Detail)
	}
}

// unanswered counts what was sent and has no outcome at all.
func (j *joiner) unanswered() {
	for id, r := range j.sent {
		j.Failed++
		j.problem("failed", "%s %s was sent and never heard of again", r.Kind, id)
	}
}

// arrivals counts what backends saw more than once, or out of nowhere.
func (j *joiner) arrivals(entries []rig.Entry) {
	counted := map[string]bool{}
	for _, e := range entries {
		switch {
		case counted[e.ID]:
			continue
		case !j.known[e.ID]:
			j.Strangers++
			j.problem("stranger", "%s %s at %s was sent by nobody", e.Kind, e.ID, e.Version)
		case j.seen[e.ID] > 1 && (e.Kind == "GET" || e.Kind == "PUT"):
			j.Replayed += j.seen[e.ID] - 1
		case j.seen[e.ID] > 1:
			j.Duplicates += j.seen[e.ID] - 1
			j.problem("duplicate", "%s %s arrived %d times", e.Kind, e.ID, j.seen[e.ID])
		}
		counted[e.ID] = true
	}
}

func (j *joiner) latency(records []load.Record) {
	if len(records) > 0 {
		first, last := records[0].At, records[0].At
		for _, r := range records {
			if r.At.Before(first) {
				first = r.At
			}
			if r.At.After(last) {
				last = r.At
			}
		}
		j.Elapsed = last.Sub(first)
	}
	if n := len(j.took); n > 0 {
		slices.Sort(j.took)
		j.P99, j.Max = j.took[(n*99-1)/100], j.took[n-1]
	}
}

// Explain is the verdict with all its counts and the first problems, one a
// line.
func (v Verdict) Explain() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", v)
	fmt.Fprintf(&b, "not to be replayed %d (%.0f %%), GETs replayed %d, forged %d, strangers %d; tunnels ended between messages %d, messages cut %d, ended too early %d\n",
		v.Unsafe, 100*float64(v.Unsafe)/float64(max(1, v.Sent)), v.Replayed, v.Forged, v.Strangers, v.Ended, v.Cut, v.Early)
	for _, p := range v.Problems {
		fmt.Fprintf(&b, "  %s\n", p)
	}
	return b.String()
}
