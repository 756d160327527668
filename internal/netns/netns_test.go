package netns

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// testBridge makes a bridge of its own with an address of the host on it.
func testBridge(t *testing.T) (name string, subnet netip.Prefix) {
	t.Helper()
	if err := Supported(); err != nil {
		t.Skipf("needs the right to make namespaces: %v", err)
	}
	n := rand.IntN(1 << 16)
	name = fmt.Sprintf("rmt%05d", n)
	subnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 201, byte(n), 0}), 24)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	br := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(br); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(br) })
	if err := netlink.AddrAdd(br, addrOf(netip.PrefixFrom(host(subnet, 1), 24))); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(br); err != nil {
		t.Fatal(err)
	}
	return name, subnet
}

func host(subnet netip.Prefix, n byte) netip.Addr {
	b := subnet.Addr().As4()
	b[3] = n
	return netip.AddrFrom4(b)
}

func testSpec(t *testing.T) Spec {
	t.Helper()
	bridge, subnet := testBridge(t)
	dir := t.TempDir()
	s := Spec{
		Name: "shop_default", Path: filepath.Join(dir, "netns", "shop_default"), Bridge: bridge,
		Addresses: []netip.Prefix{netip.PrefixFrom(host(subnet, 200), 24)},
		Gateway:   host(subnet, 1),
	}
	t.Cleanup(func() {
		if err := Remove(t.Context(), s); err != nil {
			t.Error(err)
		}
		_ = unix.Unmount(filepath.Join(dir, "netns"), unix.MNT_DETACH)
	})
	return s
}

// listenInside listens in the namespace and answers with its own address.
func listenInside(t *testing.T, path, addr string) error {
	t.Helper()
	type result struct {
		l   net.Listener
		err error
	}
	ch := make(chan result)
	go func() {
		runtime.LockOSThread()
		f, err := os.Open(path)
		if err == nil {
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		}
		if err != nil {
			ch <- result{nil, err}
			return
		}
		l, err := net.Listen("tcp", addr)
		ch <- result{l, err}
	}()
	r := <-ch
	if r.err != nil {
		return r.err
	}
	t.Cleanup(func() { _ = r.l.Close() })
	go func() {
		for {
			c, err := r.l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s\n", addr)
			_ = c.Close()
		}
	}()
	return nil
}

// reach connects. A bridge whose only port was away has no carrier, and the
// kernel may take a second to notice that it is back (linkwatch); a packet sent
// meanwhile is dropped, and sent again after another.
func reach(addr string) error {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

func TestEnsureServesAddress(t *testing.T) {
	s := testSpec(t)
	for range 3 { // doing it again changes nothing
		if err := Ensure(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	addr := net.JoinHostPort(s.Addresses[0].Addr().String(), "80")
	if err := listenInside(t, s.Path, addr); err != nil {
		t.Fatal(err)
	}
	if err := reach(addr); err != nil {
		t.Fatalf("the service address is not reached over the bridge: %v", err)
	}
}

func TestEnsureChangesAddresses(t *testing.T) {
	s := testSpec(t)
	first := s.Addresses[0]
	_, subnet := "", netip.PrefixFrom(first.Addr(), 24).Masked()
	second, third := netip.PrefixFrom(host(subnet, 201), 24), netip.PrefixFrom(host(subnet, 202), 24)
	for _, want := range [][]netip.Prefix{{first}, {first, second, third}, {second, third}, {third}, {first, third}} {
		s.Addresses = want
		if err := Ensure(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		for _, p := range []netip.Prefix{first, second, third} {
			port := 1000 + rand.IntN(60000)
			err := listenInside(t, s.Path, net.JoinHostPort(p.Addr().String(), fmt.Sprint(port)))
			wanted := false
			for _, w := range want {
				wanted = wanted || w == p
			}
			if wanted != (err == nil) {
				t.Errorf("with %v: listen on %s: %v", want, p, err)
			}
		}
	}
}

func TestEnsureRebuilds(t *testing.T) {
	s := testSpec(t)
	if err := Ensure(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for name, harm := range map[string]func() error{
		"link_gone": func() error {
			l, err := netlink.LinkByName(s.outside())
			if err != nil {
				return err
			}
			return netlink.LinkDel(l)
		},
		"link_out_of_bridge": func() error {
			l, err := netlink.LinkByName(s.outside())
			if err != nil {
				return err
			}
			return netlink.LinkSetNoMaster(l)
		},
		"rebooted": func() error { return unix.Unmount(s.Path, unix.MNT_DETACH) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := harm(); err != nil {
				t.Fatal(err)
			}
			if err := Ensure(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			addr := net.JoinHostPort(s.Addresses[0].Addr().String(), fmt.Sprint(1000+rand.IntN(60000)))
			if err := listenInside(t, s.Path, addr); err != nil {
				t.Fatal(err)
			}
			if err := reach(addr); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestRemove(t *testing.T) {
	s := testSpec(t)
	if err := Ensure(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Remove(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(s.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	if _, err := netlink.LinkByName(s.outside()); err == nil {
		t.Error("the link is still there")
	}
}

func TestEnsureNamesTheMissingBridge(t *testing.T) {
	s := testSpec(t)
	s.Bridge = "rmt-none"
	err := Ensure(t.Context(), s)
	if err == nil {
		t.Fatal("no error without the bridge")
	}
	t.Log(err)
}
