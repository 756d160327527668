package load

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Kind is what a client does.
type Kind string

// The kinds of clients. Those that [Kind.Replayable] names may reach a backend
// twice; of the others it must see each ID once.
const (
	Get       Kind = "get"       // keep-alive GET
	Post      Kind = "post"      // keep-alive POST with a small body, echoed
	Put       Kind = "put"       // PUT of a checksummed body that a proxy could keep to send it again
	Upload    Kind = "upload"    // POST of a checksummed body with Content-Length
	Chunked   Kind = "chunked"   // the same in chunks, with pauses between them
	Events    Kind = "events"    // GET of a stream of server-sent events, each looked at
	Poll      Kind = "poll"      // GET that is answered late, as a long poll
	WebSocket Kind = "websocket" // messages, each echoed
	GRPC      Kind = "grpc"      // unary gRPC calls over HTTP/2 with prior knowledge
	TCP       Kind = "tcp"       // lines, each echoed; the client speaks first
	Greeted   Kind = "greeted"   // the same, the server speaks first
)

// Tunnel says that a kind's connections stay with the release that they began
// on.
func (k Kind) Tunnel() bool { return k == WebSocket || k == TCP || k == Greeted }

// Replayable says that a kind's requests are idempotent by their method.
func (k Kind) Replayable() bool { return k == Get || k == Put || k == Events || k == Poll }

// Outcome is what became of one ID, or of a session.
type Outcome string

// The outcomes. Every ID that is Sent has exactly one of Answered, Cut and
// Failed.
const (
	Sent     Outcome = "sent"     // about to be sent
	Answered Outcome = "answered" // the whole, correct answer came
	Cut      Outcome = "cut"      // a tunnel's server closed cleanly before the echo, or a stream of events ended cleanly too early
	Ended    Outcome = "ended"    // a tunnel's server closed cleanly between messages; the ID is the session's
	Failed   Outcome = "failed"   // anything else
)

// Record is one line of the clients' log.
type Record struct {
	At      time.Time
	Outcome Outcome
	Kind    Kind
	ID      string
	// Session is the connection's own ID: tunnels are accounted by the backend
	// under it.
	Session string
	Took    time.Duration // from before the connection was made or the request written
	Own     time.Duration // of Took, what the backend takes by itself: [Group.Own]
	Version string        // of the release that answered, where the answer says so
	Cause   Cause         // why it was not answered, in a word; or Closing
	Detail  string        // the same at length
}

// log is the clients' log: a line is on its way to the kernel before the
// request is. Safe for concurrent use.
type log struct {
	mu sync.Mutex
	f  *os.File
}

func (l *log) write(r Record) error {
	line := r.line()
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := io.WriteString(l.f, line); err != nil {
		return fmt.Errorf("write the clients' log: %w", err)
	}
	return nil
}

// String is the record's line in the log.
func (r Record) String() string { return strings.TrimSuffix(r.line(), "\n") }

func (r Record) line() string {
	detail := strings.Join(strings.Fields(r.Detail), "_")
	return fmt.Sprintf("%d %s %s %s %s %d %d %s %s %s\n",
		r.At.UnixNano(), r.Outcome, r.Kind, r.ID, dash(r.Session), r.Took, r.Own, dash(r.Version), dash(string(r.Cause)), dash(detail))
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// Read reads a clients' log.
func Read(path string) ([]Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the clients' log: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	var out []Record
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		r, err := parse(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("read the clients' log: line %d: %w", n, err)
		}
		out = append(out, r)
	}
	return out, lines.Err()
}

func parse(line string) (Record, error) {
	f := strings.Split(line, " ")
	if len(f) != 10 {
		return Record{}, fmt.Errorf("%d fields, want 10: %q", len(f), line)
	}
	for i := range f {
		if f[i] == "-" {
			f[i] = ""
		}
	}
	at, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		return Record{}, fmt.Errorf("time: %w", err)
	}
	took, err := strconv.ParseInt(f[5], 10, 64)
	if err != nil {
		return Record{}, fmt.Errorf("duration: %w", err)
	}
	own, err := strconv.ParseInt(f[6], 10, 64)
	if err != nil {
		return Record{}, fmt.Errorf("duration: %w", err)
	}
	return Record{
		At: time.Unix(0, at), Outcome: Outcome(f[1]), Kind: Kind(f[2]), ID: f[3], Session: f[4],
		Took: time.Duration(took), Own: time.Duration(own), Version: f[7], Cause: Cause(f[8]), Detail: f[9],
	}, nil
}
