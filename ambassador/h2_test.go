package ambassador

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/remorahq/remora/internal/traffic"
)

// h2client is a client of HTTP/2 with prior knowledge, on one connection that
// it never replaces.
type h2client struct {
	t    testing.TB
	c    net.Conn
	cc   *http2.ClientConn
	port uint16
}

func connectH2(t testing.TB, port uint16) *h2client {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	return newH2client(t, c, port)
}

func newH2client(t testing.TB, c net.Conn, port uint16) *h2client {
	t.Helper()
	tr := &http2.Transport{AllowHTTP: true, DisableCompression: true}
	cc, err := tr.NewClientConn(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return &h2client{t: t, c: c, cc: cc, port: port}
}

func (c *h2client) request(method, path string, body io.Reader) *http.Request {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, fmt.Sprintf("http://127.0.0.1:%d%s", c.port, path), body)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// do sends one request and reads its answer; nothing is retried.
func (c *h2client) do(r *http.Request) (*http.Response, string, error) {
	res, err := c.cc.RoundTrip(r)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res, string(b), err
}

func (c *h2client) want(method, path, body string, status int, prefix string) {
	c.t.Helper()
	var rd io.Reader
	if body != "" {
		rd = strings.NewReader(body)
	}
	res, got, err := c.do(c.request(method, path, rd))
	if err != nil || res.StatusCode != status || !strings.HasPrefix(got, prefix) {
		c.t.Fatalf("%s %s: got %v %q, %v; want %d %q…", method, path, res, got, err, status, prefix)
	}
}

// startH2Backend is a backend that speaks HTTP/2 only, with prior knowledge, or
// over TLS by ALPN when cert is given.
func startH2Backend(t *testing.T, name string, h http.Handler, cert *tls.Certificate, protocols ...string) *backend {
	t.Helper()
	b := &backend{name: name, addr: freeAddress()}
	srv := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	srv.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			b.conns.Add(1)
		}
	}
	b.srv = srv
	srv.Protocols = new(http.Protocols)
	l, err := net.Listen("tcp", netip.AddrPortFrom(b.addr, backendPort).String())
	if err != nil {
		t.Fatal(err)
	}
	if cert != nil {
		for _, p := range protocols {
			srv.Protocols.SetHTTP1(srv.Protocols.HTTP1() || p == "http/1.1")
			srv.Protocols.SetHTTP2(srv.Protocols.HTTP2() || p == "h2")
		}
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}}
	} else {
		srv.Protocols.SetUnencryptedHTTP2(true)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if cert != nil {
			_ = srv.ServeTLS(l, "", "")
		} else {
			_ = srv.Serve(l)
		}
	}()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return b
}

func viaUpstream(tb *traffic.Table, up traffic.Upstream) *traffic.Table {
	tb.Listeners[0].Routes[0].Upstream = up
	return tb
}

// says answers with the backend's name, the protocol and what it got.
func says(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, "%s %s %s %s %d %s", name, r.Proto, r.Method, r.RequestURI, len(b), r.Header.Get("X-Forwarded-For"))
	})
}

// Clients of HTTP/2 with prior knowledge are served request by request, and a
// switch neither closes their connection nor sends a GOAWAY (P4).
func TestH2ClientsOfHTTP1Container(t *testing.T) {
	for _, protocol := range []traffic.Protocol{traffic.HTTP, traffic.Detect} {
		t.Run(string(protocol), func(t *testing.T) {
			r := newRig(t)
			port := freePort(t)
			a, b := startBackend(t, "v1"), startBackend(t, "v2")
			r.put(table(port, protocol, "v1", rel("v1", traffic.Active, a)))
			c := connectH2(t, port)
			c.want("GET", "/", "", 200, "v1 0")
			c.want("POST", "/", "abc", 200, "v1 3")
			c.want("POST", "/", strings.Repeat("x", 1<<20), 200, "v1 1048576")
			c.want("GET", "/500", "", 500, "")
			res, body, err := c.do(c.request("POST", "/", struct{ io.Reader }{strings.NewReader("streamed")}))
			if err != nil || res.StatusCode != 200 || body != "v1 8" {
				t.Fatalf("body of unknown length: %v %q %v", res, body, err)
			}
			r.put(table(port, protocol, "v2", rel("v2", traffic.Active, b), rel("v1", traffic.Draining, a)))
			c.want("GET", "/", "", 200, "v2 0")
			if st := c.cc.State(); st.Closing || st.Closed {
				t.Errorf("the switch ended the client's connection: %+v", st)
			}
			r.await("the former release to be drained", func(rep traffic.Report) bool {
				return rep.Services[0].Releases[1].Drained
			})
		})
	}
}

