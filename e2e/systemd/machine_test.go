package systemd_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/ambassador/control"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/traffic"
)

const unit = "remora-ambassador"

// machine is a Debian with systemd and the ambassador's unit, in a container,
// and a backend beside it.
type machine struct {
	e          *rig.Engine
	c          *rig.Container
	client     *control.Client
	addr       string // of the ambassador's port, seen from the engine's host
	backend    netip.Addr
	boot       string
	generation uint64
}

const port = 8080

// startMachine boots one and starts the service of version v1.
func startMachine(t *testing.T) *machine {
	t.Helper()
	e := rig.StartEngine(t, rig.Debian)
	m := &machine{e: e}
	m.backend = netip.MustParseAddr(e.Run(t, rig.Spec{Image: e.LoadImage(t, rig.Image{Name: "web:v1"})}).IP(t))
	programs, run := t.TempDir(), t.TempDir()
	for _, v := range []string{"v1", "v2", "v3"} {
		build(t, v, filepath.Join(programs, v))
	}
	image := e.ImportImage(t, rig.SystemdRoot(t), "debian-systemd")
	m.c = e.Run(t, rig.Spec{
		Image: image, Cmd: []string{"/sbin/init"}, Env: map[string]string{"container": "docker"},
		Host: map[string]any{
			// SYS_PTRACE is the test's, to see which program a process runs.
			"CapAdd":      []string{"SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE"},
			"SecurityOpt": []string{"seccomp=unconfined", "apparmor=unconfined"},
			"Tmpfs":       map[string]string{"/run": "", "/tmp": ""},
			"Binds":       []string{"/sys/fs/cgroup:/sys/fs/cgroup", programs + ":/programs:ro", run + ":/run/remora"},
		},
	})
	m.addr = net.JoinHostPort(m.c.IP(t), strconv.Itoa(port))
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	m.boot = strings.TrimSpace(string(boot))
	m.client = control.NewClient(filepath.Join(run, "ambassador.sock"))
	t.Cleanup(m.client.Close)
	rig.Eventually(t, time.Minute, "systemd to be up", func() error {
		if out, code := m.c.Exec(t, "systemctl", "is-active", "basic.target"); code != 0 {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	// Mounts are shared on a machine that booted by itself; a container's are not.
	m.must(t, "mount", "--make-rshared", "/")
	m.install(t, "v1")
	m.must(t, "sh", "-c", "remora-ambassador unit > /etc/systemd/system/"+unit+".service")
	m.must(t, "systemctl", "daemon-reload")
	m.must(t, "systemctl", "start", unit)
	return m
}

func build(t *testing.T, version, dir string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-ldflags", "-s -w -X github.com/remorahq/remora/internal/version.version="+version,
		"-o", dir+"/", "github.com/remorahq/remora/cmd/remora-ambassador")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
}

// must runs a command in the machine.
func (m *machine) must(t *testing.T, command ...string) string {
	t.Helper()
	out, code := m.c.Exec(t, command...)
	if code != 0 {
		t.Fatalf("%s: exit code %d: %s", strings.Join(command, " "), code, out)
	}
	return strings.TrimSpace(out)
}

// signal sends a signal to a process of the machine, such as KILL.
func (m *machine) signal(t *testing.T, name, pid string) {
	t.Helper()
	m.must(t, "sh", "-c", "kill -"+name+" "+pid)
}

// tell shows the unit's journal where the test failed.
func (m *machine) tell(t *testing.T) {
	if t.Failed() {
		out, _ := m.c.Exec(t, "journalctl", "--no-pager", "-n", "200", "-u", unit)
		t.Logf("journal of the unit:\n%s", out)
	}
}

// install puts a version of the program in place as dpkg does.
func (m *machine) install(t *testing.T, version string) {
	t.Helper()
	m.must(t, "sh", "-c", "cp /programs/"+version+"/remora-ambassador /usr/bin/remora-ambassador.dpkg-new && "+
		"mv /usr/bin/remora-ambassador.dpkg-new /usr/bin/remora-ambassador")
}

// show is a property of the unit.
func (m *machine) show(t *testing.T, property string) string {
	t.Helper()
	return m.must(t, "systemctl", "show", "--value", "-p", property, unit)
}

// put makes the ambassador serve the backend on the ports.
func (m *machine) put(t *testing.T, ports ...uint16) {
	t.Helper()
	tb := m.table()
	for _, p := range ports {
		tb.Listeners = append(tb.Listeners, listener(traffic.ListenerKey{Port: p}))
	}
	m.send(t, tb)
}

// table is one without listeners.
func (m *machine) table() *traffic.Table {
	m.generation++
	return &traffic.Table{
		Version: traffic.FormatVersion, Generation: m.generation, BootID: m.boot,
		Services: []traffic.Service{{
			Name: "test/app/web", App: "test/app", Active: "v1", HoldFor: 5 * time.Second,
			Releases: []traffic.Release{{Name: "v1", State: traffic.Active, Endpoints: []traffic.Endpoint{
				{Container: "web", Instance: "1", Address: m.backend, Fixed: true},
			}}},
		}},
	}
}

func listener(key traffic.ListenerKey) traffic.Listener {
	return traffic.Listener{
		ListenerKey: key, Protocol: traffic.Detect, Owner: "test/app",
		Routes: []traffic.Route{{Service: "test/app/web", Port: 8080}},
	}
}

func (m *machine) send(t *testing.T, tb *traffic.Table) {
	t.Helper()
	ack, err := m.client.Put(t.Context(), tb)
	if err != nil || len(ack.Failures) > 0 {
		t.Fatalf("put table: %v %+v", err, ack.Failures)
	}
}

func (m *machine) report(ctx context.Context) (traffic.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return m.client.Report(ctx)
}

// workers are the holder's children.
func (m *machine) workers(t *testing.T) []int {
	t.Helper()
	pid := m.show(t, "MainPID")
	var pids []int
	for f := range strings.FieldsSeq(m.must(t, "cat", "/proc/"+pid+"/task/"+pid+"/children")) {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, n)
	}
	return pids
}
