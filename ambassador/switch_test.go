package ambassador

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// tally accounts for every request of a load.
type tally struct {
	mu       sync.Mutex
	answered map[string]string // by ID: what was answered
	failed   []string
	sent     atomic.Int64
}

func (a *tally) note(id string, status int, body string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil || status != 200 {
		a.failed = append(a.failed, fmt.Sprintf("%s: %d %q %v", id, status, body, err))
		return
	}
	a.answered[id] = body
}

// mixedLoad runs keep-alive clients until ctx ends: GET, POST, chunked and
// large uploads.
func mixedLoad(ctx context.Context, t *testing.T, port uint16, clients int) *tally {
	a := &tally{answered: make(map[string]string)}
	var wg sync.WaitGroup
	for n := range clients {
		c := connect(t, port)
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%d-%d", n, i)
				method, raw := request(n+i, id)
				a.sent.Add(1)
				status, body, err := c.roundTrip(method, raw)
				a.note(id, status, body, err)
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return a
}

func request(kind int, id string) (method, raw string) {
	switch kind % 8 {
	case 0, 1:
		return "POST", "POST /p HTTP/1.1\r\nHost: x\r\nX-Id: " + id + "\r\nContent-Length: 5\r\n\r\nhello"
	case 2:
		return "POST", "POST /p HTTP/1.1\r\nHost: x\r\nX-Id: " + id + "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: x\r\n\r\n"
	case 3:
		body := strings.Repeat("u", 200<<10)
		return "PUT", fmt.Sprintf("PUT /p HTTP/1.1\r\nHost: x\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n%s", id, len(body), body)
	}
	return "GET", "GET /g HTTP/1.1\r\nHost: x\r\nX-Id: " + id + "\r\n\r\n"
}

func TestSwitchUnderLoadLosesNothing(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	ctx, cancel := context.WithCancel(t.Context())
	var load *tally
	done := make(chan struct{})
	go func() { defer close(done); load = mixedLoad(ctx, t, port, 16) }()
	const switches = 30
	active, other, ba, bb := "v1", "v2", a, b
	for range switches {
		active, other, ba, bb = other, active, bb, ba
		r.put(table(port, traffic.Detect, active, rel(active, traffic.Active, ba), rel(other, traffic.Draining, bb)))
		r.await("the drain", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
	}
	cancel()
	<-done
	load.check(t, a, b)
}

// check demands that every request was answered, and that the backends saw
// each once.
func (a *tally) check(t *testing.T, backends ...*backend) {
	t.Helper()
	for _, f := range a.failed {
		t.Errorf("failed: %s", f)
	}
	if int(a.sent.Load()) != len(a.answered) {
		t.Errorf("sent %d, answered %d", a.sent.Load(), len(a.answered))
	}
	for id := range a.answered {
		n := 0
		for _, b := range backends {
			b.mu.Lock()
			n += b.seen[id]
			b.mu.Unlock()
		}
		if n != 1 {
			t.Errorf("request %s reached the backends %d times", id, n)
		}
	}
	t.Logf("requests=%d failed=%d", a.sent.Load(), len(a.failed))
}

func TestSwitchKeepsTunnelsAndMovesRequests(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	ws, keep, events := connect(t, port), connect(t, port), connect(t, port)
	if _, err := io.WriteString(ws.c, "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	readUntil(t, ws, "v1\n")
	if _, err := io.WriteString(events.c, get("/events")); err != nil {
		t.Fatal(err)
	}
	readUntil(t, events, "data: v1\n")
	keep.want("GET", get("/"), 200, "v1")
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, b), rel("v1", traffic.Draining, a)))
	keep.want("GET", get("/"), 200, "v2")
	fmt.Fprint(ws.c, "still here\n")
	readUntil(t, ws, "still here\n")
	rep := r.await("requests drained", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].RequestsDrained })
	if old := rep.Services[0].Releases[1]; old.Drained || old.Tunnels != 2 {
		t.Fatalf("tunnels are not counted: %+v", old)
	}
	_ = ws.c.Close()
	_ = events.c.Close()
	r.await("the drain", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
}

func readUntil(t *testing.T, c *client, text string) {
	t.Helper()
	_ = c.c.SetReadDeadline(time.Now().Add(10 * time.Second))
	var all strings.Builder
	for !strings.Contains(all.String(), text) {
		b, err := c.br.ReadByte()
		if err != nil {
			t.Fatalf("read %q, then %v; want %q", all.String(), err, text)
		}
		all.WriteByte(b)
	}
}

func TestTCPSwitch(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	r.put(table(port, traffic.TCP, "v1", rel("v1", traffic.Active, a)))
	old := connect(t, port)
	old.want("GET", get("/"), 200, "v1")
	r.put(table(port, traffic.TCP, "v2", rel("v2", traffic.Active, b), rel("v1", traffic.Draining, a)))
	old.want("GET", get("/"), 200, "v1")
	connect(t, port).want("GET", get("/"), 200, "v2")
	r.put(table(port, traffic.TCP, "v2", rel("v2", traffic.Active, b), func() traffic.Release {
		d := rel("v1", traffic.Draining, a)
		return d
	}()))
	_ = old.c.Close()
	r.await("the drain", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
}
