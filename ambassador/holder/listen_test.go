package holder

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/ambassador/handoff"
	"github.com/remorahq/remora/internal/traffic"
)

// The path comes from a worker, which strangers may have taken over: opening
// what is no namespace must neither block the holder nor do anything else.
func TestOnlyNamespacesAreOpened(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	key := traffic.ListenerKey{Address: netip.MustParseAddr("127.0.0.1")}
	for _, path := range []string{fifo, "/dev/null", "/proc/self/ns/mnt"} {
		done := make(chan error, 1)
		go func() { _, err := listen(key, path); done <- err }()
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%s was entered", path)
			} else if path != "/proc/self/ns/mnt" && !strings.Contains(err.Error(), "no network namespace") {
				t.Errorf("%s: %v", path, err)
			}
		case <-time.After(2 * time.Second):
			t.Fatalf("%s blocks the holder", path)
		}
	}
}

// Only the folder in which the agent makes namespaces is a worker's, and only so
// many listeners.
func TestWorkerIsBounded(t *testing.T) {
	run := t.TempDir()
	h := &holder{cfg: Config{RunDir: run}, listeners: make(map[traffic.ListenerKey]*held)}
	key := traffic.ListenerKey{Address: netip.MustParseAddr("127.0.0.1")}
	for _, path := range []string{"/proc/1/ns/net", run + "/netns/../../ns", run + "/netns/a/b", run + "/other"} {
		if _, err := h.listener(handoff.Message{Key: key, Path: path}); err == nil || !strings.Contains(err.Error(), "is not in") {
			t.Errorf("%s: %v", path, err)
		}
	}
	for port := range maxListeners {
		h.listeners[traffic.ListenerKey{Namespace: "other", Port: uint16(port)}] = nil
	}
	if _, err := h.listener(handoff.Message{Key: key}); err == nil || !strings.Contains(err.Error(), "no more are allowed") {
		t.Errorf("one too many: %v", err)
	}
}

// A listener that a predecessor asks for once more stays its successor's, who
// gives up all that it has not asked for.
func TestPredecessorTakesNoListener(t *testing.T) {
	near, child, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	far, err := handoff.FromFile(child)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = near.Close(), far.Close() }()
	h := &holder{log: slog.New(slog.DiscardHandler), listeners: make(map[traffic.ListenerKey]*held)}
	key := traffic.ListenerKey{Address: netip.MustParseAddr("127.0.0.1")}
	old, young := &worker{number: 1, link: near}, &worker{number: 2, link: near}
	for _, w := range []*worker{old, young, old} {
		h.open(w, handoff.Message{Op: handoff.Open, Key: key})
		_, fds, err := far.Receive()
		if err != nil || len(fds) != 1 {
			t.Fatalf("got %d descriptors, %v", len(fds), err)
		}
		_ = fds[0].Close()
	}
	h.sweep(young)
	if h.listeners[key] == nil {
		t.Error("the successor's listener was closed")
	}
	h.forget(key)
}

// What a worker says again and again makes the holder keep nothing, and reaches
// no other worker.
func TestFloodOfAWorker(t *testing.T) {
	near, child, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	far, err := handoff.FromFile(child)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = near.Close(), far.Close() }()
	answers := make(chan int)
	go func() {
		n := 0
		for {
			m, fds, err := far.Receive()
			if err != nil {
				answers <- n
				return
			}
			for _, f := range fds {
				_ = f.Close()
			}
			if m.Op == handoff.Peer {
				n++
			}
		}
	}()
	w, other := &worker{number: 1, link: near, ready: true}, &worker{number: 2, link: near, ready: true}
	h := &holder{log: slog.New(slog.DiscardHandler), current: other, next: &worker{number: 3}, workers: map[int]*worker{1: w, 2: other}}
	for id := range uint64(10 * maxAsked) {
		h.handle(event{w: w, m: handoff.Message{Op: handoff.Upgrade, ID: id + 1}})
		h.handle(event{w: w, m: handoff.Message{Op: handoff.Ready}})
	}
	if len(h.asked) > maxAsked {
		t.Errorf("%d upgrades are kept", len(h.asked))
	}
	_ = near.Close()
	if n := <-answers; n != 0 {
		t.Errorf("workers got %d connections", n)
	}
}

// A crash is repaired at once, a loop of them ever later, and one after a while
// at once again.
func TestBackOff(t *testing.T) {
	h := new(holder)
	for i, want := range []time.Duration{0, 0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		if got := h.backOff(time.Second); got != want*time.Millisecond {
			t.Errorf("crash %d: %s, want %d ms", i+1, got, want)
		}
	}
	if got := h.backOff(settled + 1); got != 0 {
		t.Errorf("after a good while: %s", got)
	}
}

// A state of another form is refused, so that the present holder stays.
func TestForeignStateIsRefused(t *testing.T) {
	for text, want := range map[string]string{`{"Version": 99}`: "version 99", `{`: "read the former"} {
		if _, err := readState(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A worker that asks and does not read cannot stop the holder.
func TestDeafWorkerDoesNotBlockTheHolder(t *testing.T) {
	link, child, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Close() }()
	defer func() { _ = link.Close() }()
	done := make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			err = link.Send(handoff.Message{Op: handoff.Answer}, nil)
		}
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("the holder waits for a worker that does not read")
	}
}

// The state folder is the worker's: a name in it may be another file's second
// one, which must not become the worker's with it.
func TestStateFolderGivesNoOtherFileAway(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("run as root: only root can give files away")
	}
	root := t.TempDir()
	dir, secret := filepath.Join(root, "state"), filepath.Join(root, "secret")
	own := filepath.Join(dir, "table.json")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	more := []string{filepath.Join(dir, "certificates.json"), filepath.Join(dir, "tickets.json.prev"), filepath.Join(dir, "access.log")}
	for _, f := range append(more, secret, own) {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(secret, own+".prev"); err != nil {
		t.Fatal(err)
	}
	f, err := openState(dir, &syscall.Credential{Uid: 65534, Gid: 65534})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for name, uid := range map[string]uint32{secret: 0, own: 65534, dir: 65534, more[0]: 65534, more[1]: 65534, more[2]: 65534} {
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err != nil || st.Uid != uid {
			t.Errorf("%s belongs to %d, %v; want %d", name, st.Uid, err, uid)
		}
	}
}
