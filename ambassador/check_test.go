package ambassador

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

func probe(p traffic.Probe) traffic.Probe {
	p.Port, p.Interval, p.Timeout, p.Rise, p.Fall = backendPort, time.Second, time.Second, 2, 2
	return p
}

func withProbe(r traffic.Release, p traffic.Probe) traffic.Release {
	r.Probes = []traffic.Probe{probe(p)}
	return r
}

func warm(rep traffic.Report, release int) traffic.EndpointReport {
	return rep.Services[0].Releases[release].Endpoints[0]
}

// Warming is much quicker than the interval, and a candidate gets no request
// before the switch.
func TestWarmingPace(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	begun := time.Now()
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a), withProbe(rel("v2", traffic.Warming, b), traffic.Probe{HTTP: "/up"})))
	rep := r.await("v2 warm", func(rep traffic.Report) bool { return warm(rep, 1).Warm })
	if took := time.Since(begun); took > 500*time.Millisecond {
		t.Errorf("two good checks took %s", took)
	}
	if e := warm(rep, 1); !e.Good || e.Checked < 2 || e.LastCheck.IsZero() {
		t.Errorf("got %+v", e)
	}
	c := connect(t, port)
	for range 10 {
		c.want("GET", get("/"), 200, "v1")
	}
}

func TestCheckOfPortThatIsClosed(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	late := dead("late")
	r.put(table(port, traffic.Detect, "", withProbe(rel("v1", traffic.Warming, late), traffic.Probe{HTTP: "/up"})))
	rep := r.await("failures", func(rep traffic.Report) bool { return warm(rep, 0).Failures >= 2 })
	if e := warm(rep, 0); e.LastError != fmt.Sprintf("connect to port %d: connection refused", backendPort) || e.Warm {
		t.Errorf("got %+v", e)
	}
	l, err := net.Listen("tcp", netip.AddrPortFrom(late.addr, backendPort).String())
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	r.await("warm", func(rep traffic.Report) bool { return warm(rep, 0).Warm })
}

func TestGuess(t *testing.T) {
	for name, c := range map[string]struct {
		start func(t *testing.T) *backend
		warm  bool
		first bool
	}{
		"http":         {func(t *testing.T) *backend { return startBackend(t, "v1") }, true, false},
		"server_first": {func(t *testing.T) *backend { return speaker(t, "v1") }, true, true},
		"other":        {func(t *testing.T) *backend { return echo(t, "v1") }, true, false},
		"http_500": {func(t *testing.T) *backend {
			return script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
				if _, err := readRequest(br); err == nil {
					fmt.Fprint(c, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
				}
			})
		}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.put(table(freePort(t), traffic.Detect, "", withProbe(rel("v1", traffic.Warming, c.start(t)), traffic.Probe{Guess: true})))
			rep := r.await("checks", func(rep traffic.Report) bool { e := warm(rep, 0); return e.Warm || e.Failures > 2 })
			if e := warm(rep, 0); e.Warm != c.warm {
				t.Errorf("got %+v", e)
			}
			learnt := len(rep.Services[0].ServerFirst) > 0
			// A check listens for 10 ms: on a busy machine a greeting may come
			// later, and the port is dialled after 50 ms of silence instead.
			for n := 0; c.first && !learnt && n < 5; n++ {
				again := newRig(t)
				again.put(table(freePort(t), traffic.Detect, "", withProbe(rel("v1", traffic.Warming, c.start(t)), traffic.Probe{Guess: true})))
				rep := again.await("checks", func(rep traffic.Report) bool { return warm(rep, 0).Warm })
				learnt = len(rep.Services[0].ServerFirst) > 0
			}
			if learnt != c.first {
				t.Errorf("server-first learnt: %v", learnt)
			}
		})
	}
}

// A probe with Once, and one that found no HTTP, end with their success.
func TestOnceEnds(t *testing.T) {
	r := newRig(t)
	a := startBackend(t, "v1")
	re := withProbe(rel("v1", traffic.Warming, a), traffic.Probe{Once: true})
	re.Probes[0].Interval = 10 * time.Millisecond
	r.put(table(freePort(t), traffic.Detect, "", re))
	r.await("warm", func(rep traffic.Report) bool { return warm(rep, 0).Warm })
	timer := time.NewTimer(200 * time.Millisecond)
	<-timer.C
	if n := warm(r.wk.Report(), 0).Checked; n != 1 {
		t.Errorf("checked %d times", n)
	}
}

