package holder_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
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

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/internal/traffic"
)

// webSocket is a raw client of an echo behind an upgrade. Its frames are text
// of one size, masked with zeros.
type webSocket struct{ rawConn }

func openWebSocket(t testing.TB, port uint16) webSocket {
	t.Helper()
	w := webSocket{dial(t, port)}
	fmt.Fprint(w.c, "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	res, err := http.ReadResponse(w.br, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("open a WebSocket: %v %v", res, err)
	}
	return w
}

// echo sends a frame and reads it back.
func (w webSocket) echo(text string) error {
	frame := append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)
	_ = w.c.SetDeadline(time.Now().Add(15 * time.Second))
	if _, err := w.c.Write(frame); err != nil {
		return err
	}
	got := make([]byte, len(frame))
	if _, err := io.ReadFull(w.br, got); err != nil {
		return err
	}
	if !bytes.Equal(got, frame) {
		return fmt.Errorf("got %q for %q", got, frame)
	}
	return nil
}

// ended waits for the goodbye: a close frame of status 1012 and the end.
func (w webSocket) ended() error {
	_ = w.c.SetDeadline(time.Now().Add(15 * time.Second))
	rest, err := io.ReadAll(w.br)
	if err == nil && string(rest) != "\x88\x02\x03\xf4" {
		err = fmt.Errorf("got %q for a goodbye", rest)
	}
	return err
}

// talk keeps WebSockets in conversation until ctx ends and returns how many
// messages came back.
func talk(ctx context.Context, t testing.TB, port uint16, n int) func() int64 {
	t.Helper()
	var said atomic.Int64
	var wg sync.WaitGroup
	for range n {
		w := openWebSocket(t, port)
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := w.echo(fmt.Sprintf("message %d", i)); err != nil {
					t.Errorf("a WebSocket after %d messages: %v", i, err)
					return
				}
				said.Add(1)
			}
		})
	}
	return func() int64 { wg.Wait(); return said.Load() }
}

// TestUpgradeWith64ClientsAnd8WebSockets is the promise of an upgrade: nothing
// refused, nothing reset, WebSockets alive.
func TestUpgradeWith64ClientsAnd8WebSockets(t *testing.T) {
	p := start(t, t.TempDir())
	port := freePort(t)
	b := startBackend(t, "v1")
	p.put(table(port, "v1", b.rel("v1", traffic.Active)))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	said := talk(ctx, t, port, 8)
	l := &load{port: port}
	done := make(chan struct{})
	go func() { defer close(done); l.run(ctx, 64) }()
	for range 3 {
		mark := l.answered.Load()
		poll(t, "traffic", func() bool { return l.answered.Load() > mark+1000 })
		if err := p.client.Upgrade(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	mark := l.answered.Load()
	poll(t, "traffic", func() bool { return l.answered.Load() > mark+1000 })
	workers := len(p.workers())
	cancel()
	<-done
	messages := said()
	t.Logf("sent=%d answered=%d refused=%d reset=%d closed=%d messages=%d workers=%d",
		l.sent.Load(), l.answered.Load(), l.refused.Load(), l.broken.Load(), l.closed.Load(), messages, workers)
	if l.broken.Load() != 0 || l.refused.Load() != 0 || l.sent.Load() != l.answered.Load() {
		t.Errorf("requests were lost: %v", l.errs)
	}
	if d := l.duplicates(b); d != 0 {
		t.Errorf("%d requests did not reach the backend exactly once", d)
	}
	if workers != 2 || messages == 0 || l.closed.Load() == 0 {
		t.Errorf("the upgrades did not leave the first worker with its WebSockets, and the last")
	}
}

// An idle connection outlives the upgrade: its client may be about to send. The
// next answer on it says that it is the last.
func TestIdleConnectionOutlivesUpgrade(t *testing.T) {
	p := start(t, t.TempDir())
	port := freePort(t)
	b := startBackend(t, "v1")
	p.put(table(port, "v1", b.rel("v1", traffic.Active)))
	c := dial(t, port)
	const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	if closing, err := exchange(c.c, c.br, get); err != nil || closing {
		t.Fatalf("before: closing %t, %v", closing, err)
	}
	before := p.workers()[0]
	if err := p.client.Upgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	if closing, err := exchange(c.c, c.br, get); err != nil || !closing {
		t.Fatalf("after: closing %t, %v", closing, err)
	}
	if _, err := c.br.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end of the connection", err)
	}
	poll(t, "the old worker's end", func() bool { return errors.Is(syscall.Kill(before, 0), syscall.ESRCH) })
}

// ownProgram copies the program to where a test may replace it.
func ownProgram(t *testing.T, from, dir string) string {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(dir, "remora-ambassador")
	// As a package manager does: a new file, renamed.
	if err := os.WriteFile(own+".new", data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(own+".new", own); err != nil {
		t.Fatal(err)
	}
	return own
}

func buildVersion(t *testing.T, version string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "remora-ambassador")
	cmd := exec.Command("go", "build", "-ldflags", "-X github.com/remorahq/remora/internal/version.version="+version, "-o", out, "github.com/remorahq/remora/cmd/remora-ambassador")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, text)
	}
	return out
}

