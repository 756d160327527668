package ambassador

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// canaryTable is a table of v1, and of v2 as its canary with a share.
func canaryTable(port uint16, share int, sticky string, v1, v2 *backend) *traffic.Table {
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, v1), rel("v2", traffic.Canary, v2))
	tb.Services[0].Split = &traffic.Split{Release: "v2", Share: share, Sticky: sticky}
	return tb
}

// visit makes one request with more header lines and returns who answered, and
// the cookie that was set.
func visit(t testing.TB, c *client, lines string) (body string, cookies []*http.Cookie) {
	t.Helper()
	_ = c.c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c.c, "GET / HTTP/1.1\r\nHost: x\r\n"+lines+"\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(c.br, &http.Request{Method: "GET"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%d %q %v", res.StatusCode, b, err)
	}
	name, _, _ := strings.Cut(string(b), " ")
	return name, res.Cookies()
}

// near fails when a share is far from what is wanted (five standard deviations).
func near(t *testing.T, what string, got, of, share int) {
	t.Helper()
	p := float64(share) / wholeShare
	mean, dev := float64(of)*p, 5*sqrt(float64(of)*p*(1-p))
	if d := float64(got) - mean; d > dev || -d > dev {
		t.Errorf("%s: %d of %d, want about %.0f", what, got, of, mean)
	}
}

func sqrt(x float64) float64 {
	z := x / 2
	for range 40 {
		z -= (z*z - x) / (2 * z)
	}
	return z
}

// Without stickiness each request is decided by itself, on one connection too.
func TestCanaryGetsItsShareOfRequests(t *testing.T) {
	r, v1, v2 := newRig(t), startBackend(t, "v1"), startBackend(t, "v2")
	port := freePort(t)
	for _, share := range []int{0, 500, 2500, 9999} {
		r.put(canaryTable(port, share, "", v1, v2))
		c, got := connect(t, port), 0
		const n = 2000
		for range n {
			name, cookies := visit(t, c, "")
			if len(cookies) > 0 {
				t.Fatalf("a cookie without stickiness: %v", cookies)
			}
			if name == "v2" {
				got++
			}
		}
		near(t, fmt.Sprintf("share %d", share), got, n, share)
		if share == 0 && got > 0 {
			t.Errorf("%d requests on a canary without a share", got)
		}
	}
}

// visitor is a client that keeps its cookies.
type visitor struct {
	lines string
	on    string
}

func (v *visitor) visit(t *testing.T, c *client) {
	t.Helper()
	var cookies []*http.Cookie
	v.on, cookies = visit(t, c, v.lines)
	for _, k := range cookies {
		v.lines = "Cookie: theirs=1; " + k.Name + "=" + k.Value + "\r\n"
		if !k.HttpOnly || k.Path != "/" || k.SameSite != http.SameSiteLaxMode || k.Secure || !strings.HasPrefix(k.Name, "remora-") {
			t.Errorf("cookie %s", k.Raw)
		}
	}
}

// A larger share moves clients to the canary and none back; as long as the share
// is the same, everybody stays where he is.
func TestStickyClientsOnlyMoveToTheCanary(t *testing.T) {
	const n = 400
	for _, tt := range []struct {
		sticky string
		lines  func(i int) string
		rig    func(tb *traffic.Table)
	}{
		{sticky: "cookie", lines: func(int) string { return "" }},
		{sticky: "header:X-User", lines: func(i int) string { return fmt.Sprintf("X-User: user-%d\r\n", i) }},
		{
			sticky: "address", lines: func(i int) string { return fmt.Sprintf("X-Forwarded-For: 192.0.%d.%d\r\n", i/250, i%250) },
			rig: func(tb *traffic.Table) { tb.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} },
		},
	} {
		t.Run(tt.sticky, func(t *testing.T) {
			r, v1, v2 := newRig(t), startBackend(t, "v1"), startBackend(t, "v2")
			port := freePort(t)
			visitors := make([]visitor, n)
			for i := range visitors {
				visitors[i].lines = tt.lines(i)
			}
			for _, share := range []int{500, 2500, 5000} {
				tb := canaryTable(port, share, tt.sticky, v1, v2)
				if tt.rig != nil {
					tt.rig(tb)
				}
				r.put(tb)
				c, got := connect(t, port), 0
				for i := range visitors {
					v := &visitors[i]
					was := v.on
					v.visit(t, c)
					first := v.on
					v.visit(t, c)
					if v.on != first {
						t.Fatalf("share %d: client %d moved from %s to %s by itself", share, i, first, v.on)
					}
					if was == "v2" && v.on == "v1" {
						t.Fatalf("share %d: client %d went back", share, i)
					}
					if v.on == "v2" {
						got++
					}
				}
				near(t, fmt.Sprintf("share %d", share), got, n, share)
			}
			// The canary goes: everybody is on the active release, cookie or not.
			r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, v1), rel("v2", traffic.Draining, v2)))
			c := connect(t, port)
			for i := range visitors {
				if visitors[i].visit(t, c); visitors[i].on != "v1" {
					t.Fatalf("client %d is on %s, which has no share any more", i, visitors[i].on)
				}
			}
		})
	}
}

