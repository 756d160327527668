package systemd_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/traffic"
)

// Each step leaves the service running, for the next.
func TestService(t *testing.T) {
	m := startMachine(t)
	defer m.tell(t)
	m.put(t, port)
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"unit", m.unitIsValid},
		{"rights", m.workerHasNoRights},
		{"service_address", m.serviceAddress},
		{"reload", m.reload},
		{"hangup", m.hangup},
		{"package_reload", m.packageReload},
		{"worker_killed", m.workerKilled},
		{"holder_killed", m.holderKilled},
		{"restart", m.restart},
		{"package_restart", m.packageRestart},
		{"hangs", m.hangs},
		{"route_removed", m.routeRemoved},
		{"stop", m.stop},
	} {
		if !t.Run(step.name, step.run) {
			return
		}
	}
}

// systemd knows every line of the unit, or says so.
func (m *machine) unitIsValid(t *testing.T) {
	if out := m.must(t, "systemd-analyze", "verify", "/etc/systemd/system/"+unit+".service"); out != "" {
		t.Errorf("systemd says:\n%s", out)
	}
}

// The worker, which reads what strangers send, has nothing; the holder has what
// the unit lists.
func (m *machine) workerHasNoRights(t *testing.T) {
	status := m.must(t, "cat", fmt.Sprintf("/proc/%d/status", m.workers(t)[0]))
	for _, want := range []string{
		"Uid:\t65534\t65534\t65534\t65534", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
		"CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("want %q in\n%s", want, status)
		}
	}
	pid := m.show(t, "MainPID")
	if out, code := m.c.Exec(t, "nsenter", "--mount", "--target", pid, "touch", "/usr/changed"); code == 0 || !strings.Contains(out, "Read-only") {
		t.Errorf("the service may write to /usr: exit code %d: %s", code, out)
	}
	if holder := m.must(t, "cat", "/proc/"+pid+"/status"); !strings.Contains(holder, "NoNewPrivs:\t1") {
		t.Errorf("the holder may gain rights:\n%s", holder)
	}
}

// A namespace that the agent mounts while the service runs is seen by it, for
// all that the unit hides of the machine.
func (m *machine) serviceAddress(t *testing.T) {
	const dir = "/run/remora/netns"
	const path = dir + "/shop"
	m.must(t, "sh", "-c", "mkdir "+dir+" && mount --bind "+dir+" "+dir+" && mount --make-rshared "+dir+" && touch "+path+" && unshare --net="+path+" true")
	defer m.put(t, port)
	tb := m.table()
	tb.Namespaces = []traffic.Namespace{{Name: "shop", Path: path}}
	tb.Listeners = []traffic.Listener{listener(traffic.ListenerKey{Port: port}), listener(traffic.ListenerKey{Namespace: "shop", Port: 80})}
	m.send(t, tb)
	// The kernel's list of sockets: port 80, state LISTEN.
	if out := m.must(t, "nsenter", "--net="+path, "cat", "/proc/net/tcp6"); !strings.Contains(out, ":0050 ") || !strings.Contains(out, " 0A ") {
		t.Errorf("nobody listens in the namespace:\n%s", out)
	}
}

func (m *machine) reload(t *testing.T) {
	pid, worker := m.show(t, "MainPID"), m.workers(t)
	m.under(t, func() { m.must(t, "systemctl", "reload", unit) }).lossless(t)
	m.samePID(t, pid)
	if now := m.workers(t); now[len(now)-1] == worker[len(worker)-1] {
		t.Error("the reload started no worker")
	}
}

func (m *machine) samePID(t *testing.T, pid string) {
	t.Helper()
	if now := m.show(t, "MainPID"); now != pid || m.show(t, "ActiveState") != "active" {
		t.Errorf("MainPID %s became %s, %s", pid, now, m.show(t, "ActiveState"))
	}
}

// SIGHUP is the same for who does not wait.
func (m *machine) hangup(t *testing.T) {
	pid, worker := m.show(t, "MainPID"), m.workers(t)
	m.under(t, func() {
		m.must(t, "systemctl", "kill", "-s", "HUP", "--kill-whom", "main", unit)
		rig.Eventually(t, 10*time.Second, "a new worker", func() error {
			now := m.workers(t)
			if now[len(now)-1] == worker[len(worker)-1] || m.show(t, "ActiveState") != "active" {
				return errors.New("not yet")
			}
			return nil
		})
	}).lossless(t)
	m.samePID(t, pid)
}

// A package replaces the program and reloads the unit.
func (m *machine) packageReload(t *testing.T) {
	pid := m.show(t, "MainPID")
	m.under(t, func() {
		m.install(t, "v2")
		m.must(t, "systemctl", "reload", unit)
		m.serves(t, "v2")
		m.holderIs(t, pid, "v2")
	}).lossless(t)
	m.samePID(t, pid)
}

