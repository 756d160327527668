// Package proxy runs the ambassador alone: the real program as processes of
// its own, with a table that the caller gives it in the agent's place. It
// shares the table's types and the control client with the product, and judges
// nothing.
//
// Its functions are called from the test's own goroutine.
package proxy

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/remorahq/remora/ambassador/control"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/traffic"
)

// Proxy is a running ambassador.
type Proxy struct {
	// Run and State are its folders.
	Run, State string
	// Client calls its control API.
	Client *control.Client
	// Process is its holder.
	Process *rig.Process

	boot       string
	generation uint64
}

// Options say how to start one; the zero value does.
type Options struct {
	// Command makes the command, such as one that is pinned to a core; default
	// exec.Command.
	Command func(name string, args ...string) *exec.Cmd
	// Dir holds its folders; default a temporary one.
	Dir string
	// Args are further arguments.
	Args []string
}

// Start starts the ambassador from the folder bin and waits until it answers.
// It ends with the test.
func Start(t rig.TB, bin string, o Options) *Proxy {
	t.Helper()
	if o.Command == nil {
		o.Command = exec.Command
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatalf("read the boot ID: %v", err)
	}
	p := &Proxy{Run: filepath.Join(o.Dir, "run"), State: filepath.Join(o.Dir, "state"), boot: strings.TrimSpace(string(boot))}
	args := append([]string{"--run", p.Run, "--state", p.State}, o.Args...)
	p.Process = rig.Spawn(t, "ambassador", o.Command(filepath.Join(bin, "remora-ambassador"), args...))
	p.Client = control.NewClient(filepath.Join(p.Run, "ambassador.sock"))
	t.Cleanup(p.Client.Close)
	rig.Eventually(t, 10*time.Second, "the ambassador to answer", func() error {
		_, err := p.Client.Report(t.Context())
		return err
	})
	return p
}

// Put makes a table the one in force, with the next generation.
func (p *Proxy) Put(t rig.TB, table traffic.Table) {
	t.Helper()
	p.generation++
	table.Version, table.Generation, table.BootID = traffic.FormatVersion, p.generation, p.boot
	ack, err := p.Client.Put(t.Context(), &table)
	if err == nil && len(ack.Failures) > 0 {
		err = fmt.Errorf("%+v", ack.Failures)
	}
	if err != nil {
		t.Fatalf("put table: %v", err)
	}
}

// Service is a service of one release with one endpoint at 127.0.0.1.
func Service(name string) traffic.Service {
	return traffic.Service{
		Name: name, App: "test/app", Active: "v1", HoldFor: 5 * time.Second,
		Releases: []traffic.Release{{Name: "v1", State: traffic.Active, Endpoints: []traffic.Endpoint{
			{Container: name, Instance: "1", Address: netip.MustParseAddr("127.0.0.1"), Fixed: true},
		}}},
	}
}

// Listener is a listener at 127.0.0.1 whose one route leads to a port of a
// service.
func Listener(port int, protocol traffic.Protocol, service string, to int) traffic.Listener {
	return traffic.Listener{
		ListenerKey: traffic.ListenerKey{Address: netip.MustParseAddr("127.0.0.1"), Port: uint16(port)},
		Protocol:    protocol, Owner: "test/app",
		Routes: []traffic.Route{{Service: service, Port: uint16(to)}},
	}
}
