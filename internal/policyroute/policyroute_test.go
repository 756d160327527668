package policyroute

import (
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// alone moves the test into a network namespace of its own.
func alone(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("needs root, to make a network namespace: %v", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func way(s string) Way {
	a := netip.MustParseAddrPort(s)
	return Way{a.Addr(), a.Port()}
}

// shown is what ip(8) says, as people would look.
func shown(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "FIB table does not exist") {
		t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestWays(t *testing.T) {
	alone(t)
	a, b, c := way("10.210.0.130:443"), way("10.210.0.130:25"), way("[fd00::82]:443")
	for range 2 { // again is no change
		if err := Ensure([]Way{a, b, c}); err != nil {
			t.Fatal(err)
		}
	}
	have, err := present()
	if err != nil || len(have) != 3 || !slices.Contains(have, a) || !slices.Contains(have, b) || !slices.Contains(have, c) {
		t.Fatalf("there are %v, %v", have, err)
	}
	if s := shown(t, "rule"); !strings.Contains(s, "from 10.210.0.130 ipproto tcp sport 443 lookup 5391693") {
		t.Errorf("rules are\n%s", s)
	}
	if s := shown(t, "-6", "rule"); !strings.Contains(s, "from fd00::82 ipproto tcp sport 443 lookup 5391693") {
		t.Errorf("rules are\n%s", s)
	}
	for _, f := range []string{"-4", "-6"} {
		if s := shown(t, f, "route", "show", "table", "5391693"); !strings.Contains(s, "local default dev lo") {
			t.Errorf("routes %s are\n%s", f, s)
		}
	}
	if err := Prune(func(w Way) bool { return w == b }); err != nil {
		t.Fatal(err)
	}
	if have, err := present(); err != nil || !slices.Equal(have, []Way{b}) {
		t.Errorf("left are %v, %v", have, err)
	}
	if s := shown(t, "-6", "route", "show", "table", "5391693"); s != "" {
		t.Errorf("the route of IPv6 is left: %s", s)
	}
	for range 2 {
		if err := Prune(func(Way) bool { return false }); err != nil {
			t.Fatal(err)
		}
	}
	if s := shown(t, "rule"); strings.Contains(s, "5391693") {
		t.Errorf("rules are left:\n%s", s)
	}
	if s := shown(t, "route", "show", "table", "5391693"); s != "" {
		t.Errorf("the route is left: %s", s)
	}
}

// What others made is not touched, even in our table.
func TestOthersRulesStay(t *testing.T) {
	alone(t)
	shown(t, "rule", "add", "from", "10.0.0.9", "lookup", "5391693")
	if err := Ensure([]Way{way("10.210.0.130:443")}); err != nil {
		t.Fatal(err)
	}
	if err := Prune(func(Way) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if s := shown(t, "rule"); !strings.Contains(s, "10.0.0.9") || strings.Contains(s, "10.210.0.130") {
		t.Errorf("rules are\n%s", s)
	}
}
