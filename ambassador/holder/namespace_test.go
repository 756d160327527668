package holder_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/internal/netns"
	"github.com/remorahq/remora/internal/traffic"
)

// serviceNetwork makes a bridge with a namespace for a service address, as the
// agent does.
func serviceNetwork(t *testing.T, run string) netns.Spec {
	t.Helper()
	if err := netns.Supported(); err != nil {
		t.Fatalf("run as root: the test makes namespaces: %v", err)
	}
	n := rand.IntN(1 << 16)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("rmh%05d", n)
	br := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(br); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(br) })
	own := netip.AddrFrom4([4]byte{10, 202, byte(n), 1})
	if err := netlink.AddrAdd(br, &netlink.Addr{IPNet: &net.IPNet{IP: own.AsSlice(), Mask: net.CIDRMask(24, 32)}}); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(br); err != nil {
		t.Fatal(err)
	}
	s := netns.Spec{
		Name: "shop_default", Path: filepath.Join(run, "netns", "shop"), Bridge: attrs.Name,
		Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 202, byte(n), 200}), 24)},
	}
	t.Cleanup(func() {
		if err := netns.Remove(t.Context(), s); err != nil {
			t.Error(err)
		}
		_ = unix.Unmount(filepath.Join(run, "netns"), unix.MNT_DETACH)
	})
	if err := netns.Ensure(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// A service address is served in its namespace: reached over the bridge, no
// port of the host taken, and again after the namespace was made anew.
func TestServiceAddress(t *testing.T) {
	dir := t.TempDir()
	s := serviceNetwork(t, filepath.Join(dir, "run"))
	p := start(t, dir)
	b := startBackend(t, "v1")
	port := freePort(t)
	tb := table(port, "v1", b.rel("v1", traffic.Active))
	tb.Namespaces = []traffic.Namespace{{Name: s.Name, Path: s.Path}}
	inside := tb.Listeners[0]
	inside.ListenerKey = traffic.ListenerKey{Namespace: s.Name, Address: s.Addresses[0].Addr(), Port: port}
	// The same port with the zero address, too: no collision with the host's.
	any := inside
	any.Address = netip.Addr{}
	any.Port++
	tb.Listeners = append(tb.Listeners, inside, any)
	if ack := p.put(tb); len(ack.Failures) != 0 {
		t.Fatalf("got %+v", ack.Failures)
	}
	address := func(port uint16) string { return netip.AddrPortFrom(s.Addresses[0].Addr(), port).String() }
	ask := func(to string) error {
		c, err := net.Dial("tcp", to)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = exchange(c, newReader(c), "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		return err
	}
	for _, to := range []string{address(port), address(port + 1), fmt.Sprintf("127.0.0.1:%d", port)} {
		if err := ask(to); err != nil {
			t.Errorf("%s: %v", to, err)
		}
	}
	if err := ask(fmt.Sprintf("127.0.0.1:%d", port+1)); err == nil {
		t.Error("a service address's port is taken on the host")
	}
	if err := netns.Remove(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := netns.Ensure(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	p.put(tb)
	for _, to := range []string{address(port), address(port + 1)} {
		if err := ask(to); err != nil {
			t.Errorf("%s in the namespace made anew: %v", to, err)
		}
	}
}

// A new worker that does not come up leaves the present one in place.
func TestBrokenUpgradeChangesNothing(t *testing.T) {
	good := program
	dir := t.TempDir()
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(dir, "remora-ambassador")
	if err := os.WriteFile(own, data, 0o755); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, own, dir)
	b := startBackend(t, "v1")
	port := freePort(t)
	p.put(table(port, "v1", b.rel("v1", traffic.Active)))
	before := p.workers()
	if err := os.Remove(own); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, []byte("#!/bin/false\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := p.client.Upgrade(t.Context()); err == nil || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("got %v", err)
	}
	c := dial(t, port)
	if _, err := exchange(c.c, c.br, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Error(err)
	}
	poll(t, "one worker", func() bool { w := p.workers(); return len(w) == 1 && w[0] == before[0] })
	if err := os.Remove(own); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := p.client.Upgrade(t.Context()); err != nil {
		t.Errorf("the good program again: %v", err)
	}
}
