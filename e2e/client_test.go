package e2e_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
)

// seen publishes an echo, one that speaks first, and HTTP as a tunnel, on a
// network with both families.
const seen = `services:
  db:
    image: %[1]s:${WEB_TAG}
    command: [http, tcp]
    ports:
      - {target: 9000, published: "%[2]d", app_protocol: tcp}
      - {target: 9001, published: "%[3]d"}
      - {target: 8080, published: "%[4]d", app_protocol: tcp}
    deploy: {update_config: {monitor: 500ms}}
    x-remora: {probe: {http: /health, port: 8080, interval: 200ms}, standby: {for: 0s}, drain_tunnels: 1s}
networks:
  default: {enable_ipv6: true, ipam: {config: [{subnet: "fd00:5e:6::/64"}]}}
`

// outside is a machine beside the engine's host: a network namespace of its
// own, joined to the engine's by a link.
type outside struct {
	ask chan func()
}

// The link's addresses.
const (
	outside4, inside4 = "192.0.2.7", "192.0.2.1"
	outside6, inside6 = "2001:db8::7", "2001:db8::1"
)

func newOutside(t *testing.T, e *rig.Engine) *outside {
	t.Helper()
	o := &outside{ask: make(chan func())}
	ready := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // never unlocked: the thread, and the namespace, end with it
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			ready <- err
			return
		}
		path := fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		out, err := e.Command("sh", "-ec", strings.ReplaceAll(`
			ip link add out0 type veth peer name eth0 netns PATH
			ip address add `+inside4+`/24 dev out0
			ip address add `+inside6+`/64 dev out0 nodad
			ip link set out0 up`, "PATH", path)).CombinedOutput()
		if err == nil {
			out, err = exec.Command("sh", "-ec", `
			ip link set lo up
			ip address add `+outside4+`/24 dev eth0
			ip address add `+outside6+`/64 dev eth0 nodad
			ip link set eth0 up`).CombinedOutput()
		}
		if err != nil {
			err = fmt.Errorf("join the namespaces: %w: %s", err, out)
		}
		ready <- err
		for f := range o.ask {
			f()
		}
	}()
	t.Cleanup(func() { close(o.ask); <-ended })
	must(t, <-ready)
	return o
}

// dial connects from outside.
func (o *outside) dial(addr string) (c net.Conn, err error) {
	done := make(chan struct{})
	o.ask <- func() {
		defer close(done)
		c, err = net.DialTimeout("tcp", addr, 10*time.Second)
	}
	<-done
	return c, err
}

// peerOf is who the container sees; a greeting comes first where it does.
func peerOf(c net.Conn, err error, greeting string) (string, error) {
	if err != nil {
		return "", err
	}
	defer c.Close()
	err = c.SetDeadline(time.Now().Add(10 * time.Second))
	lines := bufio.NewReader(c)
	if greeting != "" && err == nil {
		line, rerr := lines.ReadString('\n')
		if err = rerr; err == nil && !strings.HasPrefix(line, greeting) {
			err = fmt.Errorf("greeted by %q", line)
		}
	}
	if err == nil {
		_, err = fmt.Fprintln(c, "peer")
	}
	if err != nil {
		return "", err
	}
	line, err := lines.ReadString('\n')
	if err != nil {
		return "", err
	}
	peer, _, err := net.SplitHostPort(strings.TrimSpace(line))
	return peer, err
}

// TestClientAddress: a container sees the address of a tunnel's client, of IPv4
// and IPv6, through switches and with the agent gone, on a host whose firewall
// lets in what it must and whose kernel checks the way back. Where the address
// cannot be kept the tunnel works without. Nothing is left behind.
func TestClientAddress(t *testing.T) {
	for _, line := range []rig.Line{rig.Debian, rig.Current} {
		t.Run(string(line), func(t *testing.T) { clientAddress(t, rig.StartEngine(t, line)) })
	}
}

