package ambassador

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remorahq/remora/ambassador/accesslog"
	"github.com/remorahq/remora/internal/traffic"
)

type logged struct {
	Time                                               time.Time
	Client, Protocol, Method, Host, Path               string
	Port                                               uint16
	Status                                             int
	In, Out                                            int
	Duration                                           int `json:"duration_us"`
	FirstByte                                          int `json:"first_byte_us"`
	Connect                                            int `json:"connect_us"`
	Route, Service, Release, Container, Why, UserAgent string
	Attempts                                           int
	Replayed                                           bool
	Generation                                         uint64
}

// logged waits for the n-th line of the access log.
func (r *rig) logged(n int) logged {
	r.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		b, err := os.ReadFile(filepath.Join(r.dir, accesslog.FileName))
		lines := bytes.SplitAfter(b, []byte("\n"))
		if err == nil && len(lines) > n {
			var l logged
			if err := json.Unmarshal(lines[n-1], &l); err != nil {
				r.t.Fatalf("%v in %s", err, lines[n-1])
			}
			return l
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			r.t.Fatalf("waited for line %d of %s", n, b)
		}
	}
}

// TestAccessLog: each request and each tunnel has one line at its end, which
// says where it went and why.
func TestAccessLog(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := startBackend(t, "v1")
	b.srv.Handler.(*http.ServeMux).HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	tb := table(port, traffic.Detect, "v1", rel("v1", traffic.Active, b))
	tb.AccessLog.Format = "json"
	r.put(tb)
	n := 0
	next := func() logged {
		t.Helper()
		n++
		l := r.logged(n)
		if l.Client != "127.0.0.1" || l.Port != port || l.Generation == 0 || l.Time.IsZero() || l.Duration <= 0 {
			t.Errorf("line %+v", l)
		}
		return l
	}

	c := connect(t, port)
	c.want("GET", "GET /a?secret=1 HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: t\r\n\r\n", 200, "v1")
	l := next()
	if l.Method != "GET" || l.Host != "shop.test" || l.Path != "/a" || l.Status != 200 || l.Protocol != "http/1.1" || l.Attempts != 1 ||
		l.Release != "v1" || l.Service != "env/app/web" || l.Route != "*/" || l.Container != "v1" || l.Why != "" || l.FirstByte <= 0 || l.Connect <= 0 || l.Out < 20 {
		t.Errorf("answered: %+v", l)
	}
	c.want("POST", "POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, "v1")
	if l = next(); l.Method != "POST" || l.Path != "/b" || l.In < 5 {
		t.Errorf("upload: %+v", l)
	}

	fmt.Fprint(c.c, "GET /cut HTTP/1.1\r\nHost: x\r\n\r\n")
	_, _ = io.ReadAll(c.br)
	if l = next(); l.Status != 200 || l.Why != "broken-off" {
		t.Errorf("cut: %+v", l)
	}

	c = connect(t, port)
	fmt.Fprint(c.c, get("/slow"))
	<-b.began
	_ = c.c.Close()
	if l = next(); l.Status != 499 || l.Why != "client-left" || l.Path != "/slow" {
		t.Errorf("left: %+v", l)
	}

	c = connect(t, port)
	fmt.Fprint(c.c, "GET /upgrade HTTP/1.1\r\nHost: up.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if res, err := http.ReadResponse(c.br, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("upgrade: %v %v", res, err)
	}
	// Another connection's head must not end up in this one's line.
	connect(t, port).want("GET", "GET /other-path-that-is-long HTTP/1.1\r\nHost: other.test\r\n\r\n", 200, "v1")
	if l = next(); l.Host != "other.test" {
		t.Errorf("other: %+v", l)
	}
	_ = c.c.Close()
	if l = next(); l.Status != 101 || l.Protocol != "websocket" || l.Host != "up.test" || l.Path != "/upgrade" {
		t.Errorf("websocket: %+v", l)
	}

	connect(t, port).want("GET", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, "v1")
	next()
	tb.Services[0].Maintenance = true
	r.put(tb)
	connect(t, port).want("GET", get("/"), 503, "503")
	if l = next(); l.Status != 503 || l.Why != "maintenance" || l.Service != "env/app/web" || l.Release != "" {
		t.Errorf("maintenance: %+v", l)
	}
	tb.Listeners[0].Routes[0].Host = "only.test"
	r.put(tb)
	connect(t, port).want("GET", get("/"), 404, "404")
	if l = next(); l.Status != 404 || l.Why != "no-route" || l.Service != "" {
		t.Errorf("no route: %+v", l)
	}
}

// TestAccessLogOfTunnels: a tunnel has its bytes and its release, a refused one
// its reason.
func TestAccessLogOfTunnels(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := startEcho(t)
	tb := table(port, traffic.TCP, "v1", rel("v1", traffic.Active, b))
	tb.AccessLog.Format = "json"
	r.put(tb)
	c := connect(t, port)
	fmt.Fprint(c.c, "hello")
	if _, err := io.ReadFull(c.br, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	_ = c.c.Close()
	if l := r.logged(1); l.Protocol != "tunnel" || l.Method != "" || l.In != 5 || l.Out != 5 || l.Release != "v1" || l.Status != 0 || l.Why != "" {
		t.Errorf("tunnel: %+v", l)
	}
	tb.Services[0].Active, tb.Services[0].Releases = "", nil
	r.put(tb)
	// It may be reset before it knows that it is connected.
	if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
		_ = c.Close()
	}
	if l := r.logged(2); l.Why != "no-release" || l.Protocol != "tunnel" || l.Status != 0 {
		t.Errorf("refused tunnel: %+v", l)
	}
}

// TestReplayIsCounted: a request that another instance answered after the first
// one broke off is told as such, in the log, the metrics and Server-Timing.
func TestReplayIsCounted(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	good := startBackend(t, "good")
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, startMute(t), good, dead("refuses")))
	tb.AccessLog.Format = "json"
	tb.Listeners[0].Routes[0].ServerTiming = true
	r.put(tb)
	var replayed *logged
	c := connect(t, port)
	for n := 1; n < 40 && replayed == nil; n++ {
		fmt.Fprint(c.c, get("/"))
		res, err := http.ReadResponse(c.br, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		l := r.logged(n)
		timing := res.Header.Get("Server-Timing")
		want := fmt.Sprintf(`remora;desc="release v1 attempts %d`, l.Attempts)
		if !strings.HasPrefix(timing, want) || !strings.Contains(timing, "upstream;dur=") || l.Replayed != strings.Contains(timing, " replayed") {
			t.Errorf("Server-Timing %q for %+v", timing, l)
		}
		if l.Replayed {
			replayed = &l
		}
	}
	if replayed == nil || replayed.Attempts < 2 || replayed.Container != "good" || replayed.Status != 200 {
		t.Fatalf("no replay: %+v", replayed)
	}
	var out bytes.Buffer
	if err := r.wk.WriteMetrics(&out); err != nil {
		t.Fatal(err)
	}
	rep := r.wk.Report().Services[0]
	for _, want := range []string{
		fmt.Sprintf("remora_ambassador_replays_total{service=\"env/app/web\"} %d\n", rep.Replays),
		fmt.Sprintf("remora_ambassador_ejections_total{service=\"env/app/web\"} %d\n", rep.Ejections),
		fmt.Sprintf(`remora_ambassador_route_requests_total{listener="127.0.0.1:%d",route="*/",service="env/app/web",code="2xx"} `, port),
		fmt.Sprintf(`remora_ambassador_route_duration_seconds_bucket{listener="127.0.0.1:%d",route="*/",service="env/app/web",le="+Inf"} `, port),
		"remora_ambassador_access_log_dropped_total 0\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
	if rep.Replays == 0 {
		t.Errorf("report %+v", rep)
	}
}

// TestOnlyMute: where no instance answers, nobody is told that none was
// reached.
func TestOnlyMute(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, startMute(t))))
	res, body := ask(t, port, "x", "/", "*/*")
	if res.StatusCode != 502 || res.Header.Get("Remora-Reason") != "no-answer" {
		t.Errorf("%d %v %s", res.StatusCode, res.Header, body)
	}
}

