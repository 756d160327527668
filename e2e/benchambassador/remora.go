package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/remorahq/remora/ambassador/control"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/traffic"
)

func awaitFile(t rig.TB, path string) {
	rig.Eventually(t, 10*time.Second, path+" to exist", func() error {
		_, err := os.Stat(path)
		return err
	})
}

// startRemora starts the ambassador as a service manager would, and tells it
// what an agent would.
func startRemora(t rig.TB, f *field, p *peer) {
	run := filepath.Join(p.Dir, "run")
	p.process = rig.Spawn(t, p.name, pinned(f.cores.proxy, filepath.Join(f.bin, "remora-ambassador"), "--run", run, "--state", filepath.Join(p.Dir, "state")))
	socket := filepath.Join(run, "ambassador.sock")
	awaitFile(t, socket)
	client := control.NewClient(socket)
	defer client.Close()
	rig.Eventually(t, 10*time.Second, "the table to be taken", func() error {
		ack, err := client.Put(t.Context(), f.table(p))
		if err == nil && len(ack.Failures) > 0 {
			err = fmt.Errorf("%+v", ack.Failures)
		}
		return err
	})
}

// table leads to the backends by routes of a host with a few of them.
func (f *field) table(p *peer) *traffic.Table {
	service := func(name string) traffic.Service {
		return traffic.Service{
			Name: name, App: "bench/web", Active: "v1", HoldFor: 5 * time.Second,
			Releases: []traffic.Release{{Name: "v1", State: traffic.Active, Endpoints: []traffic.Endpoint{
				{Container: name, Instance: "1", Address: netip.MustParseAddr("127.0.0.1"), Fixed: true},
			}}},
		}
	}
	listener := func(port int, protocol traffic.Protocol, service string, to int) traffic.Listener {
		return traffic.Listener{
			ListenerKey: traffic.ListenerKey{Address: netip.MustParseAddr("127.0.0.1"), Port: uint16(port)},
			Protocol:    protocol, Owner: "bench/web",
			Routes: []traffic.Route{{Service: service, Port: uint16(to)}},
		}
	}
	web := listener(p.HTTP, traffic.HTTP, "bench/web/web", f.Backend)
	for i := range 20 { // a table with some names in it
		web.Routes = append(web.Routes, traffic.Route{Host: fmt.Sprintf("app%d.example.com", i), Service: "bench/web/web", Port: uint16(f.Backend)})
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		boot = []byte("\n")
	}
	return &traffic.Table{
		Version: traffic.FormatVersion, Generation: 1, BootID: string(boot[:len(boot)-1]),
		AccessLog: traffic.AccessLog{Format: "json"},
		Services:  []traffic.Service{service("bench/web/web"), service("bench/web/tcp")},
		Listeners: []traffic.Listener{
			web,
			listener(p.TCP, traffic.TCP, "bench/web/tcp", f.Echo),
			listener(p.Bulk, traffic.TCP, "bench/web/tcp", f.Source),
		},
	}
}
