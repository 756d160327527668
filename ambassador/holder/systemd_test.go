package holder_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/ambassador/control"
	"github.com/remorahq/remora/internal/traffic"
)

// manager is the service manager's end of sd_notify: it keeps what it is told
// and the descriptors that it is given.
type manager struct {
	t     *testing.T
	path  string
	c     *net.UnixConn
	fds   map[string]*os.File
	heard []string
}

func startManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{t: t, path: filepath.Join(t.TempDir(), "notify"), fds: make(map[string]*os.File)}
	var err error
	m.c, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.c.Close() })
	return m
}

// hear waits for a message that begins with the text.
func (m *manager) hear(text string) string {
	m.t.Helper()
	_ = m.c.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf, oob := make([]byte, 4096), make([]byte, 64)
	for {
		n, oobn, _, _, err := m.c.ReadMsgUnix(buf, oob)
		if err != nil {
			m.t.Fatalf("waited for %q: %v; heard %q", text, err, m.heard)
		}
		message := string(buf[:n])
		m.heard = append(m.heard, message)
		if msgs, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(msgs) == 1 {
			fds, err := unix.ParseUnixRights(&msgs[0])
			if err != nil {
				m.t.Fatal(err)
			}
			_, name, _ := strings.Cut(message, "FDNAME=")
			m.fds[name] = os.NewFile(uintptr(fds[0]), name)
		}
		if strings.HasPrefix(message, text) {
			return message
		}
	}
}

// startManaged starts the ambassador as a service manager does, with what is
// in its descriptor store.
func (m *manager) startManaged(dir string) *proc {
	m.t.Helper()
	var names []string
	var files []*os.File
	for name, f := range m.fds {
		names, files = append(names, name), append(files, f)
	}
	cmd := exec.Command("/bin/sh", "-c", fmt.Sprintf("LISTEN_PID=$$ exec %s --run %s/run --state %s/state", program, dir, dir))
	cmd.ExtraFiles = files
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+m.path, "WATCHDOG_USEC=300000",
		fmt.Sprintf("LISTEN_FDS=%d", len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	p := &proc{t: m.t, run: filepath.Join(dir, "run"), log: &lockedBuffer{}, cmd: cmd, ended: make(chan struct{})}
	cmd.Stderr = p.log
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func() { _ = cmd.Wait(); close(p.ended) }()
	m.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.ended
		if m.t.Failed() {
			m.t.Logf("ambassador's log:\n%s", p.log)
		}
	})
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		m.t.Fatal(err)
	}
	p.boot = strings.TrimSpace(string(boot))
	p.client = control.NewClient(filepath.Join(p.run, "ambassador.sock"))
	return p
}

// The descriptor store keeps listeners over the holder's SIGKILL: a client
// that comes while nothing runs waits and is served.
func TestDescriptorStore(t *testing.T) {
	m, dir := startManager(t), t.TempDir()
	p := m.startManaged(dir)
	m.hear("READY=1")
	m.hear("WATCHDOG=1")
	port := freePort(t)
	b := startBackend(t, "v1")
	p.put(table(port, "v1", b.rel("v1", traffic.Active)))
	m.hear("FDSTORE=1")
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	c := dial(t, port) // nobody runs, nobody refuses
	if _, err := fmt.Fprint(c.c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	p = m.startManaged(dir)
	m.hear("READY=1")
	if _, err := exchange(c.c, c.br, ""); err != nil {
		t.Fatalf("the client that waited: %v", err)
	}
	// A listener that is given up leaves the store.
	p.gen = 1
	p.put(&traffic.Table{})
	if got := m.hear("FDSTOREREMOVE=1"); !strings.Contains(got, "FDNAME=l-") {
		t.Errorf("got %q", got)
	}
	if err := p.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	m.hear("STOPPING=1")
	<-p.ended
}
