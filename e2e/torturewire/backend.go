package main

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"syscall"
	"time"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/traffic"
)

// The ports of every backend, each at an address of its own.
const (
	httpPort  = 8080
	tcpPort   = 9000
	greetPort = 9001
	grpcPort  = 9002
)

// tempers are how backends take a stop, in turns.
func tempers() []string { return []string{"graceful", "abrupt", "stubborn", shortKeepAlive} }

// shortKeepAlive closes what was idle for 20 ms. Where it gets no core for as
// long, its timer fires before it has read what came in time.
const shortKeepAlive = "short-keepalive"

// instance is one backend: a process that stands for a container.
type instance struct {
	name    string
	addr    netip.Addr
	started time.Time
	down    bool
	process *rig.Process
}

// run starts a backend at an address and waits until it listens.
func (st *stage) run(version, temper string, addr netip.Addr) *instance {
	st.tb.Helper()
	st.hosts++
	i := &instance{name: fmt.Sprintf("%s.%d", version, st.hosts), addr: addr, started: time.Now()}
	at := func(port int) string { return netip.AddrPortFrom(addr, uint16(port)).String() }
	i.process = rig.Spawn(st.tb, i.name, exec.Command(st.program, "-version", version, "-instance", i.name, "-temper", temper,
		"-http", at(httpPort), "-tcp-echo", at(tcpPort), "-tcp-greeting", at(greetPort), "-grpc", at(grpcPort),
		"-record", st.collector.Record, "http", "tcp", "grpc"))
	for _, port := range []int{httpPort, tcpPort, greetPort, grpcPort} {
		rig.Eventually(st.tb, 20*time.Second, i.name+" to listen", func() error {
			if err := i.process.Alive(); err != nil {
				return err
			}
			c, err := net.Dial("tcp", at(port))
			if err == nil {
				err = c.Close()
			}
			return err
		})
	}
	return i
}

func (i *instance) endpoint() traffic.Endpoint {
	return traffic.Endpoint{Container: i.name, Instance: i.name, Started: i.started, Address: i.addr, Fixed: true, Down: i.down}
}

// kill ends a backend at once and returns when the kernel has closed all of its
// sockets.
func (st *stage) kill(i *instance) {
	i.process.Signal(st.tb, syscall.SIGKILL)
	<-i.process.Done()
}

// grace is how long a backend has after SIGTERM.
const grace = 200 * time.Millisecond

// stop ends a backend as an engine stops a container.
func (st *stage) stop(i *instance) {
	if i.process.Alive() != nil {
		return
	}
	i.process.Signal(st.tb, syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-i.process.Done():
	case <-timer.C:
		st.kill(i)
	}
}