func clientAddress(t *testing.T, e *rig.Engine) {
	image := load(t, e, "v1", "v2")
	o := newOutside(t, e)
	h := host.Start(t, e, host.Options{})
	echo, greeting, web := rig.FreePort(t), rig.FreePort(t), rig.FreePort(t)
	harden(t, e, echo, greeting, web)
	h.App(t, "shop", fmt.Sprintf(seen, image, echo, greeting, web), map[string]string{"WEB_TAG": "v1"})
	h.Reconcile(t)
	h.WaitHealthy(t, "shop", time.Minute)

	check := func(version string) {
		t.Helper()
		for _, c := range []struct{ server, client string }{{inside4, outside4}, {inside6, outside6}} {
			for port, hello := range map[int]string{echo: "", greeting: "hello " + version} {
				// A container may not use its address of IPv6 in its first second.
				rig.Eventually(t, 20*time.Second, fmt.Sprintf("%s at port %d to see %s", version, port, c.client), func() error {
					conn, err := o.dial(net.JoinHostPort(c.server, fmt.Sprint(port)))
					peer, err := peerOf(conn, err, hello)
					if err == nil && peer != c.client {
						err = fmt.Errorf("the container sees %s", peer)
					}
					return err
				})
			}
		}
	}
	check("v1")
	local, err := e.DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", echo))
	if peer, err := peerOf(local, err, ""); err != nil || peer == outside4 || peer == "127.0.0.1" {
		t.Errorf("a client on the host: the container sees %q, %v; want the host's address", peer, err)
	}
	within := fmt.Sprintf("http://%s:%d/", inside4, web)
	if body, err := get(e, fmt.Sprintf("http://127.0.0.1:%d/call?url=%s", web, url.QueryEscape(within))); err != nil || !strings.Contains(body, "v1") {
		t.Errorf("a client within the container's network got %q, %v", body, err)
	}
	h.Set(t, "shop", map[string]string{"WEB_TAG": "v2"})
	h.Reconcile(t)
	h.Until(t, "shop", "on v2", host.On("db", "v2"))
	check("v2")
	h.Agent().Kill(t)
	check("v2")
	h.StartAgent(t)
	check("v2")
	h.Commit(t, "remove shop", rig.Remove("environments/"+host.Environment+"/shop"), rig.File("environments/"+host.Environment+"/environment.yaml",
		"version: 1\ndefault_placement: all\nremoved: [shop]\n"))
	h.Reconcile(t)
	rig.Eventually(t, 30*time.Second, "the policy routes to be gone", func() error { return noWays(e) })
}

// harden makes the host strict: packets must come from where their answers
// would go, and only what was asked for comes in.
func harden(t *testing.T, e *rig.Engine, ports ...int) {
	t.Helper()
	script := `
		for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 > $f; done
		for t in iptables ip6tables; do
			$t -A INPUT -i lo -j ACCEPT
			$t -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
			for p in PORTS; do $t -A INPUT -p tcp --dport $p -j ACCEPT; done
		done
		ip6tables -A INPUT -p icmpv6 -j ACCEPT
		iptables -A INPUT -s ` + e.HostAddr() + ` -j ACCEPT
		iptables -P INPUT DROP
		ip6tables -P INPUT DROP`
	list := strings.Trim(fmt.Sprint(ports), "[]")
	if out, err := e.Command("sh", "-ec", strings.ReplaceAll(script, "PORTS", list)).CombinedOutput(); err != nil {
		t.Fatalf("harden the host: %v: %s", err, out)
	}
}

// noWays is an error while the host has rules of ours.
func noWays(e *rig.Engine) error {
	out, err := e.Command("sh", "-c", "ip rule; ip -6 rule; ip route show table 5391693; ip -6 route show table 5391693").CombinedOutput()
	if err == nil && strings.Contains(string(out), "5391693") {
		err = errors.New(string(out))
	}
	return err
}
