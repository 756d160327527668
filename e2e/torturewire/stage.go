package main

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/remorahq/remora/e2e/proxy"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/e2e/wire"
	"github.com/remorahq/remora/internal/traffic"
)

// stage is one ambassador with its backends, for one event. It plays the agent:
// it belongs to one goroutine.
type stage struct {
	ground
	program   string // the backends'
	proxy     *proxy.Proxy
	ports     ports
	subnet    byte // 127.subnet.x.y are the backends' addresses
	hosts     int  // backends so far
	addresses int

	web, slow, stranger *service
}

// ports are what the ambassador listens on.
type ports struct{ http, tcp, greet, grpc, slow int }

func newStage(tb rig.TB, bin, dir string, web *service) *stage {
	st := &stage{
		ground:  ground{tb: tb, dir: dir, dial: new(net.Dialer).DialContext, collector: rig.StartCollector(tb, "127.0.0.1")},
		program: rig.TestProgram(tb), subnet: byte(64 + os.Getpid()%128),
		proxy: proxy.Start(tb, bin, proxy.Options{}),
		ports: ports{rig.FreePort(tb), rig.FreePort(tb), rig.FreePort(tb), rig.FreePort(tb), rig.FreePort(tb)},
		web:   web, slow: &service{name: "slow", temper: "slow", size: 2}, stranger: &service{name: wire.Stranger, size: 2, temper: "graceful"},
	}
	for _, s := range []*service{st.web, st.slow} {
		st.promote(s, st.warm(s), 0, 0)
	}
	st.put()
	st.direct = netip.AddrPortFrom(st.run(control, "graceful", st.address()).addr, httpPort).String()
	return st
}

func (st *stage) services() []*service { return []*service{st.web, st.slow, st.stranger} }

// address is one of a backend that nobody had before.
func (st *stage) address() netip.Addr {
	st.addresses++
	return netip.AddrFrom4([4]byte{127, st.subnet, byte(st.addresses / 200), byte(1 + st.addresses%200)})
}

// grpcListener is the index of the one whose containers speak HTTP/2.
const grpcListener = 3

// put makes the services as they are the table in force.
func (st *stage) put() {
	st.tb.Helper()
	t := traffic.Table{AccessLog: traffic.AccessLog{Format: "json", MaxSize: 1 << 30}, Listeners: []traffic.Listener{
		proxy.Listener(st.ports.http, traffic.Detect, st.web.full(), httpPort),
		proxy.Listener(st.ports.tcp, traffic.Detect, st.web.full(), tcpPort),
		proxy.Listener(st.ports.greet, traffic.Detect, st.web.full(), greetPort),
		proxy.Listener(st.ports.grpc, traffic.Detect, st.web.full(), grpcPort),
		proxy.Listener(st.ports.slow, traffic.Detect, st.slow.full(), httpPort),
	}}
	t.Listeners[grpcListener].Routes[0].Upstream = traffic.UpstreamH2C
	for _, s := range st.services() {
		t.Services = append(t.Services, s.traffic())
	}
	st.proxy.Put(st.tb, t)
}

func (st *stage) report() traffic.Report {
	rep, err := st.proxy.Client.Report(st.tb.Context())
	if err != nil {
		st.tb.Fatalf("report: %v", err)
	}
	return rep
}

// until waits until the ambassador reports what is asked for.
func (st *stage) until(what string, ok func(traffic.Report) bool) {
	st.tb.Helper()
	rig.Eventually(st.tb, 30*time.Second, what, func() error {
		if !ok(st.report()) {
			return errors.New("it is not")
		}
		return nil
	})
}

// keepAccessLog moves the ambassador's own account to the run's logs, for who
// looks into them; the judge does not.
func (st *stage) keepAccessLog() {
	const name = "access.log"
	err := os.Rename(filepath.Join(st.proxy.State, name), filepath.Join(st.dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		st.tb.Logf("keep the access log: %v", err)
	}
}
