package ambassador

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// site serves what one release has: its own assets, a 404 page for the rest.
func site(t *testing.T, name string) *backend {
	return startHandler(t, name, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/assets/"+name), r.URL.Path == "/only-"+name:
			fmt.Fprintf(w, "%s has %s", name, r.URL.Path)
		case r.URL.Path == "/hang-"+name:
			<-r.Context().Done()
		case r.URL.Path == "/upgrade":
			b := backend{name: name}
			b.upgrade(w, r)
		case r.URL.Path == "/big":
			w.WriteHeader(404)
			fmt.Fprint(w, strings.Repeat(name+" has no big one. ", 20_000))
		default:
			w.WriteHeader(404)
			fmt.Fprintf(w, "%s: not found", name)
		}
	})
}

func assetTable(port uint16, releases ...traffic.Release) *traffic.Table {
	tb := table(port, traffic.HTTP, "v2", releases...)
	tb.Listeners[0].Routes[0].Assets = []string{"/assets/*", "/only-v1", "/big"}
	return tb
}

// Old pages ask for old assets: what the new release does not have, the former
// gives, while it runs. All else stays with the release that was chosen.
func TestAssetsOfTheOtherRelease(t *testing.T) {
	r, v1, v2 := newRig(t), site(t, "v1"), site(t, "v2")
	port := freePort(t)
	r.put(assetTable(port, rel("v2", traffic.Active, v2), rel("v1", traffic.Standby, v1)))
	c := connect(t, port)
	for range 3 {
		c.want("GET", get("/assets/v1.css"), 200, "v1 has /assets/v1.css")
		c.want("GET", get("/assets/v2.css"), 200, "v2 has /assets/v2.css")
		c.want("GET", get("/only-v1"), 200, "v1 has")
		c.want("HEAD", "HEAD /assets/v1.css HTTP/1.1\r\nHost: x\r\n\r\n", 200, "")
		c.want("GET", get("/assets/v3.css"), 404, "v2: not found")
		c.want("GET", get("/big"), 404, "v2 has no big one.")
		c.want("GET", get("/page"), 404, "v2: not found")
		c.want("GET", get("/assets"), 404, "v2: not found")
		c.want("POST", "POST /assets/v1.css HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", 404, "v2: not found")
	}
	r.await("nine assets lent, and all claims ended", func(rep traffic.Report) bool {
		a, b := rep.Services[0].Releases[0], rep.Services[0].Releases[1]
		return b.Lent == 9 && a.Inflight+b.Inflight == 0
	})
}

// During a canary, each of the two has the other's.
func TestAssetsDuringACanary(t *testing.T) {
	r, v1, v2 := newRig(t), site(t, "v1"), site(t, "v2")
	port := freePort(t)
	tb := assetTable(port, rel("v1", traffic.Canary, v1), rel("v2", traffic.Active, v2))
	tb.Services[0].Split = &traffic.Split{Release: "v1", Share: 5000}
	r.put(tb)
	c := connect(t, port)
	for range 50 {
		c.want("GET", get("/assets/v1.css"), 200, "v1 has")
		c.want("GET", get("/assets/v2.css"), 200, "v2 has")
	}
}

// A paused standby is not woken, and one that is down costs no answer.
func TestAssetsWithoutAnotherRelease(t *testing.T) {
	r, v1, v2 := newRig(t), site(t, "v1"), site(t, "v2")
	port := freePort(t)
	paused := rel("v1", traffic.Standby, v1)
	paused.Paused = true
	c := connect(t, startedOn(r, port, assetTable(port, rel("v2", traffic.Active, v2), paused)))
	c.want("GET", get("/assets/v1.css"), 404, "v2: not found")
	r.put(assetTable(port, rel("v2", traffic.Active, v2), rel("v1", traffic.Standby, v1)))
	c.want("GET", get("/assets/v1.css"), 200, "v1 has")
	v1.stop()
	for range 5 {
		c.want("GET", get("/assets/v1.css"), 404, "v2: not found")
	}
}

