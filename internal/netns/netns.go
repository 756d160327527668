// Package netns makes the small network namespaces that hold service
// addresses: one per container network, joined to the network's bridge by a
// veth pair, kept by a bind mount. The ambassador's holder opens listeners
// inside by path. The package must not know containers, tables or services.
//
// It works on the kernel only and keeps no state: every call compares what is
// there with what is wanted. Calls for different names may run concurrently;
// calls for one name must not overlap.
package netns

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	nsfile "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Inside is the name of the interface inside a namespace.
const Inside = "eth0"

// Spec is a namespace as it shall be.
type Spec struct {
	// Name is the container network's name; the names of links derive from it.
	Name string
	// Path is the file that keeps the namespace, such as
	// /run/remora/netns/shop_default. Its folder is made.
	Path string
	// Bridge is the host's bridge of the network, such as br-1f2e3d4c5b6a.
	Bridge string
	// Addresses are the service addresses with the network's prefix length.
	Addresses []netip.Prefix
	// Gateway is where answers to other networks go; zero for none.
	Gateway netip.Addr
}

// UnsupportedError says why namespaces cannot be made here.
type UnsupportedError struct {
	// Missing names what the process lacks.
	Missing []string
}

func (e *UnsupportedError) Error() string {
	return "service addresses need " + strings.Join(e.Missing, " and ") + ": grant them, or set names: direct"
}

// Supported says whether this process may make namespaces; the error, an
// [*UnsupportedError], says what is missing.
func Supported() error {
	effective, err := capabilities()
	if err != nil {
		return err
	}
	var missing []string
	for _, c := range []struct {
		bit  uint
		name string
	}{{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}} {
		if effective&(1<<c.bit) == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return &UnsupportedError{Missing: missing}
	}
	return nil
}

func capabilities() (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("read own capabilities: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if hexa, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(hexa), 16, 64)
		}
	}
	return 0, errors.New("read own capabilities: no CapEff in /proc/self/status")
}

// Ensure makes the namespace what s says: made when it is not there (after a
// reboot, too), joined to the bridge, with exactly these addresses. Doing it
// again changes nothing.
func Ensure(ctx context.Context, s Spec) error {
	if err := s.validate(); err != nil {
		return err
	}
	if err := Supported(); err != nil {
		return err
	}
	if err := ensureFile(s.Path); err != nil {
		return fmt.Errorf("network namespace of %s: %w", s.Name, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.ensureLinks(); err != nil {
		return fmt.Errorf("network namespace of %s: %w", s.Name, err)
	}
	return nil
}

func (s Spec) validate() error {
	switch {
	case s.Name == "" || s.Bridge == "":
		return errors.New("network namespace needs a name and a bridge")
	case !filepath.IsAbs(s.Path):
		return fmt.Errorf("network namespace of %s: path %q is not absolute", s.Name, s.Path)
	}
	for _, a := range s.Addresses {
		if !a.IsValid() {
			return fmt.Errorf("network namespace of %s: invalid address", s.Name)
		}
	}
	return nil
}

// Remove removes the namespace's file and its links. The namespace itself
// lives on while a socket in it is open. What is not there is no error.
func Remove(_ context.Context, s Spec) error {
	var errs []error
	if l, err := netlink.LinkByName(s.outside()); err == nil {
		errs = append(errs, netlink.LinkDel(l))
	}
	if err := unix.Unmount(s.Path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		errs = append(errs, fmt.Errorf("unmount %s: %w", s.Path, err))
	}
	if err := os.Remove(s.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove network namespace of %s: %w", s.Name, err)
	}
	return nil
}

// digest is what names and hardware addresses derive from.
func (s Spec) digest() [32]byte { return sha256.Sum256([]byte("remora netns " + s.Path)) }

// outside is the veth's name on the host, at most 15 bytes.
func (s Spec) outside() string {
	d := s.digest()
	return "rem" + hex.EncodeToString(d[:6])
}

// hardware is the inner interface's address. It is the same after a rebuild,
// so that what containers remember of it stays true.
func (s Spec) hardware() net.HardwareAddr {
	d := s.digest()
	return net.HardwareAddr{0x02, d[6], d[7], d[8], d[9], d[10]}
}

// ensureFile makes a namespace and keeps it by a bind mount on path.
func ensureFile(path string) error {
	if isNamespace(path) {
		return nil
	}
	if err := ensureFolder(filepath.Dir(path)); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, in its namespace.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("make network namespace: %w", err)
			return
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, ""); err != nil {
			done <- fmt.Errorf("keep network namespace: mount %s: %w", path, err)
			return
		}
		done <- nil
	}()
	return <-done
}