// Who sends a cookie that is not ours in form gets a new one; nobody chooses a
// release by it.
func TestForgedCookieIsReplaced(t *testing.T) {
	r, v1, v2 := newRig(t), startBackend(t, "v1"), startBackend(t, "v2")
	port := freePort(t)
	r.put(canaryTable(port, 5000, "cookie", v1, v2))
	c := connect(t, port)
	_, cookies := visit(t, c, "")
	if len(cookies) != 1 {
		t.Fatalf("cookies %v", cookies)
	}
	name := cookies[0].Name
	for _, value := range []string{"", "v2", strings.Repeat("x", 21), strings.Repeat("x", 23), strings.Repeat("x", 21) + "%"} {
		if _, again := visit(t, c, "Cookie: "+name+"="+value+"\r\n"); len(again) != 1 || again[0].Name != name {
			t.Errorf("cookie %q: set %v", value, again)
		}
	}
	if _, again := visit(t, c, "Cookie: a=b\r\nCookie: c=d;"+name+"="+cookies[0].Value+"; e\r\n"); len(again) != 0 {
		t.Errorf("a good cookie was replaced by %v", again)
	}
}

// A canary that crashed, or fails its checks, loses nothing: what was meant for
// it goes to the active release, and is counted.
func TestCanaryThatFailsSpillsToActive(t *testing.T) {
	r, v1, v2 := newRig(t), startBackend(t, "v1"), startBackend(t, "v2")
	port := freePort(t)
	tb := canaryTable(port, 9999, "", v1, v2)
	r.put(tb)
	c := connect(t, port)
	if name, _ := visit(t, c, ""); name != "v2" {
		t.Fatalf("the canary does not serve: %s", name)
	}
	v2.stop()
	for i := range 200 {
		if name, _ := visit(t, c, ""); name != "v1" {
			t.Fatalf("request %d: %s", i, name)
		}
	}
	rep := r.await("spilled requests", func(rep traffic.Report) bool { return len(rep.Services) > 0 })
	if n := rep.Services[0].Releases[1].Spilled; n < 190 || n > 201 {
		t.Errorf("%d spilled, want about 200", n)
	}
}

func TestCanaryThatFailsItsChecksGetsNothing(t *testing.T) {
	r, v1 := newRig(t), startBackend(t, "v1")
	sick := make(chan struct{})
	v2 := startHandler(t, "v2", func(w http.ResponseWriter, q *http.Request) {
		select {
		case <-sick:
			w.WriteHeader(500)
		default:
			fmt.Fprint(w, "v2 fine")
		}
	})
	port := freePort(t)
	tb := canaryTable(port, 9999, "", v1, v2)
	tb.Services[0].Releases[1].Probes = []traffic.Probe{{Port: backendPort, HTTP: "/up", Interval: 20 * time.Millisecond, Timeout: time.Second, Rise: 1, Fall: 2}}
	r.put(tb)
	good := func(want bool) func(traffic.Report) bool {
		return func(rep traffic.Report) bool {
			e := rep.Services[0].Releases[1].Endpoints[0]
			return e.Warm && e.Good == want
		}
	}
	r.await("a warm canary", good(true))
	c := connect(t, port)
	if name, _ := visit(t, c, ""); name != "v2" {
		t.Fatalf("the canary does not serve: %s", name)
	}
	close(sick)
	r.await("a sick canary", good(false))
	for i := range 50 {
		if name, _ := visit(t, c, ""); name != "v1" {
			t.Fatalf("request %d: %s", i, name)
		}
	}
}

// The active release crashes in a step: the canary, which is warm, serves.
func TestCanaryServesWhileActiveIsDown(t *testing.T) {
	r, v1, v2 := newRig(t), startBackend(t, "v1"), startBackend(t, "v2")
	port := freePort(t)
	r.put(canaryTable(port, 1, "", v1, v2))
	c := connect(t, port)
	visit(t, c, "")
	v1.stop()
	for i := range 100 {
		if name, _ := visit(t, c, ""); name != "v2" {
			t.Fatalf("request %d: %s", i, name)
		}
	}
}

