package holder_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remorahq/remora/ambassador/control"
	"github.com/remorahq/remora/internal/traffic"
)

// program is the built binary.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "remora-holder")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "remora-ambassador")
	build := exec.Command("go", "build", "-o", program, "github.com/remorahq/remora/cmd/remora-ambassador")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// proc is a running ambassador.
type proc struct {
	t      testing.TB
	cmd    *exec.Cmd
	run    string
	state  string
	client *control.Client
	log    *lockedBuffer
	ended  chan struct{}
	gen    uint64
	boot   string
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t testing.TB, dir string) *proc {
	t.Helper()
	return startProgram(t, program, dir)
}

func startProgram(t testing.TB, program, dir string, args ...string) *proc {
	t.Helper()
	p := &proc{t: t, run: filepath.Join(dir, "run"), state: filepath.Join(dir, "state"), log: &lockedBuffer{}, ended: make(chan struct{})}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	p.boot = strings.TrimSpace(string(boot))
	p.cmd = exec.Command(program, "--run", p.run, "--state", p.state, "--log-level", "debug")
	p.cmd.Args = append(p.cmd.Args, args...)
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.ended) }()
	p.client = control.NewClient(filepath.Join(p.run, "ambassador.sock"))
	t.Cleanup(func() {
		p.client.Close()
		_ = p.cmd.Process.Kill()
		<-p.ended
		if strings.Contains(p.log.String(), "DATA RACE") {
			t.Error("a data race in the ambassador")
		}
		if t.Failed() {
			t.Logf("ambassador's log:\n%s", p.log)
		}
	})
	poll(t, "the control API", func() bool { _, err := p.report(); return err == nil })
	return p
}

func (p *proc) report() (traffic.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return p.client.Report(ctx)
}

// poll waits for a real condition.
func poll(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(15 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}

func (p *proc) put(tb *traffic.Table) traffic.Ack {
	p.t.Helper()
	p.gen++
	tb.Version, tb.Generation, tb.BootID = traffic.FormatVersion, p.gen, p.boot
	ack, err := p.client.Put(p.t.Context(), tb)
	if err != nil {
		p.t.Fatalf("put: %v", err)
	}
	return ack
}

// worker finds the process ids of the holder's children.
func (p *proc) workers() []int {
	out, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.cmd.Process.Pid, p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	var pids []int
	for f := range strings.FieldsSeq(string(out)) {
		n, err := strconv.Atoi(f)
		if err != nil {
			p.t.Fatal(err)
		}
		pids = append(pids, n)
	}
	return pids
}

const backendPort = 7171

// backend answers with its name; /slow when it is released. It counts IDs.
type backend struct {
	addr  netip.Addr
	name  string
	seen  sync.Map // ID → *atomic.Int64
	slow  chan struct{}
	began chan struct{}
}

func startBackend(t *testing.T, name string) *backend {
	t.Helper()
	b := &backend{name: name, slow: make(chan struct{}), began: make(chan struct{}, 10)}
	b.addr = netip.AddrFrom4([4]byte{127, byte(10 + rand.IntN(200)), byte(rand.IntN(250)), byte(1 + rand.IntN(250))})
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		n, _ := b.seen.LoadOrStore(r.Header.Get("X-Id"), new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
		fmt.Fprint(w, name)
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		b.began <- struct{}{}
		select {
		case <-b.slow:
		case <-r.Context().Done():
		}
		fmt.Fprint(w, name)
	})
	mux.HandleFunc("/upgrade", func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(c, rw)
	})
	srv := &http.Server{Handler: mux}
	l, err := net.Listen("tcp", netip.AddrPortFrom(b.addr, backendPort).String())
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return b
}

func (b *backend) rel(name string, state traffic.ReleaseState) traffic.Release {
	return traffic.Release{Name: name, State: state, DrainDeadline: 20 * time.Second, TunnelDeadline: time.Minute, Endpoints: []traffic.Endpoint{
		{Container: b.name, Instance: "1", Address: b.addr, Fixed: true},
	}}
}

func freePort(t testing.TB) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func table(port uint16, active string, releases ...traffic.Release) *traffic.Table {
	return &traffic.Table{
		Listeners: []traffic.Listener{{
			ListenerKey: traffic.ListenerKey{Port: port}, Protocol: traffic.Detect, Owner: "env/app",
			Routes: []traffic.Route{{Service: "env/app/web", Port: backendPort}},
		}},
		Services: []traffic.Service{{Name: "env/app/web", App: "env/app", Active: active, Releases: releases, HoldFor: 5 * time.Second}},
	}
}

// load sends requests over raw connections that never retry, each connection
// until it breaks; then it dials again. What it demands is in its fields.
type load struct {
	port     uint16
	sent     atomic.Int64
	answered atomic.Int64
	broken   atomic.Int64 // connections that broke
	refused  atomic.Int64 // connects that failed
	closed   atomic.Int64 // connections closed after an answer that said so
	mu       sync.Mutex
	ids      []string
	errs     []string
}