func TestH2ForwardingFields(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, startBackend(t, "v1"))))
	c := connectH2(t, port)
	req := c.request("GET", "/headers", nil)
	req.Host = "shop.example.com"
	req.Header.Set("X-Forwarded-For", "192.0.2.9")
	req.Header.Set("X_Secret", "1")
	req.Header.Set("X-Own", "1")
	req.Header.Set("Te", "trailers")
	res, body, err := c.do(req)
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	for _, want := range []string{"X-Forwarded-For: 127.0.0.1\r\n", "X-Forwarded-Proto: http\r\n", "X-Forwarded-Host: shop.example.com\r\n", "X-Own: 1\r\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("the instance did not get %q: %q", want, body)
		}
	}
	for _, not := range []string{"Secret", "192.0.2.9"} {
		if strings.Contains(body, not) {
			t.Errorf("the instance got %q: %q", not, body)
		}
	}
}

// Every way of speaking to a container, from clients of both versions.
func TestUpstreamProtocols(t *testing.T) {
	cert := selfSigned(t, "x")
	for name, c := range map[string]struct {
		up        traffic.Upstream
		protocols []string
		proto     string
	}{
		"h2c":      {traffic.UpstreamH2C, nil, "HTTP/2.0"},
		"tls_h2":   {traffic.UpstreamTLS, []string{"h2", "http/1.1"}, "HTTP/2.0"},
		"tls_http": {traffic.UpstreamTLS, []string{"http/1.1"}, "HTTP/1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			start := func(name string) *backend {
				if c.protocols == nil {
					return startH2Backend(t, name, says(name), nil)
				}
				return startH2Backend(t, name, says(name), &cert, c.protocols...)
			}
			a, b := start("v1"), start("v2")
			r := newRig(t)
			port := freePort(t)
			r.put(viaUpstream(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)), c.up))
			one, two := connect(t, port), connectH2(t, port)
			for i := range 3 {
				one.want("GET", get("/x?q=1"), 200, "v1 "+c.proto+" GET /x?q=1 0 127.0.0.1")
				one.want("POST", "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 200, "v1 "+c.proto+" POST /p 3 ")
				one.want("POST", "POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, "v1 "+c.proto+" POST /p 3 ")
				two.want("GET", "/x?q=1", "", 200, "v1 "+c.proto+" GET /x?q=1 0 127.0.0.1")
				two.want("POST", "/p", strings.Repeat("x", 200_000), 200, "v1 "+c.proto+" POST /p 200000")
				if i == 0 && c.proto == "HTTP/2.0" && a.conns.Load() != 1 {
					t.Errorf("%d connections to a container of HTTP/2, want 1", a.conns.Load())
				}
			}
			r.put(viaUpstream(table(port, traffic.HTTP, "v2", rel("v2", traffic.Active, b), rel("v1", traffic.Draining, a)), c.up))
			one.want("GET", get("/"), 200, "v2 "+c.proto)
			two.want("GET", "/", "", 200, "v2 "+c.proto)
		})
	}
}

// A detected port whose container speaks HTTP/2 only keeps working, now stream
// by stream.
func TestDetectedPortSpeaksHTTP2(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startH2Backend(t, "v1", says("v1"), nil), startH2Backend(t, "v2", says("v2"), nil)
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	c := connectH2(t, port)
	c.want("GET", "/", "", 200, "v1 HTTP/2.0")
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, b), rel("v1", traffic.Draining, a)))
	c.want("GET", "/", "", 200, "v2 HTTP/2.0")
	r.await("the former release to be drained", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
	// Of v1 there were the question what it speaks and one connection, which has
	// ended.
	poll(t, "v1's connection to end", func() bool {
		ep := endpointOf(r.wk, "v1")
		m := &ep.pool(backendPort).shared
		m.mu.Lock()
		defer m.mu.Unlock()
		m.forget()
		return len(m.conns) == 0
	})
}

func endpointOf(wk *Worker, release string) *endpoint {
	for _, sv := range wk.view.Load().services {
		for _, rv := range sv.releases {
			if rv.spec.Name == release {
				return rv.endpoints[0].ep
			}
		}
	}
	return nil
}

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

