package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remorahq/remora/e2e/rig"
)

// Group is a number of clients that do the same.
type Group struct {
	Kind Kind
	// Addr is the listener, as HOST:PORT on the engine's host.
	Addr string
	// Conns is how many connections there are at once, each with one request
	// under way.
	Conns int
	// Rate is how many requests a second the group tries to begin; 0 is as
	// fast as answers come.
	Rate int
	// Path of HTTP requests, default as the kind's page of the test program.
	Path string
	// Size of a body in bytes, default 32 (48 KiB of puts, 64 KiB of uploads),
	// and the least size of a WebSocket's message, at most 64 KiB.
	Size int
	// Pause is what comes before each 4 KiB of a body; the time of the answer
	// then counts from the body's end.
	Pause time.Duration
	// Session is after how many messages a client closes a tunnel itself and
	// opens another; 0 is never.
	Session int
	// Own is what the backend takes for an answer by itself, as the slow temper
	// does; it is no latency of the ambassador's.
	Own time.Duration
	// MayClose says that an answer after which the server closes the connection
	// counts as answered; the log says [Closing].
	MayClose bool
	// Timeout is when an answer counts as failed, default 30 s.
	Timeout time.Duration
}

// Dial connects as a program on the engine's host would.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// Load is traffic that goes on until Stop.
type Load struct {
	// Log is the path of the clients' log.
	Log string

	dial Dial
	log  log
	run  string // makes IDs of two loads differ
	next atomic.Uint64

	cancel context.CancelFunc
	work   sync.WaitGroup
	once   sync.Once
	mu     sync.Mutex
	err    error
	counts map[Kind]*Count
}

// Count is what a kind's clients have come to so far.
type Count struct{ Sent, Answered, Cut, Failed atomic.Int64 }

// Start starts the clients. The log is a new file; Stop ends it, at the latest
// when the test ends.
func Start(t rig.TB, dial Dial, path string, groups ...Group) *Load {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatalf("make the clients' log: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l := &Load{
		Log: path, dial: dial, log: log{f: f}, cancel: cancel, counts: map[Kind]*Count{},
		run: strconv.FormatInt(time.Now().UnixNano(), 36),
	}
	for _, g := range groups {
		if l.counts[g.Kind] == nil {
			l.counts[g.Kind] = &Count{}
		}
	}
	for _, g := range groups {
		g.defaults()
		for i := range g.Conns {
			c := &client{load: l, Group: g, count: l.counts[g.Kind], offset: i}
			l.work.Go(func() { l.fail(c.run(ctx)) })
		}
	}
	t.Cleanup(func() { _ = l.Stop() }) // who wants to know has asked before
	return l
}

func (g *Group) defaults() {
	if g.Timeout == 0 {
		g.Timeout = 30 * time.Second
	}
	if g.Path == "" {
		g.Path = cmp.Or(paths()[g.Kind], "/")
	}
	if g.Size == 0 && g.Kind != WebSocket {
		g.Size = cmp.Or(map[Kind]int{Put: 48 << 10, Upload: 64 << 10, Chunked: 64 << 10}[g.Kind], 32)
	}
	if g.Kind == Poll {
		g.Own += pollTime
	}
}

func paths() map[Kind]string {
	return map[Kind]string{
		Put: "/upload", Upload: "/upload", Chunked: "/upload", WebSocket: "/ws", GRPC: "/wire.Echo/Say",
		Poll: "/?delay=" + pollTime.String(), Events: fmt.Sprintf("/events?interval=%s&n=%d", eventEvery, eventCount),
	}
}