func (l *load) run(ctx context.Context, clients int) {
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				l.connection(ctx, fmt.Sprintf("%d-%d", n, i), n%3 == 0)
			}
		})
	}
	wg.Wait()
}

func (l *load) connection(ctx context.Context, prefix string, post bool) {
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", l.port))
	if err != nil {
		l.refused.Add(1)
		return
	}
	defer c.Close()
	br := bufio.NewReader(c)
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprintf("%s-%d", prefix, i)
		raw := "GET / HTTP/1.1\r\nHost: x\r\nX-Id: " + id + "\r\n\r\n"
		if post {
			raw = "POST / HTTP/1.1\r\nHost: x\r\nX-Id: " + id + "\r\nContent-Length: 2\r\n\r\nhi"
		}
		l.sent.Add(1)
		closing, err := exchange(c, br, raw)
		if err != nil {
			l.broken.Add(1)
			l.mu.Lock()
			l.errs = append(l.errs, err.Error())
			l.mu.Unlock()
			return
		}
		l.answered.Add(1)
		l.mu.Lock()
		l.ids = append(l.ids, id)
		l.mu.Unlock()
		if closing {
			l.closed.Add(1)
			return
		}
	}
}

func exchange(c net.Conn, br *bufio.Reader, raw string) (closing bool, err error) {
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	if _, err := io.WriteString(c, raw); err != nil {
		return false, err
	}
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		return false, err
	}
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != 200 {
		err = fmt.Errorf("status %d: %s", res.StatusCode, body)
	}
	return res.Close, err
}

// duplicates counts IDs that the backends saw more than once.
func (l *load) duplicates(backends ...*backend) int {
	d := 0
	for _, id := range l.ids {
		total := int64(0)
		for _, b := range backends {
			if n, ok := b.seen.Load(id); ok {
				total += n.(*atomic.Int64).Load()
			}
		}
		if total != 1 {
			d++
		}
	}
	return d
}

func TestWorkerKilledUnderLoad(t *testing.T) {
	p := start(t, t.TempDir())
	port := freePort(t)
	b := startBackend(t, "v1")
	p.put(table(port, "v1", b.rel("v1", traffic.Active)))
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{port: port}
	done := make(chan struct{})
	go func() { defer close(done); l.run(ctx, 16) }()
	// Two crashes are none of a loop, which is slowed down. What the machine
	// takes by itself to run the program is none of the worker's time.
	const within = 300 * time.Millisecond
	first, worst := time.Hour, time.Duration(0)
	for i := range 5 {
		before := p.workers()[0]
		mark := l.answered.Load()
		poll(t, "traffic", func() bool { return l.answered.Load() > mark+500 })
		killed := time.Now()
		if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		poll(t, "the worker's end", func() bool { return errors.Is(syscall.Kill(before, 0), syscall.ESRCH) })
		c := dial(t, port)
		if _, err := exchange(c.c, c.br, "GET / HTTP/1.1\r\nHost: x\r\nX-Id: after\r\n\r\n"); err != nil {
			t.Fatalf("the first request after a crash: %v", err)
		}
		_ = c.c.Close()
		took := time.Since(killed)
		worst = max(worst, took)
		if i < 2 {
			first = min(first, took)
		}
	}
	cancel()
	<-done
	t.Logf("sent=%d answered=%d broken=%d refused=%d; an answer after %s, in a loop of crashes after %s", l.sent.Load(), l.answered.Load(), l.broken.Load(), l.refused.Load(), first, worst)
	if l.refused.Load() != 0 {
		t.Errorf("%d connections were refused", l.refused.Load())
	}
	if l.broken.Load() > 5*16 {
		t.Errorf("%d connections broke, at most those of the killed workers may", l.broken.Load())
	}
	if machine := runProgram(t); first > within+machine {
		t.Errorf("back after %s, the machine runs the program in %s", first, machine)
	}
}

// runProgram is how long the machine takes to run the program at all.
func runProgram(t *testing.T) time.Duration {
	t.Helper()
	begun := time.Now()
	if err := exec.Command(program, "version").Run(); err != nil {
		t.Fatal(err)
	}
	return time.Since(begun)
}

func TestUpgradeUnderLoadLosesNothing(t *testing.T) {
	p := start(t, t.TempDir())
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	p.put(table(port, "v1", a.rel("v1", traffic.Active)))
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{port: port}
	done := make(chan struct{})
	go func() { defer close(done); l.run(ctx, 16) }()
	holder := p.cmd.Process.Pid
	for i := range 5 {
		mark := l.answered.Load()
		poll(t, "traffic", func() bool { return l.answered.Load() > mark+300 })
		if i%2 == 0 {
			if err := p.client.Upgrade(t.Context()); err != nil {
				t.Fatal(err)
			}
		} else {
			before := p.workers()
			if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			poll(t, "a new worker", func() bool { w := p.workers(); return len(w) > 0 && w[len(w)-1] != before[len(before)-1] })
		}
		if i%2 == 0 {
			p.put(table(port, "v2", b.rel("v2", traffic.Active), a.rel("v1", traffic.Draining)))
		} else {
			p.put(table(port, "v1", a.rel("v1", traffic.Active), b.rel("v2", traffic.Draining)))
		}
	}
	cancel()
	<-done
	t.Logf("sent=%d answered=%d broken=%d refused=%d closed=%d", l.sent.Load(), l.answered.Load(), l.broken.Load(), l.refused.Load(), l.closed.Load())
	if l.broken.Load() != 0 || l.refused.Load() != 0 || l.sent.Load() != l.answered.Load() {
		t.Errorf("requests were lost: %v", l.errs)
	}
	if d := l.duplicates(a, b); d != 0 {
		t.Errorf("%d requests did not reach the backends exactly once", d)
	}
	if p.cmd.Process.Pid != holder || l.closed.Load() == 0 {
		t.Errorf("the upgrade did not replace the worker")
	}
}