// startEcho is a TCP server that sends back what it gets.
func startEcho(t *testing.T) *backend {
	return startRaw(t, "echo", func(c io.ReadWriter) { _, _ = io.Copy(c, c) })
}

// startMute is a server that reads a request and breaks off.
func startMute(t *testing.T) *backend {
	return startRaw(t, "mute", func(c io.ReadWriter) { _, _ = c.Read(make([]byte, 4096)) })
}

// TestMetricsAreBounded: what clients invent makes no new series.
func TestMetricsAreBounded(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, startBackend(t, "v1")))
	r.put(tb)
	series := func() int {
		var out bytes.Buffer
		if err := r.wk.WriteMetrics(&out); err != nil {
			t.Fatal(err)
		}
		return strings.Count(out.String(), "\n")
	}
	c := connect(t, port)
	for range 2 { // a request is counted after its answer, and before the next one
		c.want("GET", get("/"), 200, "v1")
	}
	before := series()
	for n := range 50 {
		c.want("GET", fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: h%d.test\r\n\r\n", n, n), 200, "v1")
	}
	if after := series(); after != before {
		t.Errorf("%d lines became %d", before, after)
	}
}

// startRaw is a TCP server on an address of its own.
func startRaw(t *testing.T, name string, serve func(io.ReadWriter)) *backend {
	t.Helper()
	b := &backend{name: name, addr: freeAddress()}
	l, err := net.Listen("tcp", netip.AddrPortFrom(b.addr, backendPort).String())
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return b
}

// TestRefusedIsNoAttempt: what no instance was given counts as sent no times.
func TestRefusedIsNoAttempt(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, startBackend(t, "v1")))
	tb.AccessLog.Format = "json"
	tb.Listeners[0].Routes[0].ServerTiming = true
	tb.Services[0].Maintenance = true
	r.put(tb)
	c := connect(t, port)
	fmt.Fprint(c.c, get("/"))
	res, err := http.ReadResponse(c.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := res.Header.Get("Server-Timing"), `remora;desc="reason maintenance attempts 0"`; got != want {
		t.Errorf("Server-Timing %q, want %q", got, want)
	}
	if l := r.logged(1); l.Attempts != 0 || l.Why != "maintenance" {
		t.Errorf("logged %+v", l)
	}
}
