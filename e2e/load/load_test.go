package load_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remorahq/remora/e2e/load"
	"github.com/remorahq/remora/e2e/load/check"
	"github.com/remorahq/remora/e2e/rig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is the test program, on this machine.
type backend struct {
	*rig.Process
	http, tcp, greet, grpc string
}

func startBackend(t *testing.T, c *rig.Collector, version string) *backend {
	t.Helper()
	addr := func() string { return fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t)) }
	b := &backend{http: addr(), tcp: addr(), greet: addr(), grpc: addr()}
	cmd := exec.Command(rig.TestProgram(t), "-http", b.http, "-tcp-echo", b.tcp, "-tcp-greeting", b.greet, "-grpc", b.grpc,
		"-version", version, "-instance", version, "-record", c.Record, "http", "tcp", "grpc")
	b.Process = rig.Spawn(t, version, cmd)
	for _, a := range []string{b.http, b.tcp, b.greet, b.grpc} {
		rig.Eventually(t, 10*time.Second, version+" to listen", func() error {
			conn, err := net.Dial("tcp", a)
			if err == nil {
				err = conn.Close()
			}
			return err
		})
	}
	return b
}

func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

func (b *backend) groups() []load.Group {
	return []load.Group{
		{Kind: load.Get, Addr: b.http, Conns: 3, Rate: 300},
		{Kind: load.Post, Addr: b.http, Conns: 2, Rate: 200},
		{Kind: load.Put, Addr: b.http, Conns: 1, Rate: 40},
		{Kind: load.Upload, Addr: b.http, Conns: 1, Rate: 40},
		{Kind: load.Chunked, Addr: b.http, Conns: 1, Rate: 40, Pause: time.Millisecond},
		{Kind: load.Events, Addr: b.http, Conns: 10, Rate: 20},
		{Kind: load.Poll, Addr: b.http, Conns: 10, Rate: 20},
		{Kind: load.GRPC, Addr: b.grpc, Conns: 2, Rate: 100, Session: 9},
		{Kind: load.WebSocket, Addr: b.http, Conns: 2, Rate: 100, Session: 5},
		{Kind: load.WebSocket, Addr: b.http, Conns: 1, Rate: 50, Size: 20_000},
		{Kind: load.TCP, Addr: b.tcp, Conns: 1, Rate: 100},
		{Kind: load.Greeted, Addr: b.greet, Conns: 2, Rate: 100, Session: 7},
	}
}

func start(t *testing.T, groups ...load.Group) *load.Load {
	t.Helper()
	return load.Start(t, dial, filepath.Join(t.TempDir(), "clients.log"), groups...)
}

// verdict stops the load and joins its log with the backends' account.
func verdict(t *testing.T, l *load.Load, c *rig.Collector, moves ...check.Move) check.Verdict {
	t.Helper()
	if err := l.Stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	records, err := load.Read(l.Log)
	if err != nil {
		t.Fatal(err)
	}
	var v check.Verdict
	_ = rig.Poll(t.Context(), 2*time.Second, func() error { // the account's last lines may be on their way
		if v = check.Join(records, c.Entries(), moves); v.Forged > 0 {
			return fmt.Errorf("%d forged", v.Forged)
		}
		return nil
	})
	return v
}

func answered(t *testing.T, l *load.Load, k load.Kind, n int64) {
	t.Helper()
	rig.Eventually(t, 20*time.Second, fmt.Sprintf("%d answers to %s", n, k), func() error {
		if got := l.Count(k).Answered.Load(); got < n {
			return fmt.Errorf("%d", got)
		}
		return nil
	})
}

func TestEveryKindIsAnsweredAndAccounted(t *testing.T) {
	c := rig.StartCollector(t, "127.0.0.1")
	b := startBackend(t, c, "v1")
	l := start(t, b.groups()...)
	for _, g := range b.groups() {
		answered(t, l, g.Kind, 20)
	}
	v := verdict(t, l, c)
	if !v.OK() || v.Cut+v.Ended+v.Replayed > 0 || v.P99 <= 0 || v.Max < v.P99 || v.Rate() <= 0 {
		t.Errorf("a run without trouble: %s", v.Explain())
	}
}

// forwarder leads connections on, and does to them what a test asks for.
type forwarder struct {
	addr   string
	target atomic.Pointer[string]
	// cutAfter closes a connection after so many bytes of answers; 0 never.
	cutAfter atomic.Int64
}

func startForwarder(t *testing.T, target string) *forwarder {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{addr: listener.Addr().String()}
	f.target.Store(&target)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() { f.carry(conn.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		work.Wait()
	})
	return f
}

