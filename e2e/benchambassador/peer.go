package main

import (
	_ "embed"
	"os"
	"strconv"

	"github.com/remorahq/remora/e2e/rig"
)

//go:embed peers/haproxy.cfg
var haproxyConf string

//go:embed peers/nginx.conf
var nginxConf string

//go:embed peers/Caddyfile
var caddyConf string

// peer is a running proxy.
type peer struct {
	name                 string
	HTTP, TLS, TCP, Bulk int // its ports
	Dir, Log             string
	process              *rig.Process
}

// kind is a proxy that can be measured.
type kind struct {
	name  string
	start func(t rig.TB, f *field, p *peer)
}

// ours is the name of what is compared with the others.
const ours = "remora"

func kinds() []kind {
	return []kind{
		{ours, startRemora},
		{"haproxy", startHAProxy},
		{"nginx", func(t rig.TB, f *field, p *peer) {
			p.process = rig.Spawn(t, p.name, pinned(f.cores.proxy, "nginx", "-c", f.render(t, p, "nginx.conf", nginxConf)))
		}},
		{"caddy", func(t rig.TB, f *field, p *peer) {
			path := f.render(t, p, "Caddyfile", caddyConf)
			p.process = rig.Spawn(t, p.name, pinned(f.cores.proxy, "caddy", "run", "--adapter", "caddyfile", "--config", path))
		}},
		{"httputil", func(t rig.TB, f *field, p *peer) {
			self, err := os.Executable()
			if err != nil {
				t.Fatalf("find own program: %v", err)
			}
			cmd := pinned(f.cores.proxy, self, "httputil", strconv.Itoa(p.HTTP), strconv.Itoa(f.Backend), p.Dir)
			p.process = rig.Spawn(t, p.name, cmd)
		}},
	}
}

// startHAProxy gives it a reader for its log, as a syslog daemon would be, on
// the core of the clients.
func startHAProxy(t rig.TB, f *field, p *peer) {
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("find own program: %v", err)
	}
	p.Log = p.Dir + "/log.sock"
	rig.Spawn(t, "syslog", pinned(f.cores.load, self, "syslog", p.Log, p.Dir+"/access.log"))
	awaitFile(t, p.Log)
	p.process = rig.Spawn(t, p.name, pinned(f.cores.proxy, "haproxy", "-db", "-f", f.render(t, p, "haproxy.cfg", haproxyConf)))
}