func (m *machine) serves(t *testing.T, version string) {
	t.Helper()
	r, err := m.report(t.Context())
	if err != nil || r.Version != version {
		t.Errorf("the worker is of version %s, %v; want %s", r.Version, err, version)
	}
}

// holderIs waits until the process runs the version's program.
func (m *machine) holderIs(t *testing.T, pid, version string) {
	t.Helper()
	rig.Eventually(t, 10*time.Second, "the holder's new program", func() error {
		out, code := m.c.Exec(t, "cmp", "/proc/"+pid+"/exe", "/programs/"+version+"/remora-ambassador")
		if code != 0 {
			return errors.New(out)
		}
		return nil
	})
}

// crashed is what a killed worker may cost. A busy machine may take its time
// once, but not every time.
const crashed = 300 * time.Millisecond

func (m *machine) workerKilled(t *testing.T) {
	pid := m.show(t, "MainPID")
	least := time.Hour
	for try := 0; try < 3 && least > crashed; try++ {
		o := m.under(t, func() {
			w := m.workers(t)
			m.signal(t, "KILL", strconv.Itoa(w[len(w)-1]))
		})
		o.refusedNobody(t, restarted)
		least = min(least, o.gap)
	}
	if least > crashed {
		t.Errorf("nobody was served for %s, at most %s are promised", least, crashed)
	}
	m.samePID(t, pid)
}

// restarted is what systemd, a holder and a worker may take on a busy machine.
const restarted = 5 * time.Second

func (m *machine) holderKilled(t *testing.T) {
	pid := m.show(t, "MainPID")
	m.under(t, func() { m.signal(t, "KILL", pid) }).refusedNobody(t, restarted)
	if now := m.show(t, "MainPID"); now == pid || m.show(t, "NRestarts") != "1" {
		t.Errorf("MainPID %s became %s, %s restarts", pid, now, m.show(t, "NRestarts"))
	}
}

func (m *machine) restart(t *testing.T) {
	m.under(t, func() { m.must(t, "systemctl", "restart", unit) }).refusedNobody(t, restarted)
}

func (m *machine) packageRestart(t *testing.T) {
	m.under(t, func() {
		m.install(t, "v3")
		m.must(t, "systemctl", "restart", unit)
	}).refusedNobody(t, restarted)
	m.serves(t, "v3")
	m.holderIs(t, m.show(t, "MainPID"), "v3")
}

// A holder that hangs is killed by the watchdog; here sooner than by the unit.
func (m *machine) hangs(t *testing.T) {
	drop := "/run/systemd/system/" + unit + ".service.d"
	m.must(t, "sh", "-c", "mkdir -p "+drop+" && printf '[Service]\\nWatchdogSec=1\\n' > "+drop+"/watchdog.conf && systemctl daemon-reload && systemctl restart "+unit)
	pid := m.show(t, "MainPID")
	m.under(t, func() {
		m.signal(t, "STOP", pid)
		rig.Eventually(t, 20*time.Second, "another holder", func() error {
			if m.show(t, "MainPID") == pid || m.show(t, "ActiveState") != "active" {
				return errors.New("not yet")
			}
			return nil
		})
	}).refusedNobody(t, restarted)
}

// What is no route any more leaves systemd's store too: else clients would
// wait in the queue of a socket that nobody accepts on.
func (m *machine) routeRemoved(t *testing.T) {
	m.put(t, port, port+1)
	m.stored(t, "2")
	m.put(t, port)
	m.stored(t, "1")
	pid := m.show(t, "MainPID")
	m.signal(t, "KILL", pid)
	if err := m.connect(t, port+1); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the removed route's port: %v", err)
	}
	if err := m.connect(t, port); err != nil {
		t.Errorf("the other port: %v", err)
	}
	rig.Eventually(t, 10*time.Second, "the service", func() error { _, err := m.report(t.Context()); return err })
	m.stored(t, "1")
}

func (m *machine) stored(t *testing.T, want string) {
	t.Helper()
	rig.Eventually(t, 5*time.Second, "the store", func() error {
		if n := m.show(t, "NFileDescriptorStore"); n != want {
			return fmt.Errorf("%s descriptors are stored, want %s", n, want)
		}
		return nil
	})
}

func (m *machine) connect(t *testing.T, p int) error {
	c, err := m.e.DialContext(t.Context(), "tcp", strings.TrimSuffix(m.addr, strconv.Itoa(port))+strconv.Itoa(p))
	if err == nil {
		err = c.Close()
	}
	return err
}

// A person's stop frees the ports; a start serves the last table again.
func (m *machine) stop(t *testing.T) {
	m.must(t, "systemctl", "stop", unit)
	if err := m.connect(t, port); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the stop: %v", err)
	}
	m.must(t, "systemctl", "start", unit)
	if err := m.connect(t, port); err != nil {
		t.Errorf("after the start: %v", err)
	}
	m.under(t, func() {}).lossless(t)
}
