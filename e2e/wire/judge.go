package wire

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/e2e/load"
	"github.com/remorahq/remora/e2e/rig"
)

// Stranger begins the versions of the containers that are not the service's:
// no client of it may be answered by one.
const Stranger = "stranger"

// Cell is what was counted of one kind in one event.
type Cell struct {
	Kind     Kind
	Event    Event
	Promise  Promise
	Requests int // IDs that clients wrote down before sending
	Sent     int // of these, all but those that ended otherwise as promised
	Answered int
	Unsafe   int // of Sent, those that are not idempotent
	// Otherwise counts, by cause, what ended otherwise as promised: requests,
	// and connections between two of them.
	Otherwise map[load.Cause]int
	Closings  int // answers that announced the connection's end, as promised
	Replayed  int // further arrivals of idempotent requests, by the backends' account

	Failed     int // neither answered nor as promised, and connections that ended so
	Duplicates int // further arrivals of requests that are not idempotent
	Foreign    int // arrivals at another service's container
	Forged     int // answered, and in no account of the release that the answer names
	Slow       int // answers over Promise.Max, and over what the machine took by itself

	Problems []Problem
	took     []time.Duration
}

// Broken counts what broke the promise.
func (c *Cell) Broken() int { return c.Failed + c.Duplicates + c.Foreign + c.Forged + c.Slow }

// Problem is one broken promise, with what both logs say of the ID.
type Problem struct {
	At    time.Time
	Sort  string
	ID    string
	What  string
	Lines []string
}

// judge joins one run's logs.
type judge struct {
	run     Run
	quoted  int // problems of each sort that a cell quotes
	machine time.Duration
	cells   map[Kind]*Cell
	pending map[string]load.Record // sent, outcome not yet known
	known   map[string]load.Record // every ID that was sent
	records map[string][]load.Record
	entries map[string][]rig.Entry
	counted map[string]int // of problems, by cell and sort
}

// Judge judges a run, one cell for each kind that had clients. Each quotes up to
// so many problems of each sort.
func Judge(r Run, quoted int) ([]*Cell, error) {
	j := &judge{
		run: r, quoted: quoted, machine: slowest(r.Control), cells: map[Kind]*Cell{}, pending: map[string]load.Record{}, known: map[string]load.Record{},
		records: map[string][]load.Record{}, entries: map[string][]rig.Entry{}, counted: map[string]int{},
	}
	for _, e := range r.Entries {
		j.entries[e.ID] = append(j.entries[e.ID], e)
	}
	for _, rec := range r.Records {
		j.records[rec.ID] = append(j.records[rec.ID], rec)
	}
	for _, rec := range r.Records {
		if column(rec.Kind) == "" {
			return nil, fmt.Errorf("judge %s: clients of the unknown kind %q", r.Event, rec.Kind)
		}
		j.record(j.cell(rec.Kind), rec)
	}
	for _, rec := range j.pending {
		j.fail(j.cell(rec.Kind), rec, "sent and never heard of again")
	}
	j.shares()
	strangers := j.arrivals()
	var out []*Cell
	for _, k := range Kinds() {
		if c := j.cells[k]; c != nil {
			out = append(out, c)
		}
	}
	if strangers > 0 {
		return out, fmt.Errorf("judge %s: %d requests in the backends' account were sent by nobody", r.Event, strangers)
	}
	return out, nil
}

func slowest(control []load.Record) time.Duration {
	var most time.Duration
	for _, r := range control {
		most = max(most, r.Took)
	}
	return most
}

func (j *judge) cell(k load.Kind) *Cell {
	col := column(k)
	c := j.cells[col]
	if c == nil {
		c = &Cell{Kind: col, Event: j.run.Event, Promise: Promised(col, j.run.Event), Otherwise: map[load.Cause]int{}}
		j.cells[col] = c
	}
	return c
}

func (j *judge) record(c *Cell, r load.Record) {
	if r.Outcome == load.Sent {
		j.begin(c, r)
		return
	}
	sent, asked := j.pending[r.ID]
	delete(j.pending, r.ID)
	switch {
	case r.Outcome == load.Answered && !asked:
		j.fail(c, r, "answered and not asked, or twice")
	case r.Outcome == load.Answered:
		c.Answered++
		j.answered(c, r)
	case j.excused(c, r, sent):
		c.Otherwise[r.Cause]++
		if asked {
			c.Sent--
			if !r.Kind.Replayable() {
				c.Unsafe--
			}
		}
	case asked:
		j.fail(c, r, "not answered")
	default:
		j.fail(c, r, "an idle connection ended")
	}
}

func (j *judge) begin(c *Cell, r load.Record) {
	if _, ok := j.known[r.ID]; ok {
		j.fail(c, r, "sent twice by its client")
	}
	j.known[r.ID], j.pending[r.ID] = r, r
	c.Requests++
	c.Sent++
	if !r.Kind.Replayable() {
		c.Unsafe++
	}
}