// Tunnels are split as requests are, and by address where there is no header to
// go by.
func TestTunnelsAreSplit(t *testing.T) {
	r, v1, v2 := newRig(t), startBackend(t, "v1"), startBackend(t, "v2")
	port := freePort(t)
	count := func(sticky string, n int) (got int) {
		tb := canaryTable(port, 5000, sticky, v1, v2)
		tb.Listeners[0].Protocol = traffic.TCP
		r.put(tb)
		for range n {
			c := connect(t, port)
			if name, _ := visit(t, c, "Connection: close\r\n"); name == "v2" {
				got++
			}
			_ = c.c.Close()
		}
		return got
	}
	const n = 300
	near(t, "tunnels", count("", n), n, 5000)
	for _, sticky := range []string{"address", "cookie", "header:x-user"} {
		if got := count(sticky, 20); got != 0 && got != 20 {
			t.Errorf("sticky by %s: %d of 20 tunnels of one address are on the canary", sticky, got)
		}
	}
}

// A whole canary under load: steps, a way back, steps again and the switch. No
// request is lost, and what left is drained.
func TestCanaryStepsUnderLoadLoseNothing(t *testing.T) {
	r, v1, v2 := newRig(t), startBackend(t, "v1"), startBackend(t, "v2")
	port := freePort(t)
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, v1)))
	ctx, cancel := context.WithCancel(t.Context())
	var load *tally
	done := make(chan struct{})
	go func() { defer close(done); load = mixedLoad(ctx, t, port, 16) }()
	drained := func(name string) func(traffic.Report) bool {
		return func(rep traffic.Report) bool {
			for _, rr := range rep.Services[0].Releases {
				if rr.Name == name {
					return rr.Drained
				}
			}
			return false
		}
	}
	for range 6 {
		for _, share := range []int{500, 5000} {
			tb := canaryTable(port, share, "", v1, v2)
			tb.Listeners[0].Protocol = traffic.Detect
			r.put(tb)
			settleRequests(r, 200)
		}
		r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, v1), rel("v2", traffic.Draining, v2)))
		r.await("the canary drained", drained("v2"))
		r.put(canaryTable(port, 5000, "", v1, v2))
		settleRequests(r, 200)
		r.put(table(port, traffic.Detect, "v2", rel("v1", traffic.Draining, v1), rel("v2", traffic.Active, v2)))
		r.await("the former drained", drained("v1"))
		v1, v2 = v2, v1
		r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, v1)))
	}
	cancel()
	<-done
	if len(load.failed) > 0 {
		t.Fatalf("%d of %d failed: %v", len(load.failed), load.sent.Load(), load.failed[:min(5, len(load.failed))])
	}
	if int64(len(load.answered)) != load.sent.Load() {
		t.Errorf("sent %d, answered %d", load.sent.Load(), len(load.answered))
	}
}

// settleRequests waits until so many more requests were answered.
func settleRequests(r *rig, n uint64) {
	total := func(rep traffic.Report) (sum uint64) {
		for _, rr := range rep.Services[0].Releases {
			sum += rr.Requests
		}
		return sum
	}
	begun := total(r.wk.Report())
	r.await("requests", func(rep traffic.Report) bool { return total(rep) >= begun+n })
}

// A canary that leaves is drained only when what it has has ended.
func TestCanaryDrainsBeforeItGoes(t *testing.T) {
	r, v1, v2 := newRig(t), startBackend(t, "v1"), startBackend(t, "v2")
	port := freePort(t)
	r.put(canaryTable(port, 9999, "", v1, v2))
	c := connect(t, port)
	if _, err := io.WriteString(c.c, get("/slow")); err != nil {
		t.Fatal(err)
	}
	<-v2.began
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, v1), rel("v2", traffic.Draining, v2)))
	if rr := r.wk.Report().Services[0].Releases[1]; rr.Drained || rr.Inflight != 1 {
		t.Errorf("canary %+v with a request in flight", rr)
	}
	close(v2.slow)
	if status, body, err := c.response("GET"); status != 200 || body != "v2 slow" {
		t.Errorf("%d %q %v", status, body, err)
	}
	r.await("the canary drained", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
	c.want("GET", get("/"), 200, "v1")
}

