package ambassador

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/remorahq/remora/internal/traffic"
)

// A release's drain deadline: unanswered idempotent requests are replayed on the
// new one, others get 504, and answers under way are broken off by CANCEL.
func TestH2DrainDeadline(t *testing.T) {
	for name, up := range map[string]traffic.Upstream{"http1": traffic.UpstreamHTTP1, "h2c": traffic.UpstreamH2C} {
		t.Run(name, func(t *testing.T) {
			began := make(chan string, 10)
			release := make(chan struct{})
			t.Cleanup(func() { close(release) })
			slow := func(name string) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/begun" {
						_, _ = w.Write([]byte("part"))
						_ = http.NewResponseController(w).Flush()
					}
					began <- name
					if name == "v1" {
						select {
						case <-release:
						case <-r.Context().Done():
						}
					}
					fmt.Fprint(w, name)
				})
			}
			start := func(name string) *backend {
				if up == traffic.UpstreamH2C {
					return startH2Backend(t, name, slow(name), nil)
				}
				return startPlain(t, name, slow(name))
			}
			a, b := start("v1"), start("v2")
			r := newRig(t)
			port := freePort(t)
			r.put(viaUpstream(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)), up))
			c := connectH2(t, port)
			type end struct {
				what, body string
				status     int
				err        error
			}
			ends := make(chan end, 3)
			send := func(what, method, path string) {
				res, body, err := c.do(c.request(method, path, nil))
				e := end{what: what, body: body, err: err}
				if res != nil {
					e.status = res.StatusCode
				}
				ends <- e
			}
			go send("get", "GET", "/")
			go send("post", "POST", "/")
			go send("begun", "GET", "/begun")
			for range 3 {
				<-began
			}
			v1 := rel("v1", traffic.Draining, a)
			v1.DrainDeadline = 100 * time.Millisecond
			r.put(viaUpstream(table(port, traffic.HTTP, "v2", rel("v2", traffic.Active, b), v1), up))
			for range 3 {
				e := <-ends
				var stream http2.StreamError
				switch e.what {
				case "get":
					if e.err != nil || e.body != "v2" {
						t.Errorf("GET: %+v, want the answer of v2", e)
					}
				case "post":
					if e.err != nil || e.status != 504 {
						t.Errorf("POST: %+v, want 504", e)
					}
				case "begun":
					if !errors.As(e.err, &stream) || stream.Code != http2.ErrCodeCancel || e.body != "part" {
						t.Errorf("answer under way: %+v, want a reset with CANCEL", e)
					}
				}
			}
			c.want("GET", "/", "", 200, "v2")
		})
	}
}

// startPlain is a backend of HTTP/1.1 with a handler of its own.
func startPlain(t *testing.T, name string, h http.Handler) *backend {
	t.Helper()
	b := &backend{name: name, addr: freeAddress()}
	b.srv = &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	l, err := net.Listen("tcp", netip.AddrPortFrom(b.addr, backendPort).String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = b.srv.Serve(l) }()
	t.Cleanup(func() { b.stop(); <-done })
	return b
}

// What an instance of HTTP/2 says that it did not do is sent again, whatever
// the method, to another instance or over another connection.
func TestRace09RefusedStream(t *testing.T) {
	for name, refuse := range map[string]func(fr *http2.Framer, id uint32){
		"refused_stream": func(fr *http2.Framer, id uint32) { _ = fr.WriteRSTStream(id, http2.ErrCodeRefusedStream) },
		"goaway":         func(fr *http2.Framer, _ uint32) { _ = fr.WriteGoAway(0, http2.ErrCodeNo, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			refused := 0
			a := framed(t, "v1", func(fr *http2.Framer, id uint32) {
				mu.Lock()
				defer mu.Unlock()
				refused++
				refuse(fr, id)
			})
			b := startH2Backend(t, "b", says("b"), nil)
			r := newRig(t)
			port := freePort(t)
			r.put(viaUpstream(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a, b)), traffic.UpstreamH2C))
			c := connectH2(t, port)
			for range 8 {
				c.want("POST", "/", "abc", 200, "b HTTP/2.0 POST / 3")
				res, body, err := c.do(c.request("POST", "/", struct{ io.Reader }{strings.NewReader("streamed")}))
				if err != nil || res.StatusCode != 200 || !strings.HasPrefix(body, "b HTTP/2.0 POST / 8") {
					t.Fatalf("streamed: %v %q %v", res, body, err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if refused == 0 {
				t.Error("nothing was refused: the test shows nothing")
			}
		})
	}
}

// framed is a backend of HTTP/2 that answers each stream by hand.
func framed(t *testing.T, name string, answer func(fr *http2.Framer, id uint32)) *backend {
	t.Helper()
	b := &backend{name: name, addr: freeAddress()}
	l, err := net.Listen("tcp", netip.AddrPortFrom(b.addr, backendPort).String())
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); conns.Wait() })
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			conns.Go(func() {
				defer c.Close()
				preface := make([]byte, len(http2.ClientPreface))
				if _, err := io.ReadFull(c, preface); err != nil {
					return
				}
				fr := http2.NewFramer(c, c)
				_ = fr.WriteSettings()
				for {
					f, err := fr.ReadFrame()
					if err != nil {
						return
					}
					switch f := f.(type) {
					case *http2.SettingsFrame:
						if !f.IsAck() {
							_ = fr.WriteSettingsAck()
						}
					case *http2.PingFrame:
						_ = fr.WritePing(true, f.Data)
					case *http2.HeadersFrame:
						answer(fr, f.StreamID)
					}
				}
			})
		}
	})
	return b
}

