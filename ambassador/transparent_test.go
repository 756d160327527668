package ambassador

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
)

// TestClientAddressNotAllowed: without the right, tunnels come from the host's
// address and the report says so of the listener.
func TestClientAddressNotAllowed(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	tb := table(port, traffic.TCP, "v1", rel("v1", traffic.Active, echo(t, "v1")))
	tb.Listeners[0].KeepClient = true
	r.put(tb)
	c := connect(t, port)
	fmt.Fprint(c.c, "hello\n")
	readUntil(t, c, "v1: hello\n")
	w := r.wk.Report().Warnings
	if len(w) != 1 || w[0].Port != port || w[0].Owner != "env/app" || !strings.Contains(w[0].Text, "not here") {
		t.Errorf("the report warns of %+v", w)
	}
	tb.Listeners[0].KeepClient = false
	r.put(tb)
	if w := r.wk.Report().Warnings; len(w) != 0 {
		t.Errorf("the report warns of %+v", w)
	}
}

func TestWayTo(t *testing.T) {
	e := newEndpoint(newService("s"), traffic.Endpoint{Address: netip.MustParseAddr("10.210.0.130")})
	e.way.Store(wayOf(traffic.Endpoint{
		Network:  netip.MustParsePrefix("10.210.0.0/24"),
		Address6: netip.MustParseAddr("fd00::82"), Network6: netip.MustParsePrefix("fd00::/64"),
	}))
	for client, want := range map[string]string{
		"192.0.2.7":   "10.210.0.130",
		"10.210.1.7":  "10.210.0.130",
		"10.210.0.7":  "", // its answers would not come past us
		"2001:db8::7": "fd00::82",
		"fd00::7":     "",
	} {
		to, ok := e.wayTo(netip.MustParseAddr(client))
		if ok != (want != "") || ok && to.String() != want {
			t.Errorf("%s is led to %s, %v; want %q", client, to, ok, want)
		}
	}
	e.way.Store(wayOf(traffic.Endpoint{}))
	if to, ok := e.wayTo(netip.MustParseAddr("192.0.2.7")); ok {
		t.Errorf("on an endpoint without a way, to %s", to)
	}
}

func TestIsLocal(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1": true, "::1": true, "192.0.2.7": false, "2001:db8::7": false} {
		if got := isLocal(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is local: %v", addr, got)
		}
	}
}