func (f *forwarder) carry(client *net.TCPConn) {
	defer client.Close() //nolint:errcheck // both ends are done with
	server, err := net.Dial("tcp", *f.target.Load())
	if err != nil {
		return
	}
	defer server.Close()
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.(*net.TCPConn).CloseWrite()
	})
	if n := f.cutAfter.Load(); n > 0 {
		_, _ = io.CopyN(client, server, n)
		_ = client.SetLinger(0)
	} else {
		_, _ = io.Copy(client, server)
	}
	_ = client.Close()
	up.Wait()
}

func TestAnswersThatAreCutShortAreFailed(t *testing.T) {
	for _, kind := range []load.Kind{load.Get, load.Post, load.Put, load.Upload, load.Chunked, load.Events, load.WebSocket, load.GRPC, load.TCP} {
		t.Run(string(kind), func(t *testing.T) {
			c := rig.StartCollector(t, "127.0.0.1")
			b := startBackend(t, c, "v1")
			target := b.http
			switch kind {
			case load.TCP:
				target = b.tcp
			case load.GRPC:
				target = b.grpc
			default:
			}
			f := startForwarder(t, target)
			f.cutAfter.Store(1000)
			l := start(t, load.Group{Kind: kind, Addr: f.addr, Conns: 2, Rate: 200})
			rig.Eventually(t, 20*time.Second, "failures", func() error {
				if l.Count(kind).Failed.Load() < 3 {
					return fmt.Errorf("too few")
				}
				return nil
			})
			if v := verdict(t, l, c); v.OK() || v.Failed < 3 || v.Answered+v.Failed < v.Sent {
				t.Errorf("connections that break after 1000 bytes: %s", v.Explain())
			}
		})
	}
}

func TestTunnelsThatMoveAreEndedNotFailed(t *testing.T) {
	for name, tc := range map[string]struct {
		noted bool
		early bool
	}{"after the move": {noted: true}, "without a move": {early: true}} {
		t.Run(name, func(t *testing.T) {
			c := rig.StartCollector(t, "127.0.0.1")
			v1, v2 := startBackend(t, c, "v1"), startBackend(t, c, "v2")
			http, tcp := startForwarder(t, v1.http), startForwarder(t, v1.tcp)
			l := start(t, load.Group{Kind: load.WebSocket, Addr: http.addr, Conns: 2, Rate: 40}, load.Group{Kind: load.TCP, Addr: tcp.addr, Conns: 2, Rate: 40})
			answered(t, l, load.WebSocket, 4)
			answered(t, l, load.TCP, 4)
			var moves []check.Move
			if tc.noted {
				moves = []check.Move{{At: time.Now(), Version: "v1"}}
			}
			http.target.Store(&v2.http)
			tcp.target.Store(&v2.tcp)
			v1.Signal(t, syscall.SIGTERM)
			<-v1.Done()
			w, n := l.Count(load.WebSocket).Answered.Load(), l.Count(load.TCP).Answered.Load()
			answered(t, l, load.WebSocket, w+10)
			answered(t, l, load.TCP, n+10)
			v := verdict(t, l, c, moves...)
			if v.Ended+v.Cut != 4 || v.OK() == tc.early || (v.Early == 4) != tc.early || v.Failed > 0 {
				t.Errorf("four sessions of a release that stopped: %s", v.Explain())
			}
		})
	}
}

func TestRequestsDoneTwiceAreFound(t *testing.T) {
	c := rig.StartCollector(t, "127.0.0.1")
	b := startBackend(t, c, "v1")
	client := &http.Client{}
	t.Cleanup(client.CloseIdleConnections)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		twice(w, r, client, "http://"+b.http)
	})}
	var work sync.WaitGroup
	work.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		_ = server.Close()
		work.Wait()
	})
	addr := listener.Addr().String()
	l := start(t, load.Group{Kind: load.Get, Addr: addr, Conns: 1, Rate: 100}, load.Group{Kind: load.Post, Addr: addr, Conns: 1, Rate: 100})
	answered(t, l, load.Get, 10)
	answered(t, l, load.Post, 10)
	v := verdict(t, l, c)
	if v.OK() || v.Duplicates < 10 || v.Replayed < 10 || v.Failed > 0 {
		t.Errorf("a proxy that does all twice: %s", v.Explain())
	}
}

// twice is a proxy that sends every request two times, in silence.
func twice(w http.ResponseWriter, r *http.Request, client *http.Client, to string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	for last := range 2 {
		out, err := http.NewRequestWithContext(r.Context(), r.Method, to+r.URL.Path, bytes.NewReader(body))
		if err != nil {
			return
		}
		out.Header = r.Header.Clone()
		resp, err := client.Do(out)
		if err != nil {
			return
		}
		answer, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err == nil && last == 1 {
			w.Header().Set("X-Version", resp.Header.Get("X-Version"))
			_, _ = w.Write(answer)
		}
	}
}
