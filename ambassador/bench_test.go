package ambassador

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// largeTable is a host with n services that have an active release and a
// standby each.
func largeTable(n int, port uint16) *traffic.Table {
	tb := &traffic.Table{Listeners: []traffic.Listener{{
		ListenerKey: traffic.ListenerKey{Address: netip.MustParseAddr("127.0.0.1"), Port: port}, Protocol: traffic.HTTP,
	}}}
	for i := range n {
		name := fmt.Sprintf("production/app%d/web", i)
		release := func(r string, s traffic.ReleaseState) traffic.Release {
			return traffic.Release{Name: r, State: s, Paused: s == traffic.Standby, Endpoints: []traffic.Endpoint{
				{Container: fmt.Sprintf("%064d", i), Address: netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), Fixed: true},
			}}
		}
		tb.Services = append(tb.Services, traffic.Service{
			Name: name, Active: "v2", HoldFor: time.Second,
			Releases: []traffic.Release{release("v2", traffic.Active), release("v1", traffic.Standby)},
		})
		tb.Listeners[0].Routes = append(tb.Listeners[0].Routes, traffic.Route{Host: fmt.Sprintf("app%d.example.com", i), Service: name, Port: backendPort})
	}
	return tb
}

// BenchmarkPut is the time from a table of 1,000 services to its Ack, its file
// synced to disk.
func BenchmarkPut(b *testing.B) {
	wk := New(Options{StateDir: b.TempDir(), Opener: directly{}, Log: discard(), BootID: "boot"})
	b.Cleanup(wk.Close)
	if err := wk.Lead(b.Context()); err != nil {
		b.Fatal(err)
	}
	tb := largeTable(1000, freePort(b))
	tb.Version, tb.BootID = traffic.FormatVersion, "boot"
	for b.Loop() {
		cp := *tb
		tb.Generation++
		cp.Generation = tb.Generation
		if _, err := wk.Put(b.Context(), &cp); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReport is one report of 1,000 services.
func BenchmarkReport(b *testing.B) {
	wk := New(Options{StateDir: b.TempDir(), Opener: directly{}, Log: discard(), BootID: "boot"})
	b.Cleanup(wk.Close)
	if err := wk.Lead(b.Context()); err != nil {
		b.Fatal(err)
	}
	tb := largeTable(1000, freePort(b))
	tb.Version, tb.BootID, tb.Generation = traffic.FormatVersion, "boot", 1
	if _, err := wk.Put(b.Context(), tb); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		wk.Report()
	}
}
