package ambassador

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// mirrorTable is a table of v1, and of v2 that gets copies.
func mirrorTable(port uint16, share int, v1, v2 *backend) *traffic.Table {
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, v1), rel("v2", traffic.Canary, v2))
	tb.Services[0].Mirror = &traffic.Mirror{Release: "v2", Share: share}
	return tb
}

// copies is a backend that notes what it gets.
type copies struct {
	mu   sync.Mutex
	seen []string
}

func (c *copies) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	c.seen = append(c.seen, fmt.Sprintf("%s %s %q mirror=%s", r.Method, r.URL, body, r.Header.Get("Remora-Mirror")))
	c.mu.Unlock()
	w.WriteHeader(500)
	fmt.Fprint(w, "an answer that nobody gets")
}

func mirrored(n uint64) func(traffic.Report) bool {
	return func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Mirrored >= n }
}

// What changes nothing is copied to the other release, marked, once; what it
// answers is dropped and counted.
func TestMirrorCopiesWhatChangesNothing(t *testing.T) {
	r, v1, seen := newRig(t), startBackend(t, "v1"), new(copies)
	v2 := startHandler(t, "v2", seen.ServeHTTP)
	port := freePort(t)
	r.put(mirrorTable(port, wholeShare, v1, v2))
	c := connect(t, port)
	c.want("GET", "GET /mine HTTP/1.1\r\nHost: x\r\nAuthorization: Negotiate YII=\r\n\r\n", 200, "v1")
	c.want("GET", get("/a?b=c"), 200, "v1")
	c.want("POST", "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 200, "v1 5")
	c.want("PUT", "PUT /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 200, "v1 5")
	c.want("GET", "GET /search HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nquery", 200, "v1 5")
	c.want("HEAD", "HEAD /h HTTP/1.1\r\nHost: x\r\n\r\n", 200, "")
	rep := r.await("copies", mirrored(3))
	if rr := rep.Services[0].Releases[1]; rr.Mirrored != 3 || rr.MirrorErrors != 3 || rr.Requests != 0 || rr.Unmirrored != 0 {
		t.Errorf("%+v, want 3 copies, 3 errors and no request", rr)
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	want := map[string]bool{`GET /a?b=c "" mirror=1`: true, `GET /search "query" mirror=1`: true, `HEAD /h "" mirror=1`: true}
	for _, s := range seen.seen {
		if !want[s] {
			t.Errorf("copied %s", s)
		}
		delete(want, s)
	}
	if len(want) > 0 {
		t.Errorf("not copied: %v", want)
	}
}

func TestMirrorCopiesItsShare(t *testing.T) {
	r, v1, seen := newRig(t), startBackend(t, "v1"), new(copies)
	port := freePort(t)
	r.put(mirrorTable(port, 2500, v1, startHandler(t, "v2", seen.ServeHTTP)))
	c := connect(t, port)
	const n = 1000
	for range n {
		c.want("GET", get("/"), 200, "v1")
	}
	rep := r.await("copies", func(rep traffic.Report) bool {
		rr := rep.Services[0].Releases[1]
		return rr.Inflight == 0 && rr.Mirrored > 100
	})
	rr := rep.Services[0].Releases[1]
	near(t, "copies", int(rr.Mirrored+rr.Unmirrored)+rr.Inflight, n, 2500)
}

// A connection's only request is copied as others are, on a port that detects.
func TestMirrorCopiesOnlyRequests(t *testing.T) {
	r, v1, seen := newRig(t), startBackend(t, "v1"), new(copies)
	port := freePort(t)
	tb := mirrorTable(port, wholeShare, v1, startHandler(t, "v2", seen.ServeHTTP))
	tb.Listeners[0].Protocol = traffic.Detect
	r.put(tb)
	for range 20 {
		connect(t, port).want("GET", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, "v1")
	}
	r.await("copies", mirrored(20))
}

// A mirror that hangs costs the clients nothing: copies beyond the bound are
// dropped. The release is drained only when the copies have ended, and its
// drain's deadline ends them.
func TestMirrorThatHangsDelaysNobody(t *testing.T) {
	r, v1 := newRig(t), startBackend(t, "v1")
	free := make(chan struct{})
	defer close(free)
	v2 := startHandler(t, "v2", func(http.ResponseWriter, *http.Request) { <-free })
	port := freePort(t)
	r.put(mirrorTable(port, wholeShare, v1, v2))
	c := connect(t, port)
	begun := time.Now()
	const n = 500
	for range n {
		c.want("GET", get("/"), 200, "v1")
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("%d requests took %s", n, took)
	}
	r.await("copies up to the bound", func(rep traffic.Report) bool {
		rr := rep.Services[0].Releases[1]
		return rr.Inflight == maxMirrors && rr.Unmirrored == n-maxMirrors
	})
	leaving := rel("v2", traffic.Draining, v2)
	leaving.DrainDeadline = 300 * time.Millisecond
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, v1), leaving))
	if rr := r.wk.Report().Services[0].Releases[1]; rr.Drained {
		t.Error("drained with copies under way")
	}
	r.await("the drain's end", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
	c.want("GET", get("/"), 200, "v1")
}

// A mirror that is not there changes nothing.
func TestMirrorThatIsDown(t *testing.T) {
	r, v1, v2 := newRig(t), startBackend(t, "v1"), startBackend(t, "v2")
	v2.stop()
	port := freePort(t)
	r.put(mirrorTable(port, wholeShare, v1, v2))
	c := connect(t, port)
	for range 20 {
		c.want("GET", get("/"), 200, "v1")
	}
	r.await("failed copies", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].MirrorErrors > 0 })
}

// A copy's time is over also while its answer goes on coming.
func TestCopyTakesNoLongerThanItsLimit(t *testing.T) {
	b := startBackend(t, "v1")
	c, err := dialTwice(netip.AddrPortFrom(b.addr, backendPort))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	up, err := newUpstream(c, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := &shadow{up: up, by: time.Now().Add(-time.Millisecond)}
	if err := s.patiently(func() error { return nil }); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want its time to be over", err)
	}
}
