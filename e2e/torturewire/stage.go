package main

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/remorahq/remora/e2e/load"
	"github.com/remorahq/remora/e2e/proxy"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/e2e/wire"
	"github.com/remorahq/remora/internal/traffic"
)

// stage is one ambassador with its backends, for one event. It plays the agent:
// it belongs to one goroutine.
type stage struct {
	tb        rig.TB
	program   string // the backends'
	collector *rig.Collector
	proxy     *proxy.Proxy
	ports     ports
	dir       string // of the run's logs
	subnet    byte   // 127.subnet.x.y are the backends' addresses
	hosts     int    // backends so far
	addresses int
	incidents []wire.Incident

	web, slow, stranger *service
}

// ports are what the ambassador listens on.
type ports struct{ http, tcp, greet, grpc, slow int }

func newStage(tb rig.TB, bin, dir string, web *service) *stage {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tb.Fatalf("make folder of the logs: %v", err)
	}
	st := &stage{
		tb: tb, dir: dir, program: rig.TestProgram(tb), collector: rig.StartCollector(tb, "127.0.0.1"), subnet: byte(64 + os.Getpid()%128),
		proxy: proxy.Start(tb, bin, proxy.Options{}),
		ports: ports{rig.FreePort(tb), rig.FreePort(tb), rig.FreePort(tb), rig.FreePort(tb), rig.FreePort(tb)},
		web:   web, slow: &service{name: "slow", temper: "slow", size: 2}, stranger: &service{name: wire.Stranger, size: 2},
	}
	for _, s := range []*service{st.web, st.slow} {
		st.promote(s, st.warm(s), 0, 0)
	}
	st.put()
	return st
}

func (st *stage) services() []*service { return []*service{st.web, st.slow, st.stranger} }

// address is one of a backend that nobody had before.
func (st *stage) address() netip.Addr {
	st.addresses++
	return netip.AddrFrom4([4]byte{127, st.subnet, byte(st.addresses / 200), byte(1 + st.addresses%200)})
}

// put makes the services as they are the table in force.
func (st *stage) put() {
	st.tb.Helper()
	t := traffic.Table{Listeners: []traffic.Listener{
		proxy.Listener(st.ports.http, traffic.Detect, st.web.full(), httpPort),
		proxy.Listener(st.ports.tcp, traffic.Detect, st.web.full(), tcpPort),
		proxy.Listener(st.ports.greet, traffic.Detect, st.web.full(), greetPort),
		proxy.Listener(st.ports.grpc, traffic.Detect, st.web.full(), grpcPort),
		proxy.Listener(st.ports.slow, traffic.Detect, st.slow.full(), httpPort),
	}}
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

// incident notes that something happened from begin until now.
func (st *stage) incident(what wire.Event, begin time.Time, instances ...string) {
	st.incidents = append(st.incidents, wire.Incident{What: what, Begin: begin, End: time.Now(), Instances: instances})
}

// rest lets the load go on for a while; false says that ctx has ended.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// torture has an event happen under load for a time, and writes down what the
// judge needs.
func (st *stage) torture(e wire.Event, groups []load.Group, d time.Duration) {
	alone := st.run("control", "graceful", st.address())
	direct := load.Group{Kind: load.Get, Addr: netip.AddrPortFrom(alone.addr, httpPort).String(), Conns: 8, Rate: 80}
	control := load.Start(st.tb, dial, filepath.Join(st.dir, wire.ControlFile), direct)
	clients := load.Start(st.tb, dial, filepath.Join(st.dir, wire.ClientsFile), groups...)
	ctx, cancel := context.WithTimeout(st.tb.Context(), d)
	defer cancel()
	st.happen(ctx, e)
	for _, l := range []*load.Load{clients, control} {
		if err := l.Stop(); err != nil {
			st.tb.Fatalf("load: %v", err)
		}
	}
	if err := wire.Save(st.dir, e, st.account(), st.incidents); err != nil {
		st.tb.Fatalf("keep the backends' account: %v", err)
	}
}

// account is the backends', once all of it has come in, without the program
// that is no backend.
func (st *stage) account() []rig.Entry {
	last := -1
	rig.Eventually(st.tb, 10*time.Second, "the backends' account to be complete", func() error {
		n := len(st.collector.Entries())
		defer func() { last = n }()
		if n != last {
			return errors.New("entries still come")
		}
		return nil
	})
	var out []rig.Entry
	for _, e := range st.collector.Entries() {
		if e.Version != "control" {
			out = append(out, e)
		}
	}
	return out
}
