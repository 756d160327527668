package ambassador

import (
	"fmt"
	"io"
	"net/netip"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
)

// A client has so many connections at once and no more; the host itself and
// trusted proxies, which speak for many, are not counted.
func TestConnectionsOfOneClientAreBounded(t *testing.T) {
	var c clients
	v := &view{table: &traffic.Table{
		Limits:         traffic.Limits{PerClient: 2},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}}
	enter := func(s string) bool {
		_, ok := c.enter(v, netip.MustParseAddr(s))
		return ok
	}
	if !enter("2001:db8::1") || !enter("2001:db8::2") || enter("2001:db8::3") {
		t.Error("want two connections of a /64, and not a third")
	}
	if !enter("192.0.2.1") {
		t.Error("another client is refused")
	}
	c.leave(netip.MustParseAddr("2001:db8::2"))
	if !enter("2001:db8::4") || enter("2001:db8::4") {
		t.Error("want one more after one has ended")
	}
	for range 5 {
		if !enter("127.0.0.1") || !enter("10.1.2.3") {
			t.Error("the host or a trusted proxy is refused")
		}
	}
	for _, s := range []string{"2001:db8::1", "2001:db8::1", "192.0.2.1"} {
		c.leave(netip.MustParseAddr(s))
	}
	for i := range c.shards {
		if n := len(c.shards[i].open); n > 0 {
			t.Errorf("%d clients are remembered that have no connection", n)
		}
	}
}

// A client's connections beyond its limit are reset, and it may have another
// when one has ended. Behind a proxy that sends the PROXY protocol it is whom
// that speaks for.
func TestConnectionsBeyondTheLimitAreReset(t *testing.T) {
	r, b := newRig(t), startBackend(t, "v1")
	port := freePort(t)
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b))
	tb.Limits.PerClient = 2
	tb.Listeners[0].ProxyFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	r.put(tb)
	hello := func(ip string) string { return fmt.Sprintf("PROXY TCP4 %s 192.0.2.1 4711 80\r\n", ip) }
	open := func(ip string) *client {
		c := connect(t, port)
		if _, err := io.WriteString(c.c, hello(ip)); err != nil {
			t.Fatal(err)
		}
		c.want("GET", get("/"), 200, "v1")
		return c
	}
	one := open("192.0.2.7")
	open("192.0.2.7")
	open("192.0.2.8")
	wantReset(t, port, hello("192.0.2.7")+get("/"))
	_ = one.c.Close()
	r.await("the connection's end", func(traffic.Report) bool { return r.wk.conns.count() == 2 })
	open("192.0.2.7").want("GET", get("/"), 200, "v1")
	wantReset(t, port, hello("192.0.2.7")+get("/"))
}