// answered judges the manner of an answer.
func (j *judge) answered(c *Cell, r load.Record) {
	switch {
	case r.Cause == load.Closing && c.Promise.closing && j.after(r):
		c.Closings++
	case r.Cause == load.Closing:
		j.fail(c, r, "the server ends a keep-alive connection")
	}
	if !j.accounted(r) {
		c.Forged++
		j.problem(c, "forged", r, "answered and in no account of the release that it names")
	}
	if c.Promise.again && r.Own > 0 && r.Kind.Replayable() {
		return
	}
	took := max(0, r.Took-r.Own)
	c.took = append(c.took, took)
	if took > c.Promise.Max && took > j.machine {
		c.Slow++
		j.problem(c, "slow", r, fmt.Sprintf("took %s, promised %s; the machine alone took %s", took, c.Promise.Max, j.machine))
	}
}

// accounted looks for the backend that gave an answer. Messages of a WebSocket
// are accounted by its upgrade.
func (j *judge) accounted(r load.Record) bool {
	id := r.ID
	if r.Kind == load.WebSocket {
		id = r.Session
	}
	for _, e := range j.entries[id] {
		if r.Version == "" || e.Version == r.Version {
			return true
		}
	}
	return false
}

// after says whether any incident of the run's event had begun by then.
func (j *judge) after(r load.Record) bool {
	for _, i := range j.run.Incidents {
		if i.What == j.run.Event && !r.At.Before(i.Begin) {
			return true
		}
	}
	return false
}

// excused says whether an incident that struck the request or its connection
// allows its end.
func (j *judge) excused(c *Cell, r, sent load.Record) bool {
	for _, e := range c.Promise.other {
		if !e.covers(r.Kind, r.Cause) {
			continue
		}
		begun := sent.At
		if e.session || begun.IsZero() {
			begun = j.known[r.Session].At
		}
		for _, i := range j.run.Incidents {
			if i.What == e.at && !begun.After(i.End) && !r.At.Before(i.Begin) && j.struck(i, r) {
				return true
			}
		}
	}
	return false
}

// struck says whether a request was, or may have been, on an instance that an
// incident struck: what is in no account was lost on its way.
func (j *judge) struck(i Incident, r load.Record) bool {
	entries := j.entries[r.ID]
	if r.Kind.Tunnel() {
		entries = j.entries[r.Session]
	}
	if len(i.Instances) == 0 || len(entries) == 0 {
		return true
	}
	return slices.ContainsFunc(entries, func(e rig.Entry) bool { return slices.Contains(i.Instances, e.Instance) })
}

// arrivals counts what backends saw more than once, or should not have seen;
// and what nobody sent.
func (j *judge) arrivals() (strangers int) {
	for id, entries := range j.entries {
		r, ok := j.known[id]
		if !ok {
			strangers++
			continue
		}
		c := j.cell(r.Kind)
		upgrade := r.Kind == load.WebSocket // accounted as a GET, and nothing is done yet
		if again := len(entries) - 1; r.Kind.Replayable() || upgrade {
			c.Replayed += again
		} else if again > 0 {
			c.Duplicates += again
			j.problem(c, "duplicate", r, fmt.Sprintf("arrived %d times", len(entries)))
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Version, Stranger) {
				c.Foreign++
				j.problem(c, "foreign", r, "arrived at another service's container")
			}
		}
	}
	return strangers
}

func (j *judge) fail(c *Cell, r load.Record, what string) {
	c.Failed++
	j.problem(c, "failed", r, what)
}

// problem quotes both logs.
func (j *judge) problem(c *Cell, sort string, r load.Record, what string) {
	key := string(c.Kind) + " " + sort
	if j.counted[key]++; j.counted[key] > j.quoted {
		return
	}
	p := Problem{At: r.At, Sort: sort, ID: r.ID, What: what}
	for _, line := range j.records[r.ID] {
		p.Lines = append(p.Lines, "client:  "+line.String())
	}
	ids := []string{r.ID}
	if r.Session != r.ID {
		ids = append(ids, r.Session)
	}
	for _, id := range ids {
		for _, e := range j.entries[id] {
			p.Lines = append(p.Lines, fmt.Sprintf("backend: %s %d %s %s %s %s %s", e.At.Format(clock), e.At.UnixNano(), e.Kind, e.ID, e.Version, e.Instance, e.What))
		}
	}
	if i, ok := j.near(r.At); ok {
		p.Lines = append(p.Lines, fmt.Sprintf("driver:  %s … %s %s %v", i.Begin.Format(clock), i.End.Format(clock), i.What, i.Instances))
	}
	c.Problems = append(c.Problems, p)
}

// clock is how times are printed.
const clock = "15:04:05.000000"

// near is the last incident that had begun by then.
func (j *judge) near(at time.Time) (last Incident, ok bool) {
	for _, i := range j.run.Incidents {
		if !i.Begin.After(at) && (!ok || i.Begin.After(last.Begin)) {
			last, ok = i, true
		}
	}
	return last, ok
}