func TestH2Interim(t *testing.T) {
	for name, up := range map[string]traffic.Upstream{"http1": traffic.UpstreamHTTP1, "h2c": traffic.UpstreamH2C} {
		t.Run(name, func(t *testing.T) {
			h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Link", "</a.css>")
				w.WriteHeader(103)
				w.Header().Del("Link")
				w.Header().Set("X-Final", "1")
				fmt.Fprint(w, "done")
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
			var got []int
			req := c.request("GET", "/", nil)
			req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
					if h.Get("Link") != "" {
						got = append(got, code)
					}
					return nil
				},
			}))
			res, body, err := c.do(req)
			if err != nil || body != "done" || res.Header.Get("X-Final") != "1" || res.Header.Get("Link") != "" || len(got) != 1 {
				t.Errorf("got %v %q %v, hints %v", res, body, err, got)
			}
		})
	}
}

// Both directions of a stream go on at once, whatever the container speaks.
func TestH2Bidirectional(t *testing.T) {
	for name, up := range map[string]traffic.Upstream{"http1": traffic.UpstreamHTTP1, "h2c": traffic.UpstreamH2C} {
		t.Run(name, func(t *testing.T) {
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				rc := http.NewResponseController(w)
				_ = rc.EnableFullDuplex()
				_ = rc.Flush()
				buf := make([]byte, 100)
				for {
					n, err := r.Body.Read(buf)
					_, _ = w.Write(bytes.ToUpper(buf[:n]))
					_ = rc.Flush()
					if err != nil {
						return
					}
				}
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
			pr, pw := io.Pipe()
			res, err := c.cc.RoundTrip(c.request("POST", "/", pr))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			for _, word := range []string{"one", "two", strings.Repeat("x", 300_000)} {
				go func() { _, _ = io.WriteString(pw, word) }()
				got := make([]byte, len(word))
				if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != strings.ToUpper(word) {
					t.Fatalf("got %.20q, %v", got, err)
				}
			}
			_ = pw.Close()
			if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
				t.Errorf("the end: %q, %v", rest, err)
			}
		})
	}
}

// Trailers go both ways between any two versions, but for those that would
// change what the message means.
func TestTrailersBetweenVersions(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, "body")
		w.Header().Set("X-Sum", "got "+r.Trailer.Get("X-Sum"))
		w.Header().Set(http.TrailerPrefix+"Set-Cookie", "a=b")
	})
	for name, up := range map[string]traffic.Upstream{"http1": traffic.UpstreamHTTP1, "h2c": traffic.UpstreamH2C} {
		t.Run(name, func(t *testing.T) {
			var a *backend
			if up == traffic.UpstreamH2C {
				a = startH2Backend(t, "v1", h, nil)
			} else {
				a = startPlain(t, "v1", h)
			}
			r := newRig(t)
			port := freePort(t)
			r.put(viaUpstream(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)), up))
			two := connectH2(t, port)
			req := two.request("POST", "/", struct{ io.Reader }{strings.NewReader("abc")})
			req.Trailer = http.Header{"X-Sum": {"7"}}
			res, body, err := two.do(req)
			if err != nil || body != "body" || res.Trailer.Get("X-Sum") != "got 7" {
				t.Errorf("HTTP/2: %q, %v, trailers %v", body, err, res.Trailer)
			}
			one := connect(t, port)
			fmt.Fprint(one.c, "POST / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n")
			_ = one.c.SetDeadline(time.Now().Add(10 * time.Second))
			plain, err := http.ReadResponse(one.br, &http.Request{Method: "POST"})
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(plain.Body)
			if err != nil || string(b) != "body" || plain.Trailer.Get("X-Sum") != "got 7" || plain.Trailer.Get("Set-Cookie") != "" {
				t.Errorf("HTTP/1.1: %q, %v, trailers %v", b, err, plain.Trailer)
			}
		})
	}
}

// A request that is held while its route changes goes by the new one.
func TestHeldRequestFollowsItsRoute(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "v1"), startH2Backend(t, "v2", says("v2"), nil)
	held := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a))
	held.Services[0].Hold = true
	r.put(held)
	c := connect(t, port)
	fmt.Fprint(c.c, get("/x"))
	r.await("the request to be held", func(rep traffic.Report) bool { return rep.Services[0].Held == 1 })
	r.put(viaUpstream(table(port, traffic.HTTP, "v2", rel("v2", traffic.Active, b), rel("v1", traffic.Draining, a)), traffic.UpstreamH2C))
	_ = c.c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if status, body, err := c.response("GET"); status != 200 || !strings.HasPrefix(body, "v2 HTTP/2.0 GET /x") {
		t.Errorf("got %d %q, %v", status, body, err)
	}
	r.await("the former release to be drained", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
}