// An instance that is killed before it answers costs idempotent requests
// nothing; a POST is not sent twice.
func TestH2InstanceDies(t *testing.T) {
	for name, up := range map[string]traffic.Upstream{"http1": traffic.UpstreamHTTP1, "h2c": traffic.UpstreamH2C} {
		t.Run(name, func(t *testing.T) {
			die := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/part" {
					w.Header().Set("Content-Length", "100")
					fmt.Fprint(w, "part")
					_ = http.NewResponseController(w).Flush()
				}
				panic(http.ErrAbortHandler)
			})
			if up == traffic.UpstreamH2C {
				die = func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/part" {
						fmt.Fprint(w, "part")
						_ = http.NewResponseController(w).Flush()
					}
					c := r.Context().Value(connKey{}).(net.Conn)
					_ = c.Close()
					<-r.Context().Done()
				}
			}
			start := func(name string, h http.Handler) *backend {
				if up == traffic.UpstreamH2C {
					return startH2Backend(t, name, h, nil)
				}
				return startPlain(t, name, h)
			}
			a, b := start("a", die), start("b", says("b"))
			r := newRig(t)
			port := freePort(t)
			r.put(viaUpstream(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a, b)), up))
			c := connectH2(t, port)
			// POSTs first: what GETs tell of the instance ejects it.
			posts, sent := map[int]int{}, 0
			for ; posts[502] == 0 && sent < 200; sent++ {
				res, _, err := c.do(c.request("POST", "/", strings.NewReader("abc")))
				if err != nil {
					t.Fatalf("POST: %v", err)
				}
				posts[res.StatusCode]++
			}
			if posts[502] != 1 || posts[200]+posts[502] != sent {
				t.Errorf("POSTs got %v, want 502 where the instance died and 200 elsewhere", posts)
			}
			for range 12 {
				c.want("GET", "/", "", 200, "b ")
			}
			for range 10 {
				_, body, err := c.do(c.request("POST", "/part", nil))
				var stream http2.StreamError
				if body == "part" && (!errors.As(err, &stream) || stream.Code != http2.ErrCodeCancel) {
					t.Errorf("a truncated answer ended with %v", err)
				}
			}
		})
	}
}

type connKey struct{}

// A client that gives up cancels the request at the instance, which gets no
// strike.
func TestH2ClientAborts(t *testing.T) {
	for name, up := range map[string]traffic.Upstream{"http1": traffic.UpstreamHTTP1, "h2c": traffic.UpstreamH2C} {
		t.Run(name, func(t *testing.T) {
			began, left := make(chan struct{}, 1), make(chan struct{}, 1)
			h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				began <- struct{}{}
				<-r.Context().Done()
				left <- struct{}{}
			})
			var a *backend
			if up == traffic.UpstreamH2C {
				a = startH2Backend(t, "v1", h, nil)
			} else {
				a = startPlain(t, "v1", h)
			}
			r := newRig(t)
			port := freePort(t)
			r.put(viaUpstream(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)), up))
			c := connectH2(t, port)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				_, _, err := c.do(c.request("GET", "/", nil).WithContext(ctx))
				done <- err
			}()
			<-began
			cancel()
			<-left
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("the client got %v", err)
			}
			r.await("the claim to end", func(rep traffic.Report) bool { return rep.Services[0].Releases[0].Inflight == 0 })
			if n := endpointOf(r.wk, "v1").strikes.Load(); n != 0 {
				t.Errorf("%d strikes", n)
			}
		})
	}
}
