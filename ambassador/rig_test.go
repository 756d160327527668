package ambassador

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remorahq/remora/internal/traffic"
)

// A backend of net/http that is closed under a request waits half a second for
// its client.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// directly opens listeners in this process, as the holder would.
type directly struct{}

func (directly) Open(ctx context.Context, key traffic.ListenerKey, _ string, _ uint64) (*net.TCPListener, uint64, error) {
	host := ""
	if key.Address.IsValid() {
		host = key.Address.String()
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(key.Port))))
	if err != nil {
		return nil, 0, &InUse{Text: err.Error()}
	}
	return l.(*net.TCPListener), 0, nil
}
func (directly) Close(traffic.ListenerKey) error { return nil }
func (directly) Sweep() error                    { return nil }
func (directly) Sockets(context.Context, bool) ([]*os.File, error) {
	return nil, &NotAllowed{Text: "not here"}
}
func (directly) Upgrade(context.Context) error { return errors.New("not here") }

// rig is a worker in this process.
type rig struct {
	t   *testing.T
	wk  *Worker
	dir string
	gen uint64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	r.wk = startWorker(t, r.dir)
	return r
}

func startWorker(t *testing.T, dir string) *Worker {
	t.Helper()
	boot, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	wk := New(Options{StateDir: dir, Opener: directly{}, Log: discard(), Version: "test", BootID: boot})
	t.Cleanup(wk.Close)
	if err := wk.Lead(t.Context()); err != nil {
		t.Fatal(err)
	}
	return wk
}

// put puts a table with the next generation.
func (r *rig) put(tb *traffic.Table) traffic.Ack {
	r.t.Helper()
	r.gen++
	cp := *tb
	// The caller may go on to change its table.
	cp.Listeners, cp.Services = slices.Clone(tb.Listeners), slices.Clone(tb.Services)
	cp.Version, cp.Generation = traffic.FormatVersion, r.gen
	if cp.BootID == "" {
		cp.BootID = r.wk.opt.BootID
	}
	ack, err := r.wk.Put(r.t.Context(), &cp)
	if err != nil {
		r.t.Fatalf("put table: %v", err)
	}
	return ack
}

// await waits until the report satisfies ok.
func (r *rig) await(what string, ok func(traffic.Report) bool) traffic.Report {
	r.t.Helper()
	return awaitReport(r.t, r.wk, what, ok)
}

func awaitReport(t *testing.T, wk *Worker, what string, ok func(traffic.Report) bool) traffic.Report {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		changed := wk.Changed()
		rep := wk.Report()
		if ok(rep) {
			return rep
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited for %s; report: %+v", what, rep)
		}
	}
}

// freeAddress is a loopback address of our own; tests beside each other take
// different ones.
func freeAddress() netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(10 + rand.IntN(200)), byte(rand.IntN(250)), byte(1 + rand.IntN(250))})
}

// freePort is a port that nobody listens on now.
func freePort(t testing.TB) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

const backendPort = 7070

// backend is a real HTTP server on an address of its own. It counts every
// request ID that it saw.
type backend struct {
	name  string
	addr  netip.Addr
	srv   *http.Server
	mu    sync.Mutex
	seen  map[string]int
	conns atomic.Int64
	slow  chan struct{} // requests to /slow answer when it is closed
	began chan string   // a request to /slow has arrived
}

func startBackend(t *testing.T, name string) *backend {
	t.Helper()
	b := &backend{name: name, addr: freeAddress(), seen: make(map[string]int), slow: make(chan struct{}), began: make(chan string, 100)}
	mux := http.NewServeMux()
	mux.HandleFunc("/", b.hello)
	mux.HandleFunc("/slow", b.waits)
	mux.HandleFunc("/up", func(w http.ResponseWriter, _ *http.Request) {})
	mux.HandleFunc("/500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	mux.HandleFunc("/upgrade", b.upgrade)
	mux.HandleFunc("/events", b.events)
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) { _ = r.Header.Write(w) })
	b.srv = &http.Server{Handler: mux, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	b.srv.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			b.conns.Add(1)
		}
	}
	l, err := net.Listen("tcp", netip.AddrPortFrom(b.addr, backendPort).String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = b.srv.Serve(l) }()
	t.Cleanup(func() { b.stop(); <-done })
	return b
}

func (b *backend) stop() { _ = b.srv.Close() }

func (b *backend) see(r *http.Request) {
	if id := r.Header.Get("X-Id"); id != "" {
		b.mu.Lock()
		b.seen[id]++
		b.mu.Unlock()
	}
}

func (b *backend) hello(w http.ResponseWriter, r *http.Request) {
	b.see(r)
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return
	}
	fmt.Fprintf(w, "%s %d", b.name, n)
}

func (b *backend) waits(w http.ResponseWriter, r *http.Request) {
	b.see(r)
	b.began <- r.Header.Get("X-Id")
	select {
	case <-b.slow:
	case <-r.Context().Done():
	}
	fmt.Fprintf(w, "%s slow", b.name)
}

func (b *backend) upgrade(w http.ResponseWriter, _ *http.Request) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n%s\n", b.name)
	_, _ = io.Copy(c, rw)
}

func (b *backend) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(w, "data: %s\n\n", b.name)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func (b *backend) endpoint() traffic.Endpoint {
	return traffic.Endpoint{Container: b.name, Instance: "1", Address: b.addr, Fixed: true}
}

// rel is a release of these backends.
func rel(name string, state traffic.ReleaseState, backends ...*backend) traffic.Release {
	r := traffic.Release{Name: name, State: state, DrainDeadline: 10 * time.Second, TunnelDeadline: time.Minute}
	for _, b := range backends {
		r.Endpoints = append(r.Endpoints, b.endpoint())
	}
	return r
}

// table is one listener that leads to one service.
func table(port uint16, protocol traffic.Protocol, active string, releases ...traffic.Release) *traffic.Table {
	return &traffic.Table{
		Listeners: []traffic.Listener{{
			ListenerKey: traffic.ListenerKey{Address: netip.MustParseAddr("127.0.0.1"), Port: port},
			Protocol:    protocol, Owner: "env/app",
			Routes: []traffic.Route{{Service: "env/app/web", Port: backendPort}},
		}},
		Services: []traffic.Service{{Name: "env/app/web", App: "env/app", Active: active, Releases: releases, HoldFor: 5 * time.Second}},
	}
}

// client is a raw connection that never retries.
type client struct {
	t  testing.TB
	c  net.Conn
	br *bufio.Reader
}

func connect(t testing.TB, port uint16) *client {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &client{t: t, c: c, br: bufio.NewReader(c)}
}

// roundTrip writes raw bytes and reads one response.
func (c *client) roundTrip(method, raw string) (int, string, error) {
	_ = c.c.SetDeadline(time.Now().Add(15 * time.Second))
	if _, err := io.WriteString(c.c, raw); err != nil {
		return 0, "", fmt.Errorf("write: %w", err)
	}
	return c.response(method)
}

func (c *client) response(method string) (int, string, error) {
	res, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		return 0, "", fmt.Errorf("read: %w", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return res.StatusCode, string(body), fmt.Errorf("read body: %w", err)
	}
	return res.StatusCode, string(body), nil
}

func (c *client) want(method, raw string, status int, prefix string) {
	c.t.Helper()
	got, body, err := c.roundTrip(method, raw)
	if err != nil || got != status || !strings.HasPrefix(body, prefix) {
		c.t.Fatalf("%s: got %d %q, %v; want %d %q…", strings.SplitN(raw, "\r\n", 2)[0], got, body, err, status, prefix)
	}
}

func get(path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