// Stop lets every request under way end, closes the connections and returns
// what kept a client from its work, such as a full disk; not failed requests.
func (l *Load) Stop() error {
	l.once.Do(func() {
		l.cancel()
		l.work.Wait()
		l.fail(l.log.f.Close())
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *Load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = errors.Join(l.err, err)
}

// Totals are the sums over all kinds so far.
func (l *Load) Totals() (sent, answered, cut, failed int64) {
	for _, c := range l.counts {
		sent, answered, cut, failed = sent+c.Sent.Load(), answered+c.Answered.Load(), cut+c.Cut.Load(), failed+c.Failed.Load()
	}
	return sent, answered, cut, failed
}

// Count is a kind's counters.
func (l *Load) Count(k Kind) *Count { return l.counts[k] }

func (l *Load) id(k Kind) string { return fmt.Sprintf("%s-%s-%d", k, l.run, l.next.Add(1)) }

// client is one of a group.
type client struct {
	Group
	load   *Load
	count  *Count
	offset int // in the group: spreads the clients over the pace

	link    link
	session string // the connection's own ID
	version string // of a tunnel
	used    int
}

// run sends one request after the other at the group's pace until ctx ends.
func (c *client) run(ctx context.Context) error {
	defer c.hangUp(true)
	if c.Rate == 0 {
		for ctx.Err() == nil {
			if err := c.one(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	pause := time.Duration(c.Conns) * time.Second / time.Duration(c.Rate)
	due := time.Now().Add(pause * time.Duration(c.offset) / time.Duration(c.Conns))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if ctx.Err() != nil { // who is behind has both at once
			return nil
		}
		if err := c.one(ctx); err != nil {
			return err
		}
		// Who fell behind catches up, but by no more than a second.
		if due = due.Add(pause); time.Since(due) > time.Second {
			due = time.Now()
		}
		timer.Reset(time.Until(due))
	}
}

// one sends one request and writes down what became of it.
func (c *client) one(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx) // what has begun is finished
	r := Record{At: time.Now(), Outcome: Sent, Kind: c.Kind, ID: c.load.id(c.Kind), Own: c.Own}
	begun := r.At
	if err := c.notice(); err != nil {
		return err
	}
	if c.link == nil {
		c.session, c.used, c.version = r.ID, 0, ""
	}
	r.Session = c.session
	if err := c.load.log.write(r); err != nil {
		return err
	}
	c.count.Sent.Add(1)
	got, err := c.exchange(ctx, r.ID)
	r.At = time.Now()
	r.Took, r.Version, r.Cause = r.At.Sub(begun), got.version, causeOf(err)
	if err == nil && got.first > 0 {
		r.Took = got.first
	}
	switch {
	case err == nil && got.closing && c.MayClose:
		r.Outcome, r.Cause = Answered, Closing
		c.count.Answered.Add(1)
	case err == nil && got.closing:
		err = errors.New("the server closes a keep-alive connection")
		r.Outcome, r.Cause, r.Detail = Failed, Closing, err.Error()
		c.count.Failed.Add(1)
	case err == nil:
		r.Outcome = Answered
		c.count.Answered.Add(1)
	case errors.Is(err, errClosedCleanly):
		r.Outcome, r.Detail = Cut, err.Error()
		c.count.Cut.Add(1)
	default:
		r.Outcome, r.Detail = Failed, err.Error()
		c.count.Failed.Add(1)
	}
	if err != nil || got.closing {
		c.hangUp(false)
	}
	if c.used++; c.Session > 0 && c.used >= c.Session {
		c.hangUp(true)
	}
	return c.load.log.write(r)
}

// notice takes leave of a connection that its server closed since the last
// message, as a client does that waits for what comes.
func (c *client) notice() error {
	if c.link == nil {
		return nil
	}
	over, err := c.link.over()
	if !over {
		return nil
	}
	c.hangUp(false)
	r := Record{At: time.Now(), Outcome: Ended, Kind: c.Kind, ID: c.session, Session: c.session, Version: c.version, Cause: causeOf(err), Detail: fmt.Sprint(err)}
	if !errors.Is(err, errClosedCleanly) {
		r.Outcome = Failed
		c.count.Failed.Add(1)
	}
	return c.load.log.write(r)
}

// exchange sends one request on the connection, made where there is none.
func (c *client) exchange(ctx context.Context, id string) (reply, error) {
	if c.link == nil {
		if err := c.connect(ctx); err != nil {
			return reply{}, err
		}
	}
	if err := c.link.deadline(time.Now().Add(c.Timeout)); err != nil {
		return reply{}, err
	}
	got, err := c.link.exchange(id)
	got.version = cmp.Or(got.version, c.version)
	return got, err
}

func (c *client) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	conn, err := c.load.dial(ctx, "tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	c.link = newLink(c.Group, conn)
	if err := conn.SetDeadline(time.Now().Add(c.Timeout)); err != nil {
		return err
	}
	c.version, err = c.link.open(c.session)
	return err
}

// hangUp closes the connection; politely where the kind has a way to say so.
func (c *client) hangUp(politely bool) {
	if c.link != nil {
		c.link.close(politely)
		c.link = nil
	}
}