func startedOn(r *rig, port uint16, tb *traffic.Table) uint16 {
	r.put(tb)
	return port
}

// A release that drains lends while tunnels keep it, and nothing any more once
// it was reported drained.
func TestAssetsOfAReleaseThatDrains(t *testing.T) {
	r, v1, v2 := newRig(t), site(t, "v1"), site(t, "v2")
	port := freePort(t)
	tb := assetTable(port, rel("v1", traffic.Active, v1))
	tb.Services[0].Active = "v1"
	r.put(tb)
	ws := connect(t, port)
	_ = ws.c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(ws.c, "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if line, err := ws.br.ReadString('\n'); err != nil || !strings.Contains(line, "101") {
		t.Fatalf("%q %v", line, err)
	}
	r.await("the tunnel", func(rep traffic.Report) bool { return rep.Services[0].Releases[0].Tunnels == 1 })
	tb = assetTable(port, rel("v2", traffic.Active, v2), rel("v1", traffic.Draining, v1))
	r.put(tb)
	c := connect(t, port)
	for range 10 {
		c.want("GET", get("/assets/v1.css"), 200, "v1 has")
		if rr := r.wk.Report().Services[0].Releases[1]; rr.Drained || rr.Tunnels != 1 {
			t.Fatalf("%+v", rr)
		}
	}
	_ = ws.c.Close()
	r.await("the drain", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
	r.put(tb) // another generation does not open it again
	c.want("GET", get("/assets/v1.css"), 404, "v2: not found")
	if rr := r.wk.Report().Services[0].Releases[1]; !rr.Drained || rr.Inflight != 0 {
		t.Errorf("%+v", rr)
	}
}

// Over HTTP/2, which browsers speak, the same.
func TestAssetsOverHTTP2(t *testing.T) {
	r, v1, v2 := newRig(t), site(t, "v1"), site(t, "v2")
	port := freePort(t)
	r.put(assetTable(port, rel("v2", traffic.Active, v2), rel("v1", traffic.Standby, v1)))
	c := connectH2(t, port)
	for range 3 {
		c.want("GET", "/assets/v1.css", "", 200, "v1 has /assets/v1.css")
		c.want("GET", "/assets/v2.css", "", 200, "v2 has /assets/v2.css")
		c.want("HEAD", "/assets/v1.css", "", 200, "")
		c.want("GET", "/assets/v3.css", "", 404, "v2: not found")
		c.want("GET", "/big", "", 404, "v2 has no big one.")
		c.want("GET", "/page", "", 404, "v2: not found")
		c.want("POST", "/assets/v1.css", "ab", 404, "v2: not found")
	}
	r.await("six assets lent, and all claims ended", func(rep traffic.Report) bool {
		a, b := rep.Services[0].Releases[0], rep.Services[0].Releases[1]
		return b.Lent == 6 && a.Inflight+b.Inflight == 0
	})
	v1.stop()
	for range 5 {
		c.want("GET", "/assets/v1.css", "", 404, "v2: not found")
	}
}

// Nothing is lent by a release that was reported drained, whoever asks at the
// same moment.
func TestNothingIsLentOnceDrained(t *testing.T) {
	for range 200 {
		rel := newRelease(newService("env/app/web"), "v1")
		rel.shut.Store(false)
		var told atomic.Bool
		var late atomic.Int64
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for range 50 {
					was := told.Load()
					if rel.lend() {
						if was {
							late.Add(1)
						}
						rel.requests.Add(-1)
					}
				}
			})
		}
		for all := false; !all; {
			all, _ = rel.drained()
		}
		told.Store(true)
		group.Wait()
		if n := late.Load(); n > 0 {
			t.Fatalf("%d were lent after the release was drained", n)
		}
		if all, _ := rel.drained(); !all {
			t.Fatal("drained and then not")
		}
	}
}