// TestRetireDuringUpgrade is P3: a predecessor that still serves a request
// keeps its release from being drained.
func TestRetireDuringUpgrade(t *testing.T) {
	p := start(t, t.TempDir())
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	p.put(table(port, "v1", a.rel("v1", traffic.Active)))
	slow, ws := dial(t, port), dial(t, port)
	fmt.Fprint(slow.c, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-a.began
	fmt.Fprint(ws.c, "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if _, err := http.ReadResponse(ws.br, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.client.Upgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.put(table(port, "v2", b.rel("v2", traffic.Active), a.rel("v1", traffic.Draining)))
	rep, err := p.report()
	if err != nil {
		t.Fatal(err)
	}
	old := rep.Services[0].Releases[1]
	if rep.Workers != 2 || old.Drained || old.RequestsDrained || old.Inflight != 1 || old.Tunnels != 1 {
		t.Fatalf("the predecessor's request is not seen: workers %d, %+v", rep.Workers, old)
	}
	close(a.slow)
	if res, err := http.ReadResponse(slow.br, nil); err != nil || res.StatusCode != 200 {
		t.Fatalf("the predecessor's request was lost: %v %v", res, err)
	}
	poll(t, "requests drained", func() bool { rep, err = p.report(); return err == nil && rep.Services[0].Releases[1].RequestsDrained })
	if rep.Services[0].Releases[1].Drained {
		t.Fatal("the predecessor's tunnel is not seen")
	}
	fmt.Fprint(ws.c, "hello\n")
	if line, err := ws.br.ReadString('\n'); line != "hello\n" {
		t.Fatalf("the tunnel did not outlive the upgrade: %q %v", line, err)
	}
	_ = ws.c.Close()
	poll(t, "the drain", func() bool {
		rep, err = p.report()
		return err == nil && rep.Services[0].Releases[1].Drained && rep.Workers == 1
	})
}

func newReader(c net.Conn) *bufio.Reader { return bufio.NewReader(c) }

type rawConn struct {
	c  net.Conn
	br *bufio.Reader
}

func dial(t testing.TB, port uint16) rawConn {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	return rawConn{c, bufio.NewReader(c)}
}

func TestTermEndsAllAndTableSurvives(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	port := freePort(t)
	b := startBackend(t, "v1")
	p.put(table(port, "v1", b.rel("v1", traffic.Active)))
	slow := dial(t, port)
	fmt.Fprint(slow.c, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-b.began
	worker := p.workers()[0]
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	close(b.slow)
	if res, err := http.ReadResponse(slow.br, nil); err != nil || res.StatusCode != 200 {
		t.Fatalf("a request in flight was lost at the stop: %v %v", res, err)
	}
	<-p.ended
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if err := syscall.Kill(worker, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the worker is still there: %v", err)
	}
	start(t, dir)
	c := dial(t, port)
	if _, err := exchange(c.c, c.br, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatalf("the table did not outlive the stop: %v", err)
	}
}

func TestHolderKilled(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	worker := p.workers()[0]
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	poll(t, "the worker's end", func() bool { return errors.Is(syscall.Kill(worker, 0), syscall.ESRCH) })
	start(t, dir)
}

func TestSecondHolderIsRefused(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	out, err := exec.Command(program, "--run", p.run, "--state", p.state).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another ambassador runs") {
		t.Fatalf("got %v: %s", err, out)
	}
}

func TestWorkerHasNoRights(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("run as root: only root has rights to give up")
	}
	t.Setenv("SOURCE_TOKEN", "secret")
	p := start(t, t.TempDir())
	proc := fmt.Sprintf("/proc/%d/", p.workers()[0])
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t65534\t65534\t65534\t65534", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Groups:\t \n"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("want %q in\n%s", want, status)
		}
	}
	if env, err := os.ReadFile(proc + "environ"); err != nil || strings.Contains(string(env), "SOURCE_TOKEN") {
		t.Errorf("what the holder keeps for itself is in its environment, %v", err)
	}
	// The keys of certificates are in its memory: no other process of its user may
	// look, and no core is dumped. The kernel shows that by the owner.
	if info, err := os.Stat(proc + "mem"); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("others of its user may read its memory: %v", err)
	}
}