// What is limited, allowed, split and kept by a cookie costs a request no
// allocation.
func TestAdmissionAllocatesNothing(t *testing.T) {
	sv := &serviceView{spec: &traffic.Service{Name: "e/a/s", Active: "v1", Split: &traffic.Split{Release: "v2", Share: 5000, Sticky: "cookie"}}}
	sv.active = &releaseView{spec: &traffic.Release{Name: "v1", State: traffic.Active}, rel: &release{}}
	sv.releases = []*releaseView{sv.active, {spec: &traffic.Release{Name: "v2", State: traffic.Canary}, rel: &release{}}}
	sv.split = newSplit(sv.spec, sv.releases)
	rv := &routeView{sv: sv, rt: &routeRuntime{}, limiter: newLimiter(), spec: traffic.Route{
		Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24")},
		Rate:  traffic.Rate{PerSecond: 1e6, Burst: 1e6}, MaxConns: 10,
	}}
	v := &view{table: &traffic.Table{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
	by := &fixedFields{cookie: []byte("a=b; " + sv.split.cookie + "=" + strings.Repeat("x", 22)), forwarded: []byte("192.0.2.1, 198.51.100.7")}
	started := time.Now()
	extra := make([]byte, 0, 200)
	if n := testing.AllocsPerRun(1000, func() {
		w := want{view: v, client: netip.AddrFrom4([4]byte{10, 0, 0, 1}), by: by, arrived: started, path: []byte{}}
		if err := w.enter(rv, started); err != nil {
			t.Fatal(err)
		}
		sv.choose(&w)
		extra = w.appendCookie(extra[:0])
		w.leave()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if len(extra) != 0 || rv.rt.seats.Load() != 0 {
		t.Errorf("cookie %q set again, %d places taken", extra, rv.rt.seats.Load())
	}
	by.cookie = nil
	if n := testing.AllocsPerRun(1000, func() {
		w := want{view: v, client: netip.AddrFrom4([4]byte{10, 0, 0, 1}), by: by, arrived: started}
		_ = w.enter(rv, started)
		extra = w.appendCookie(extra[:0])
		w.leave()
	}); n != 0 || len(extra) == 0 {
		t.Errorf("%v allocations for a new client, cookie %q", n, extra)
	}
}

type fixedFields struct{ cookie, forwarded []byte }

func (*fixedFields) gone() bool          { return false }
func (*fixedFields) field(string) []byte { return nil }
func (f *fixedFields) fieldFromEnd(lower string, i int) []byte {
	switch {
	case i > 0:
		return nil
	case lower == "cookie":
		return f.cookie
	}
	return f.forwarded
}

// Lots are spread evenly, and differ between releases: it is not always the same
// clients who meet a new one first.
func TestLotsAreEven(t *testing.T) {
	const n = 20_000
	lots := func(name string) (at []int) {
		s := &traffic.Service{Name: "e/a/s", Active: "v0", Split: &traffic.Split{Release: name, Share: 1, Sticky: "header:x-user"}}
		sp := newSplit(s, []*releaseView{{spec: &traffic.Release{Name: name, State: traffic.Canary}, rel: new(release)}})
		for i := range n {
			w := want{by: fields{"x-user": {fmt.Sprint("user", i)}}, path: []byte{}}
			sp.draw(&w)
			at = append(at, int(w.lot.point))
		}
		return at
	}
	one, two := lots("v1"), lots("v2")
	var tenths [10]int
	both := 0
	for i := range one {
		tenths[one[i]/1000]++
		if one[i] < 1000 && two[i] < 1000 {
			both++
		}
	}
	for i, got := range tenths {
		near(t, fmt.Sprintf("tenth %d", i), got, n, 1000)
	}
	near(t, "first in both", both, n, 100)
}

// Streams of HTTP/2 are split as requests are, each by itself or by the cookie,
// which comes in lines of its own there.
func TestStreamsAreSplit(t *testing.T) {
	r, v1, v2 := newRig(t), startBackend(t, "v1"), startBackend(t, "v2")
	port := freePort(t)
	r.put(canaryTable(port, 2500, "", v1, v2))
	c, got := connectH2(t, port), 0
	const n = 500
	for range n {
		_, body, err := c.do(c.request("GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(body, "v2") {
			got++
		}
	}
	near(t, "streams", got, n, 2500)
	r.put(canaryTable(port, 5000, "cookie", v1, v2))
	for range 20 {
		res, body, err := c.do(c.request("GET", "/", nil))
		if err != nil || len(res.Cookies()) != 1 {
			t.Fatalf("%v, cookies %v", err, res.Cookies())
		}
		again := c.request("GET", "/", nil)
		again.Header["Cookie"] = []string{"a=b", res.Cookies()[0].Name + "=" + res.Cookies()[0].Value, "c=d"}
		if res, twice, err := c.do(again); err != nil || twice != body || len(res.Cookies()) != 0 {
			t.Errorf("%q, then %q, %v, cookies %v", body, twice, err, res.Cookies())
		}
	}
}