// A paused standby is not touched; after the pause one good check is enough.
func TestPausedStandbyIsLeftAlone(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	p := traffic.Probe{HTTP: "/up"}
	r.put(table(port, traffic.Detect, "v1", withProbe(rel("v1", traffic.Active, a), p), rel("v2", traffic.Warming, b)))
	r.await("warm", func(rep traffic.Report) bool { return warm(rep, 0).Warm })
	standby := withProbe(rel("v1", traffic.Standby, a), p)
	standby.Paused = true
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, b), standby))
	rep := r.await("drained", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
	if e := warm(rep, 1); e.Warm || e.Good {
		t.Errorf("a paused endpoint is warm: %+v", e)
	}
	checked := warm(r.wk.Report(), 1).Checked
	standby.Paused = false
	begun := time.Now()
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, b), standby))
	rep = r.await("warm again", func(rep traffic.Report) bool { return warm(rep, 1).Warm })
	if n := warm(rep, 1).Checked; n != checked+1 {
		t.Errorf("took %d checks", n-checked)
	}
	t.Logf("warm again after %s", time.Since(begun))
}

// A good endpoint that fails `fall` checks is not good, and others are
// preferred to it.
func TestActiveCheckEjects(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	var sick atomic.Bool
	b1 := script(t, "sick", func(_ int, c net.Conn, br *bufio.Reader) {
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if sick.Load() && req.URL.Path == "/up" {
				fmt.Fprint(c, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
				continue
			}
			ok(c, "sick")
		}
	})
	re := withProbe(rel("v1", traffic.Active, b1, startBackend(t, "well")), traffic.Probe{HTTP: "/up"})
	re.Probes[0].Interval = 20 * time.Millisecond
	r.put(table(port, traffic.Detect, "v1", re))
	r.await("both good", func(rep traffic.Report) bool {
		e := rep.Services[0].Releases[0].Endpoints
		return e[0].Good && e[1].Good
	})
	sick.Store(true)
	r.await("one ejected", func(rep traffic.Report) bool {
		e := warm(rep, 0)
		return !e.Good && e.Warm && e.LastError == "GET /up: 500"
	})
	c := connect(t, port)
	for range 10 {
		c.want("GET", get("/"), 200, "well")
	}
	sick.Store(false)
	r.await("healed", func(rep traffic.Report) bool { return warm(rep, 0).Good })
}

func TestTrustedProxies(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a := startBackend(t, "v1")
	const raw = "GET /headers HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n"
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a))
	r.put(tb)
	for _, c := range []struct {
		trusted []netip.Prefix
		want    string
	}{
		{nil, "X-Forwarded-For: 127.0.0.1\r\n"},
		{[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "X-Forwarded-For: 9.9.9.9, 127.0.0.1\r\n"},
	} {
		tb.TrustedProxies = c.trusted
		r.put(tb)
		_, body, err := connect(t, port).roundTrip("GET", raw)
		if err != nil || !containsLine(body, c.want) {
			t.Errorf("trusting %v: %q, %v", c.trusted, body, err)
		}
	}
}

func containsLine(body, line string) bool {
	for i := 0; i+len(line) <= len(body); i++ {
		if body[i:i+len(line)] == line {
			return true
		}
	}
	return false
}

// A route without a service, and a port that is taken, fail alone.
func TestOneBadListenerDoesNotTakeOthersDown(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := startBackend(t, "v1")
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a))
	key := traffic.ListenerKey{Address: netip.MustParseAddr("127.0.0.1"), Port: uint16(taken.Addr().(*net.TCPAddr).Port)}
	tb.Listeners = append(tb.Listeners,
		traffic.Listener{ListenerKey: key, Protocol: traffic.HTTP, Owner: "env/other", Routes: tb.Listeners[0].Routes},
		traffic.Listener{ListenerKey: traffic.ListenerKey{Namespace: "nowhere", Port: 80}, Owner: "env/lost", Routes: tb.Listeners[0].Routes})
	tb.Listeners[0].Routes = append(tb.Listeners[0].Routes, traffic.Route{Path: "/gone", Service: "env/app/gone"})
	ack := r.put(tb)
	if len(ack.Failures) != 3 {
		t.Errorf("got %d failures: %+v", len(ack.Failures), ack.Failures)
	}
	inUse := false
	for _, f := range ack.Failures {
		inUse = inUse || f.InUse && f.Owner == "env/other" && f.ListenerKey == key
	}
	if !inUse {
		t.Errorf("the taken port is not told: %+v", ack.Failures)
	}
	connect(t, port).want("GET", get("/"), 200, "v1")
	connect(t, port).want("GET", get("/gone"), 503, "503 Not available")
	// The port becomes free: the listener is opened by itself.
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	r.await("the listener", func(rep traffic.Report) bool { return len(rep.Failures) == 2 })
	connect(t, key.Port).want("GET", get("/"), 200, "v1")
}
