package main

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/remorahq/remora/e2e/conformance/smuggling"
	"github.com/remorahq/remora/e2e/proxy"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/traffic"
)

// field is an ambassador with backends behind it.
type field struct {
	ambassador  *proxy.Proxy
	backend     *smuggling.Backend
	http        int // leads to backend
	raw         int // leads to rawListener, whose bytes a test says
	scripted    int // leads to script, where varnishtest listens
	script      int
	proxied     int // leads to script, for peers that send a PROXY header
	rawListener net.Listener
}

// newField starts an ambassador from the folder bin.
func newField(t rig.TB, bin string) *field {
	t.Helper()
	b, err := smuggling.NewBackend()
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(b.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	t.Cleanup(func() { _ = l.Close() })
	f := &field{
		ambassador: proxy.Start(t, bin, proxy.Options{}), backend: b, rawListener: l,
		http: rig.FreePort(t), raw: rig.FreePort(t), scripted: rig.FreePort(t), script: rig.FreePort(t), proxied: rig.FreePort(t),
	}
	web, raw, script := "test/app/web", "test/app/raw", "test/app/script"
	proxied := proxy.Listener(f.proxied, traffic.HTTP, script, f.script)
	proxied.ProxyFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	f.ambassador.Put(t, traffic.Table{
		Services: []traffic.Service{proxy.Service(web), proxy.Service(raw), proxy.Service(script)},
		Listeners: []traffic.Listener{
			proxy.Listener(f.http, traffic.HTTP, web, b.Port()),
			proxy.Listener(f.raw, traffic.HTTP, raw, l.Addr().(*net.TCPAddr).Port),
			proxy.Listener(f.scripted, traffic.HTTP, script, f.script), proxied,
		},
	})
	return f
}

func (f *field) addr(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
