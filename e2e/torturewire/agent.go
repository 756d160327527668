package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/e2e/wire"
	"github.com/remorahq/remora/internal/status"
)

// agentStage is a whole remora on a real engine, for the agent's death.
type agentStage struct {
	ground
	host    *host.Host
	ports   ports
	release int
}

func newAgentStage(tb rig.TB, bin, dir string) *agentStage {
	e := rig.StartEngine(tb, rig.Debian)
	st := &agentStage{
		ground: ground{tb: tb, dir: dir, dial: e.DialContext, collector: rig.StartCollector(tb, e.HostAddr())},
		ports:  ports{rig.FreePort(tb), rig.FreePort(tb), rig.FreePort(tb), rig.FreePort(tb), rig.FreePort(tb)},
	}
	image := e.LoadImage(tb, rig.Image{Name: rig.Unique("wire") + ":v1", Cmd: []string{"http", "tcp", "grpc"}})
	alone := e.Run(tb, rig.Spec{Image: image, Env: map[string]string{"APP_VERSION": control, "APP_RECORD": st.collector.Record}})
	st.direct = fmt.Sprintf("%s:%d", alone.IP(tb), httpPort)
	st.host = host.Start(tb, e, host.Options{Bin: bin})
	st.host.App(tb, "wire", st.compose(image), st.wanted())
	st.host.Reconcile(tb)
	st.settled()
	return st
}

func (st *agentStage) compose(image string) string {
	const service = `  %s:
    image: %s
    environment: {APP_VERSION: "%[1]s-${RELEASE}", APP_TEMPER: %[3]s, APP_RECORD: "%[4]s"}
    ports: [%[5]s]
    stop_grace_period: 1s
    deploy: {update_config: {monitor: 100ms}}
    x-remora: {probe: {http: /health}}
`
	web := fmt.Sprintf(`"%d:%d", "%d:%d", "%d:%d", "%d:%d"`, st.ports.http, httpPort, st.ports.tcp, tcpPort, st.ports.greet, greetPort, st.ports.grpc, grpcPort)
	slow := fmt.Sprintf(`"%d:%d"`, st.ports.slow, httpPort)
	return "services:\n" +
		fmt.Sprintf(service, "web", image, "abrupt", st.collector.Record, web) +
		fmt.Sprintf(service, "slow", image, "slow", st.collector.Record, slow)
}

// wanted makes the next release of both services.
func (st *agentStage) wanted() map[string]string {
	st.release++
	return map[string]string{"RELEASE": fmt.Sprint(st.release)}
}

// settled waits until what is wanted has the traffic.
func (st *agentStage) settled() {
	st.host.Until(st.tb, "wire", "settled", func(a status.App) bool {
		return a.Rollout == nil && a.Sync == status.Synced && a.Health == status.Healthy
	})
}

// happen kills the agent while it is idle and at moments of a rollout, leaves
// the data plane alone for a while, and starts the agent again.
func (st *agentStage) happen(ctx context.Context) {
	for n := 0; rest(ctx, 500*time.Millisecond); n++ {
		if n%2 == 1 {
			st.host.Set(st.tb, "wire", st.wanted())
			st.host.Reconcile(st.tb)
			rest(st.tb.Context(), time.Duration(n*97%800)*time.Millisecond)
		}
		begin := time.Now()
		st.host.Agent().Signal(st.tb, syscall.SIGKILL)
		<-st.host.Agent().Done()
		st.incident(wire.Agent, begin)
		rest(st.tb.Context(), 500*time.Millisecond)
		st.host.StartAgent(st.tb)
		if n%2 == 1 {
			st.host.Reconcile(st.tb)
			st.settled()
		}
	}
}
