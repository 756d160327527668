// Command upgrade upgrades the ambassador again and again while clients that
// never retry keep connections and WebSockets open, and counts what they met.
// Each time the program's file is replaced, so that the holder goes over too.
//
// It judges from outside, by the clients' log alone, and exits 1 when a
// connection was refused or reset, a request was lost, or a WebSocket is not
// the one it was, or silent, after the last upgrade.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/remorahq/remora/e2e/load"
	"github.com/remorahq/remora/e2e/proxy"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/traffic"
)

type settings struct {
	bin                 string
	n                   int
	clients, webSockets int
}

func main() {
	var s settings
	flag.StringVar(&s.bin, "bin", "", "folder with remora-ambassador (default: built from the tree)")
	flag.IntVar(&s.n, "n", 5, "upgrades")
	flag.IntVar(&s.clients, "clients", 64, "keep-alive clients, three in eight of them POSTing")
	flag.IntVar(&s.webSockets, "websockets", 8, "WebSockets")
	flag.Parse()
	os.Exit(rig.Run("upgrade", os.Stdout, func(t rig.TB) { run(t, s) }))
}

func run(t rig.TB, s settings) {
	f := start(t, s)
	for range s.n {
		f.answers(t, 500)
		f.upgrade(t)
	}
	last := time.Now()
	f.answers(t, 500)
	v := f.judge(t, last)
	fmt.Printf("upgrade: upgrades=%d clients=%d websockets=%d %s\n", s.n, s.clients, s.webSockets, v)
	if !v.ok(s.webSockets) {
		t.Errorf("upgrade: failed")
	}
}

// field is the ambassador, its backend and the load.
type field struct {
	from, program string
	proxy         *proxy.Proxy
	load          *load.Load
}

func start(t rig.TB, s settings) *field {
	f := &field{from: filepath.Join(cmp.Or(s.bin, rig.Product(t)), "remora-ambassador")}
	dir := t.TempDir()
	f.program = filepath.Join(dir, "remora-ambassador")
	f.replace(t)
	http, port := rig.FreePort(t), rig.FreePort(t)
	rig.Spawn(t, "backend", exec.Command(rig.TestProgram(t), "-http", fmt.Sprintf("127.0.0.1:%d", http), "http"))
	f.proxy = proxy.Start(t, dir, proxy.Options{})
	f.proxy.Put(t, traffic.Table{
		Services:  []traffic.Service{proxy.Service("web")},
		Listeners: []traffic.Listener{proxy.Listener(port, traffic.Detect, "web", http)},
	})
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	probe := &load.Probe{Dial: dial, Addr: fmt.Sprintf("127.0.0.1:%d", port)}
	defer probe.Close()
	rig.Eventually(t, 10*time.Second, "the backend", func() error { _, err := probe.Ask(t.Context()); return err })
	post := s.clients * 3 / 8
	g := load.Group{Addr: probe.Addr, MayClose: true}
	groups := []load.Group{g, g, g}
	groups[0].Kind, groups[0].Conns = load.Get, s.clients-post
	groups[1].Kind, groups[1].Conns = load.Post, post
	groups[2].Kind, groups[2].Conns, groups[2].MayClose = load.WebSocket, s.webSockets, false
	f.load = load.Start(t, dial, filepath.Join(dir, "clients.log"), groups...)
	return f
}

// replace puts the program in place as a package manager does: another file,
// renamed.
func (f *field) replace(t rig.TB) {
	data, err := os.ReadFile(f.from)
	if err == nil {
		err = os.WriteFile(f.program+".new", data, 0o755)
	}
	if err == nil {
		err = os.Rename(f.program+".new", f.program)
	}
	if err != nil {
		t.Fatalf("replace the program: %v", err)
	}
}

// answers waits for further ones.
func (f *field) answers(t rig.TB, more int64) {
	_, mark, _, _ := f.load.Totals()
	rig.Eventually(t, 30*time.Second, "traffic", func() error {
		if _, n, _, _ := f.load.Totals(); n < mark+more {
			return fmt.Errorf("%d answers more, want %d", n-mark, more)
		}
		return nil
	})
}

// upgrade calls the command and waits until the holder is the new program too.
func (f *field) upgrade(t rig.TB) {
	f.replace(t)
	out, err := exec.CommandContext(t.Context(), f.program, "upgrade", "--run", f.proxy.Run).CombinedOutput()
	if err != nil {
		t.Fatalf("upgrade: %v: %s", err, out)
	}
	rig.Eventually(t, 10*time.Second, "the holder's new program", func() error {
		own, err := os.Stat(fmt.Sprintf("/proc/%d/exe", f.proxy.Process.PID()))
		if err != nil {
			return err
		}
		want, err := os.Stat(f.program)
		if err == nil && !os.SameFile(own, want) {
			err = fmt.Errorf("the holder runs the former program")
		}
		return err
	})
}
