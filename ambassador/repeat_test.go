package ambassador

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// Row 4, the other way: a POST that says that it can be recognised, or whose
// route says so, is replayed.
func TestRace04ReplayByOptIn(t *testing.T) {
	keyed := "POST / HTTP/1.1\r\nHost: x\r\nIdempotency-Key: 7\r\nContent-Length: 2\r\n\r\nhi"
	for name, c := range map[string]struct {
		raw    string
		replay bool
	}{"key": {keyed, false}, "route": {post, true}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			port := freePort(t)
			drops := script(t, "drops", func(_ int, _ net.Conn, br *bufio.Reader) { _, _ = readRequest(br) })
			tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, drops, startBackend(t, "good")))
			tb.Listeners[0].Routes[0].Replay = c.replay
			r.put(tb)
			cl := connect(t, port)
			for range 60 { // each by chance to the one or the other
				cl.want("POST", c.raw, 200, "good 2")
			}
			if drops.conns.Load() == 0 {
				t.Error("no POST was lost by an instance: the test shows nothing")
			}
		})
	}
}

// A route may have its 502, 503 and 504 asked once of another instance; without
// another one, or for what cannot be replayed, the answer stands.
func TestRetry5xx(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	bad, good := answering(t, "bad", 503), answering(t, "good", 200)
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, bad, good))
	tb.Listeners[0].Routes[0].Retry5xx = true
	r.put(tb)
	c := connect(t, port)
	for range 20 {
		c.want("GET", get("/"), 200, "good")
	}
	declined, refused := bad.conns.Load(), 0
	if declined == 0 {
		t.Error("the bad instance was never asked: the test shows nothing")
	}
	for range 20 {
		if status, _, err := c.roundTrip("POST", post); err != nil || status == 503 {
			refused++
		}
	}
	if refused == 0 || int64(refused) != bad.conns.Load()-declined {
		t.Errorf("%d POSTs got 503, the bad instance answered %d", refused, bad.conns.Load()-declined)
	}
	wantOneTiming(t, r, tb, bad)
	alone := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, bad))
	alone.Listeners[0].Routes[0].Retry5xx = true
	r.put(alone)
	c.want("GET", get("/"), 503, "bad")
}

// wantOneTiming: an answer says once how it came about, also after another that
// was dropped.
func wantOneTiming(t *testing.T, r *rig, tb *traffic.Table, bad *backend) {
	t.Helper()
	tb.Listeners[0].Routes[0].ServerTiming = true
	r.put(tb)
	c := connect(t, tb.Listeners[0].Port)
	for before := bad.conns.Load(); bad.conns.Load() == before; {
		fmt.Fprint(c.c, get("/"))
		res, err := http.ReadResponse(c.br, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if got := res.Header.Values("Server-Timing"); len(got) != 1 {
			t.Errorf("Server-Timing %q", got)
		}
	}
}

// A service whose instances all lose their requests gets each at most three
// times, and all together no more than the budget.
func TestRepeatsAreBounded(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	var all []*backend
	for i := range 5 {
		all = append(all, script(t, fmt.Sprint("drops", i), func(_ int, _ net.Conn, br *bufio.Reader) { _, _ = readRequest(br) }))
	}
	sent := func() (n int64) {
		for _, b := range all {
			n += b.conns.Load()
		}
		return n
	}
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, all...)))
	connect(t, port).want("GET", get("/"), 502, "502 No answer")
	if n := sent(); n != 1+maxRepeats {
		t.Errorf("one request was sent %d times", n)
	}
	const more = 100
	begun := time.Now()
	for range more {
		connect(t, port).want("GET", get("/"), 502, "502 ")
	}
	most := int64(more + 1 + repeatsASecond*(11+int(time.Since(begun).Seconds())))
	if n := sent(); n > most {
		t.Errorf("%d requests were sent %d times, want at most %d", more+1, n, most)
	}
}

func TestRepeatBudget(t *testing.T) {
	rl := new(release)
	sv := &serviceView{releases: []*releaseView{{rel: rl}}}
	var b repeatBudget
	now := time.Unix(1000, 0)
	taken := func() (n int) {
		for b.take(now, sv) {
			n++
		}
		return n
	}
	for _, c := range []struct {
		what     string
		later    time.Duration
		requests uint64
		want     int
	}{
		{"at first", 0, 0, 100},
		{"a second later", time.Second, 0, 10},
		{"after a thousand requests", 0, 1000, 200},
		{"after a long rest", time.Hour, 0, 100},
	} {
		now = now.Add(c.later)
		rl.total.Add(c.requests)
		if n := taken(); n != c.want {
			t.Errorf("%s: %d repetitions, want %d", c.what, n, c.want)
		}
	}
}

func TestPatience(t *testing.T) {
	var p patience
	steps := []struct {
		what string
		do   func()
		want time.Duration
	}{
		{"nothing known", func() {}, 0},
		{"open after 2 s", func() { p.open(2 * time.Second) }, 500 * time.Millisecond},
		{"open after less", func() { p.open(time.Second) }, 500 * time.Millisecond},
		{"closed after 3 s", func() { p.closed(3 * time.Second) }, 500 * time.Millisecond},
		{"closed after 1.5 s", func() { p.closed(1500 * time.Millisecond) }, 0},
		{"told 4 s", func() { p.told(4 * time.Second) }, time.Second},
		{"closed early", func() { p.closed(20 * time.Millisecond) }, 0},
		{"told, but it closed early", func() { p.told(4 * time.Second) }, 0},
		{"open after a moment", func() { p.open(600 * time.Millisecond) }, 0},
		{"open after 3 s", func() { p.open(3 * time.Second) }, 750 * time.Millisecond},
	}
	for _, s := range steps {
		s.do()
		if got := p.young(); got != s.want {
			t.Errorf("%s: up to %s, want %s", s.what, got, s.want)
		}
	}
}

// An instance that says how long it keeps connections gets POSTs over kept ones.
func TestPostOverConnectionThatWasToldToStay(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
		for {
			if _, err := readRequest(br); err != nil {
				return
			}
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=60\r\nContent-Length: 2\r\n\r\nv1")
		}
	})
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b)))
	c := connect(t, port)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 5 {
		c.want("POST", post, 200, "v1")
		<-tick.C
	}
	if n := b.conns.Load(); n != 1 {
		t.Errorf("5 POSTs took %d connections, want 1", n)
	}
}