// TestProgramReplaced is a package's upgrade: worker and holder become the new
// program, the holder in its own process, and nobody notices.
func TestProgramReplaced(t *testing.T) {
	versions := []string{buildVersion(t, "v2.0.0"), buildVersion(t, "v1.0.0")}
	dir := t.TempDir()
	p := startProgram(t, ownProgram(t, versions[1], dir), dir)
	port := freePort(t)
	b := startBackend(t, "v1")
	p.put(table(port, "v1", b.rel("v1", traffic.Active)))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	said := talk(ctx, t, port, 8)
	l := &load{port: port}
	done := make(chan struct{})
	go func() { defer close(done); l.run(ctx, 16) }()
	for i := range 4 {
		own := ownProgram(t, versions[i%2], dir)
		mark := l.answered.Load()
		poll(t, "traffic", func() bool { return l.answered.Load() > mark+300 })
		if err := p.client.Upgrade(t.Context()); err != nil {
			t.Fatal(err)
		}
		// The last of the holder's children may be one that only checks something.
		poll(t, "the new program", func() bool {
			workers := p.workers()
			return sameProgram(p.cmd.Process.Pid, own) && sameProgram(workers[len(workers)-1], own)
		})
		r, err := p.report()
		if want := fmt.Sprintf("v%d.0.0", 2-i%2); err != nil || r.Version != want {
			t.Errorf("version %s, %v, want %s", r.Version, err, want)
		}
	}
	// The holder waits for children that it has from before.
	_, leader, _ := strings.Cut(p.log.String()[strings.LastIndex(p.log.String(), "worker leads"):], "pid=")
	last, err := strconv.Atoi(strings.Fields(leader)[0])
	if err == nil {
		err = syscall.Kill(last, syscall.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
	poll(t, "another worker", func() bool { return strings.Count(p.log.String(), "worker leads") == 6 })
	broken := l.broken.Load()
	mark := l.answered.Load()
	poll(t, "traffic", func() bool { return l.answered.Load() > mark+300 })
	cancel()
	<-done
	t.Logf("sent=%d answered=%d refused=%d closed=%d messages=%d", l.sent.Load(), l.answered.Load(), l.refused.Load(), l.closed.Load(), said())
	if l.refused.Load() != 0 || broken > 16 || l.broken.Load() > 16 {
		t.Errorf("refused %d, broken %d: %v", l.refused.Load(), l.broken.Load(), l.errs)
	}
	// No child outlives a holder that is killed, whichever program started it.
	workers := p.workers()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range workers {
		poll(t, "the workers' end", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
	}
}

// A program that is called by a link is upgraded by leading the link elsewhere.
func TestLinkedProgram(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "remora-ambassador")
	lead := func(to string) {
		t.Helper()
		err := os.Symlink(to, link+".new")
		if err == nil {
			err = os.Rename(link+".new", link)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	lead(program)
	p := startProgram(t, link, dir)
	next := buildVersion(t, "v2.0.0")
	lead(next)
	if err := p.client.Upgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err := p.report(); err != nil || r.Version != "v2.0.0" {
		t.Errorf("version %s, %v", r.Version, err)
	}
	poll(t, "the holder's new program", func() bool { return sameProgram(p.cmd.Process.Pid, next) })
}

func sameProgram(pid int, path string) bool {
	a, err1 := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	b, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}

// TestFormerWorkersAreBounded shows both bounds: the number, and the time.
func TestFormerWorkersAreBounded(t *testing.T) {
	for name, args := range map[string][]string{
		"number": {"--max-draining", "1"},
		"time":   {"--drain-limit", "300ms", "--max-draining", "9"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startProgram(t, program, t.TempDir(), args...)
			port := freePort(t)
			b := startBackend(t, "v1")
			p.put(table(port, "v1", b.rel("v1", traffic.Active)))
			first := openWebSocket(t, port)
			if err := p.client.Upgrade(t.Context()); err != nil {
				t.Fatal(err)
			}
			if name == "number" {
				second := openWebSocket(t, port)
				if err := first.echo("still here"); err != nil {
					t.Fatal(err)
				}
				if err := p.client.Upgrade(t.Context()); err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := second.echo("not this one"); err != nil {
						t.Error(err)
					}
				}()
			}
			if err := first.ended(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A successor that dies just before it leads leaves a worker that was told to
// drain: another successor takes its place.
func TestSuccessorDiesBeforeItLeads(t *testing.T) {
	p := start(t, t.TempDir())
	port := freePort(t)
	b := startBackend(t, "v1")
	p.put(table(port, "v1", b.rel("v1", traffic.Active)))
	first := p.workers()[0]
	if err := syscall.Kill(first, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	poll(t, "the successor", func() bool { return strings.Count(p.log.String(), "worker is ready") == 2 })
	w := p.workers()
	if err := syscall.Kill(w[len(w)-1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	poll(t, "its end", func() bool { return strings.Contains(p.log.String(), "worker ended") })
	if err := syscall.Kill(first, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	c := dial(t, port)
	if _, err := exchange(c.c, c.br, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	poll(t, "another worker to lead", func() bool { _, err := p.report(); return err == nil })
}

// TestRetireWhilePredecessorsServe is P3 with all that a predecessor may hold:
// an upload, a WebSocket and a TCP connection, on two predecessors.
func TestRetireWhilePredecessorsServe(t *testing.T) {
	p := start(t, t.TempDir())
	port, plain := freePort(t), freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	both := func(active string, releases ...traffic.Release) *traffic.Table {
		tb := table(port, active, releases...)
		tcp := tb.Listeners[0]
		tcp.Port, tcp.Protocol = plain, traffic.TCP
		tb.Listeners = append(tb.Listeners, tcp)
		return tb
	}
	p.put(both("v1", a.rel("v1", traffic.Active)))
	upload, tcp := dial(t, port), dial(t, plain)
	fmt.Fprint(upload.c, "POST / HTTP/1.1\r\nHost: x\r\nX-Id: upload\r\nContent-Length: 200000\r\n\r\n"+strings.Repeat("x", 100000))
	upgradeEcho(t, tcp)
	poll(t, "the upload", func() bool {
		rep, err := p.report()
		return err == nil && rep.Services[0].Releases[0].Inflight == 1
	})
	if err := p.client.Upgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	ws := openWebSocket(t, port)
	if err := p.client.Upgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.put(both("v2", b.rel("v2", traffic.Active), a.rel("v1", traffic.Draining)))
	old := func() (workers int, r traffic.ReleaseReport) {
		rep, err := p.report()
		if err != nil {
			t.Fatal(err)
		}
		return rep.Workers, rep.Services[0].Releases[1]
	}
	if n, r := old(); n != 3 || r.Drained || r.RequestsDrained || r.Inflight != 1 || r.Tunnels != 2 {
		t.Fatalf("what the predecessors hold is not seen: workers %d, %+v", n, r)
	}
	fresh := dial(t, port)
	if _, err := exchange(fresh.c, fresh.br, "GET / HTTP/1.1\r\nHost: x\r\nX-Id: fresh\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.seen.Load("fresh"); !ok {
		t.Error("a new request did not go to the new release")
	}
	if _, err := exchange(upload.c, upload.br, strings.Repeat("x", 100000)); err != nil {
		t.Fatalf("the upload was lost: %v", err)
	}
	poll(t, "requests drained", func() bool { _, r := old(); return r.RequestsDrained && !r.Drained })
	fmt.Fprint(tcp.c, "hello\n")
	if line, err := tcp.br.ReadString('\n'); line != "hello\n" {
		t.Fatalf("TCP: %q %v", line, err)
	}
	if err := ws.echo("hello"); err != nil {
		t.Fatalf("WebSocket: %v", err)
	}
	_ = tcp.c.Close()
	poll(t, "the first predecessor's end", func() bool { n, r := old(); return n == 2 && r.Tunnels == 1 && !r.Drained })
	_ = ws.c.Close()
	poll(t, "the drain", func() bool { n, r := old(); return n == 1 && r.Drained })
}

// upgradeEcho makes the backend's end of a tunnel an echo.
func upgradeEcho(t *testing.T, c rawConn) {
	t.Helper()
	fmt.Fprint(c.c, "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if _, err := http.ReadResponse(c.br, nil); err != nil {
		t.Fatal(err)
	}
}

// A predecessor that cannot take its successor's connection, for want of
// descriptors, is not taken for gone: what it serves is not drained, and the
// connection is made as soon as it can be.
func TestUnreachablePredecessorIsNotDrained(t *testing.T) {
	// As our own user: another's limits are not ours to set.
	p := startProgram(t, program, t.TempDir(), "--user", "root")
	port := freePort(t)
	a, b := startBackend(t, "v1"), startBackend(t, "v2")
	p.put(table(port, "v1", a.rel("v1", traffic.Active)))
	ws := openWebSocket(t, port)
	old := p.workers()[0]
	var before unix.Rlimit
	err := unix.Prlimit(old, unix.RLIMIT_NOFILE, nil, &before)
	if err == nil {
		err = unix.Prlimit(old, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: before.Max}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	// Not by a call, which it could not accept either.
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	poll(t, "the successor", func() bool { return strings.Count(p.log.String(), "worker leads") == 2 })
	tb := table(port, "v2", b.rel("v2", traffic.Active), a.rel("v1", traffic.Draining))
	tb.Version, tb.Generation, tb.BootID = traffic.FormatVersion, 2, p.boot
	if _, err := p.client.Put(t.Context(), tb); err == nil || !strings.Contains(err.Error(), "former worker") {
		t.Errorf("a predecessor that was not asked counts as one that agreed: %v", err)
	}
	former := func() traffic.ReleaseReport {
		rep, err := p.report()
		if err != nil {
			t.Fatal(err)
		}
		return rep.Services[0].Releases[1]
	}
	if r := former(); r.Drained || r.RequestsDrained {
		t.Errorf("what it serves counts as drained: %+v", r)
	}
	if err := unix.Prlimit(old, unix.RLIMIT_NOFILE, &before, nil); err != nil {
		t.Fatal(err)
	}
	poll(t, "the predecessor's report", func() bool { return former().Tunnels == 1 })
	if _, err := p.client.Put(t.Context(), tb); err != nil {
		t.Error(err)
	}
	if err := ws.echo("still here"); err != nil {
		t.Error(err)
	}
	_ = ws.c.Close()
	poll(t, "the drain", func() bool { return former().Drained })
}

// What former workers counted stays counted: a counter that falls is a reset to
// who reads it.
func TestCountsOutliveUpgrades(t *testing.T) {
	p := start(t, t.TempDir())
	port := freePort(t)
	b := startBackend(t, "v1")
	p.put(table(port, "v1", b.rel("v1", traffic.Active)))
	for round := range 3 {
		for range 5 {
			c := dial(t, port)
			if _, err := exchange(c.c, c.br, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			_ = c.c.Close()
		}
		if err := p.client.Upgrade(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := uint64(5 * (round + 1))
		poll(t, "the former worker's end", func() bool { r, err := p.report(); return err == nil && r.Workers == 1 })
		if r, err := p.report(); err != nil || r.Services[0].Releases[0].Requests != want || r.Services[0].Releases[0].Drained {
			t.Errorf("got %+v %v, want %d requests", r.Services[0].Releases[0], err, want)
		}
	}
}

// A worker that is told to drain while it waits for a predecessor, to pass on a
// table, still hears what the holder says: here that the predecessor has ended.
func TestPredecessorEndsWhileItsSuccessorIsReplaced(t *testing.T) {
	p := start(t, t.TempDir())
	port := freePort(t)
	b := startBackend(t, "v1")
	p.put(table(port, "v1", b.rel("v1", traffic.Active)))
	openWebSocket(t, port)
	first := p.workers()[0]
	if err := p.client.Upgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(first, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	tb := table(port, "v1", b.rel("v1", traffic.Active))
	tb.Version, tb.Generation, tb.BootID = traffic.FormatVersion, 2, p.boot
	put := make(chan error, 1)
	go func() { _, err := p.client.Put(t.Context(), tb); put <- err }()
	poll(t, "the table to be served by the second", func() bool { r, err := p.report(); return err == nil && r.Generation == 2 })
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	poll(t, "a third worker", func() bool { return strings.Count(p.log.String(), "worker is ready") == 3 })
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-put; err != nil {
		t.Error(err)
	}
	poll(t, "the third to lead", func() bool { return strings.Count(p.log.String(), "worker leads") == 3 })
	if r, err := p.report(); err != nil || r.Generation != 2 {
		t.Errorf("generation %d, %v", r.Generation, err)
	}
}
