// Package policyroute brings answers of containers to clients back to this
// host: connections that the ambassador makes to a container from a client's
// own address (IP_TRANSPARENT) are answered to that client, and would leave the
// host. For each such address and port of a container there is a rule
//
//	ip rule add from 10.210.0.130 ipproto tcp sport 443 lookup 5391693
//
// and one route for all of them, in a table of its own,
//
//	ip route add local default dev lo table 5391693
//
// in IPv4 and IPv6 alike. Addresses of the host itself are found before, in the
// table local. The package must not know containers, tables of the ambassador
// or services.
//
// It works on the kernel only and keeps no state: every call compares what is
// there with what is wanted, and touches only what bears its table and protocol
// number. Calls must not overlap.
package policyroute

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// table is "REM".
	table = 0x52454d
	// priority is before the table main and after local.
	priority = 5270
	// protocol marks what is ours.
	protocol = 0xe4
)

// Way is a container's port whose answers come back to this host.
type Way struct {
	Address netip.Addr
	Port    uint16
}

func (w Way) String() string { return netip.AddrPortFrom(w.Address, w.Port).String() }

// ErrOldKernel says that rules cannot name a port here.
var ErrOldKernel = errors.New("policy routes by port need Linux 4.17")

// Ensure makes the ways that are not there yet.
func Ensure(ways []Way) error {
	have, err := present()
	if err != nil {
		return err
	}
	added := false
	for _, f := range families {
		wanted := slices.DeleteFunc(slices.Clone(ways), func(w Way) bool { return !f.of(w) })
		if len(wanted) == 0 {
			continue
		}
		if err := f.addRoute(); err != nil {
			return err
		}
		for _, w := range wanted {
			if slices.Contains(have, w) {
				continue
			}
			if err := change(unix.RTM_NEWRULE, w); err != nil {
				return fmt.Errorf("add policy route for %s: %w", w, err)
			}
			added = true
		}
	}
	if added {
		return check(ways)
	}
	return nil
}

// check takes back rules that the kernel took for wider ones: an old one skips
// what it does not know.
func check(ways []Way) error {
	have, err := present()
	if err != nil {
		return err
	}
	for _, w := range ways {
		if !slices.Contains(have, w) {
			return errors.Join(fmt.Errorf("policy route for %s: %w", w, ErrOldKernel), Prune(func(Way) bool { return false }))
		}
	}
	return nil
}

// Prune removes all ways but those to keep, and with the last one of a family
// its route.
func Prune(keep func(Way) bool) error {
	rules, err := list()
	if err != nil || len(rules) == 0 {
		return err
	}
	var errs []error
	left := map[family]bool{}
	for i := range rules {
		w, ok := wayOf(&rules[i])
		if ok && keep(w) {
			left[family(rules[i].Family)] = true
			continue
		}
		if err := remove(&rules[i]); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove policy route %s: %w", rules[i], err))
		}
	}
	for _, f := range families {
		if !left[f] {
			errs = append(errs, f.removeRoute())
		}
	}
	return errors.Join(errs...)
}

// present lists the ways that are there.
func present() ([]Way, error) {
	rules, err := list()
	if err != nil {
		return nil, err
	}
	var out []Way
	for i := range rules {
		if w, ok := wayOf(&rules[i]); ok {
			out = append(out, w)
		}
	}
	return out, nil
}

// list lists the rules that are ours.
func list() ([]netlink.Rule, error) {
	var out []netlink.Rule
	for _, f := range families {
		rules, err := netlink.RuleListFiltered(int(f), &netlink.Rule{Table: table}, netlink.RT_FILTER_TABLE)
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // no such family on this host
		}
		if err != nil {
			return nil, fmt.Errorf("list policy routes: %w", err)
		}
		for _, r := range rules {
			if r.Protocol == protocol {
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// wayOf reads a rule; false is one that is wider than we make them.
func wayOf(r *netlink.Rule) (Way, bool) {
	if r.Src == nil || r.Sport == nil || r.Sport.Start != r.Sport.End || r.IPProto == 0 {
		return Way{}, false
	}
	addr, ok := netip.AddrFromSlice(r.Src.IP)
	ones, bits := r.Src.Mask.Size()
	return Way{Address: addr, Port: r.Sport.Start}, ok && ones == bits
}

// family is AF_INET or AF_INET6.
type family int

var families = [...]family{unix.AF_INET, unix.AF_INET6}

func (f family) of(w Way) bool { return w.Address.Is4() == (f == unix.AF_INET) }

// route delivers everything here.
func (f family) route() (*netlink.Route, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("find lo: %w", err)
	}
	all := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	if f == unix.AF_INET6 {
		all = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	return &netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: all, Table: table, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST, Protocol: protocol,
	}, nil
}

func (f family) addRoute() error {
	r, err := f.route()
	if err == nil {
		err = netlink.RouteReplace(r)
	}
	if err != nil {
		return fmt.Errorf("add local route: %w", err)
	}
	return nil
}

func (f family) removeRoute() error {
	r, err := f.route()
	if err == nil {
		err = netlink.RouteDel(r)
	}
	for _, absent := range []error{unix.ESRCH, unix.ENOENT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP} {
		if errors.Is(err, absent) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("remove local route: %w", err)
	}
	return nil
}
