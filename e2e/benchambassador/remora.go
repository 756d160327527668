package main

import (
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/remorahq/remora/e2e/proxy"
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
	command := func(name string, args ...string) *exec.Cmd { return pinned(f.cores.proxy, name, args...) }
	amb := proxy.Start(t, f.bin, proxy.Options{Dir: p.Dir, Command: command})
	p.process = amb.Process
	f.giveCertificate(t, amb)
	amb.Put(t, f.table(p))
}

// certificate is the name of the bench's certificate.
const certificate = "bench"

func (f *field) giveCertificate(t rig.TB, amb *proxy.Proxy) {
	chain, err := os.ReadFile(f.chain)
	if err != nil {
		t.Fatalf("read certificate: %v", err)
	}
	key, err := os.ReadFile(f.key)
	if err != nil {
		t.Fatalf("read key: %v", err)
	}
	if err := amb.Client.PutCertificates(t.Context(), []traffic.Certificate{{Name: certificate, Chain: chain, Key: key}}); err != nil {
		t.Fatalf("put certificate: %v", err)
	}
}

// table leads to the backends by routes of a host with a few of them.
func (f *field) table(p *peer) traffic.Table {
	const service, tunnels = "bench/web/web", "bench/web/tcp"
	web := proxy.Listener(p.HTTP, traffic.HTTP, service, f.Backend)
	for i := range 20 { // a table with some names in it
		web.Routes = append(web.Routes, traffic.Route{Host: fmt.Sprintf("app%d.example.com", i), Service: service, Port: uint16(f.Backend)})
	}
	secure := proxy.Listener(p.TLS, traffic.TLS, service, f.Backend)
	secure.TLS = []traffic.ServerName{{Certificate: certificate}}
	return traffic.Table{
		AccessLog: traffic.AccessLog{Format: "json"},
		Services:  []traffic.Service{proxy.Service(service), proxy.Service(tunnels)},
		Listeners: []traffic.Listener{
			web, secure,
			proxy.Listener(p.TCP, traffic.TCP, tunnels, f.Echo),
			proxy.Listener(p.Bulk, traffic.TCP, tunnels, f.Source),
		},
	}
}