func isNamespace(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// ensureFolder makes the folder a shared mount, so that namespaces mounted in
// it are seen in other mount namespaces too.
func ensureFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := unix.Mount("none", dir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // it is no mount yet
		if err := unix.Mount(dir, dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
		err = unix.Mount("none", dir, "none", unix.MS_SHARED|unix.MS_REC, "")
	}
	if err != nil {
		return fmt.Errorf("share mount %s: %w", dir, err)
	}
	return nil
}

func (s Spec) ensureLinks() error {
	bridge, err := netlink.LinkByName(s.Bridge)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", s.Bridge, err)
	}
	ns, err := nsfile.GetFromPath(s.Path)
	if err != nil {
		return fmt.Errorf("open %s: %w", s.Path, err)
	}
	defer ns.Close() //nolint:errcheck // opened for reading
	in, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("enter %s: %w", s.Path, err)
	}
	defer in.Close()
	inner, err := in.LinkByName(Inside)
	if err != nil {
		if inner, err = s.join(in, ns); err != nil {
			return err
		}
	}
	if err := s.attach(bridge); err != nil {
		return err
	}
	if lo, err := in.LinkByName("lo"); err != nil {
		return fmt.Errorf("find lo: %w", err)
	} else if err := in.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	if err := in.LinkSetUp(inner); err != nil {
		return fmt.Errorf("set %s up: %w", Inside, err)
	}
	if err := s.ensureAddresses(in, inner); err != nil {
		return err
	}
	return s.ensureRoute(in, inner)
}

// join makes the veth pair with one end inside.
func (s Spec) join(in *netlink.Handle, ns nsfile.NsHandle) (netlink.Link, error) {
	if stale, err := netlink.LinkByName(s.outside()); err == nil {
		if err := netlink.LinkDel(stale); err != nil {
			return nil, fmt.Errorf("remove stale link %s: %w", s.outside(), err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = s.outside()
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: Inside, PeerHardwareAddr: s.hardware(), PeerNamespace: netlink.NsFd(ns)}
	if err := netlink.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("make link %s: %w", s.outside(), err)
	}
	inner, err := in.LinkByName(Inside)
	if err != nil {
		return nil, fmt.Errorf("find %s inside: %w", Inside, err)
	}
	return inner, nil
}

// attach puts the outer end into the bridge and up.
func (s Spec) attach(bridge netlink.Link) error {
	outer, err := netlink.LinkByName(s.outside())
	if err != nil {
		return fmt.Errorf("find link %s: %w", s.outside(), err)
	}
	if outer.Attrs().MasterIndex != bridge.Attrs().Index {
		if err := netlink.LinkSetMaster(outer, bridge); err != nil {
			return fmt.Errorf("join bridge %s: %w", s.Bridge, err)
		}
	}
	if err := netlink.LinkSetUp(outer); err != nil {
		return fmt.Errorf("set link %s up: %w", s.outside(), err)
	}
	return nil
}

// ensureAddresses adds what is missing and removes what is not wanted.
func (s Spec) ensureAddresses(in *netlink.Handle, inner netlink.Link) error {
	have, err := in.AddrList(inner, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	present := make(map[netip.Prefix]bool, len(have))
	for i := range have {
		p, ok := prefixOf(&have[i])
		if !ok || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		if !slices.Contains(s.Addresses, p) {
			if err := in.AddrDel(inner, &have[i]); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return fmt.Errorf("remove address %s: %w", p, err)
			}
			continue
		}
		present[p] = true
	}
	// Removing an IPv4 address may take its secondary ones along.
	for _, p := range s.Addresses {
		err := in.AddrReplace(inner, addrOf(p))
		if err != nil && !present[p] {
			return fmt.Errorf("add address %s: %w", p, err)
		}
	}
	return nil
}

func prefixOf(a *netlink.Addr) (netip.Prefix, bool) {
	addr, ok := netip.AddrFromSlice(a.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	ones, _ := a.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones), true
}

func addrOf(p netip.Prefix) *netlink.Addr {
	bits := p.Addr().BitLen()
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), bits)}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD // the address is ours by the ledger
	}
	return a
}

func (s Spec) ensureRoute(in *netlink.Handle, inner netlink.Link) error {
	if !s.Gateway.IsValid() || len(s.Addresses) == 0 {
		return nil
	}
	all := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	if s.Gateway.Is6() {
		all = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	route := &netlink.Route{LinkIndex: inner.Attrs().Index, Dst: all, Gw: s.Gateway.AsSlice()}
	if err := in.RouteReplace(route); err != nil {
		return fmt.Errorf("set route by %s: %w", s.Gateway, err)
	}
	return nil
}
