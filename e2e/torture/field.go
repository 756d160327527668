package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/load"
	"github.com/remorahq/remora/e2e/load/check"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/api"
	"github.com/remorahq/remora/internal/status"
)

// app is one service with one temper, an app of its own.
type app struct {
	temper           string
	http, tcp, greet int // ports
	release          int // the last that was made
	serves, before   int // the one that has the traffic, and the one before it
	wanted, former   int // what the repository wants, and wanted before
	turns            int
	probe            *load.Probe
}

func (a *app) version(n int) string { return fmt.Sprintf("%s-%d", a.temper, n) }

// field is the host, its apps and the load on them.
type field struct {
	settings
	host      *host.Host
	image     string
	collector *rig.Collector
	load      *load.Load
	control   *load.Load // of a program that remora has nothing to do with
	client    *api.Client
	apps      []*app
	conns     int
	switches  int
	moves     []check.Move
	failures  int64 // that were reported as progress
}

func newField(t rig.TB, e *rig.Engine, s settings) *field {
	f := &field{settings: s, collector: rig.StartCollector(t, e.HostAddr())}
	f.image = e.LoadImage(t, rig.Image{Name: rig.Unique("torture") + ":v1", Cmd: []string{"http", "tcp"}})
	f.host = host.Start(t, e, host.Options{Bin: s.bin})
	f.client = api.NewClient(filepath.Join(f.host.Run, "agent.sock"), "")
	t.Cleanup(f.client.Close)
	for _, temper := range []string{"graceful", "abrupt", "stubborn", "short-keepalive", "slow"} {
		a := &app{temper: temper, http: rig.FreePort(t), tcp: rig.FreePort(t), greet: rig.FreePort(t), release: 1, serves: 1, wanted: 1}
		a.probe = &load.Probe{Dial: e.DialContext, Addr: addr(a.http)}
		t.Cleanup(a.probe.Close)
		f.apps = append(f.apps, a)
	}
	return f
}

func addr(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// drainTunnels is short, so that tunnels are ended many times in a run.
const drainTunnels = time.Second

// pause follows each switch, so that tunnels begin on every release.
const pause = time.Second

func (f *field) compose(a *app) string {
	return fmt.Sprintf(`services:
  web:
    image: %s
    environment:
      APP_VERSION: %s-${RELEASE}
      APP_TEMPER: %[2]s
      APP_RECORD: %s
    ports: ["%d:8080", "%d:9000", "%d:9001"]
    stop_grace_period: 1s
    deploy: {update_config: {monitor: 100ms}}
    x-remora:
      probe: {http: /health}
      drain_tunnels: %s
`, f.image, a.temper, f.collector.Record, a.http, a.tcp, a.greet, drainTunnels)
}

// begin brings up all apps and starts the load.
func (f *field) begin(t rig.TB) {
	for _, a := range f.apps {
		f.host.App(t, a.temper, f.compose(a), map[string]string{"RELEASE": "1"})
	}
	f.host.Reconcile(t)
	for _, a := range f.apps {
		f.settled(t, a, a.version(1))
	}
	groups := f.groups()
	for _, g := range groups {
		f.conns += g.Conns
	}
	e := f.host.Engine
	direct := e.Run(t, rig.Spec{Image: f.image}).IP(t) + ":8080"
	f.control = load.Start(t, e.DialContext, filepath.Join(t.TempDir(), "control.log"), load.Group{Kind: load.Get, Addr: direct, Conns: 8, Rate: 80})
	f.load = load.Start(t, e.DialContext, filepath.Join(f.folder(t), "clients.log"), groups...)
}

// machine is the slowest answer of a program that is reached directly and that
// nobody switches: what this machine does to everybody.
func (f *field) machine(t rig.TB) time.Duration {
	if err := f.control.Stop(); err != nil {
		t.Fatalf("control: %v", err)
	}
	records, err := load.Read(f.control.Log)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return check.Join(records, nil, nil).Max
}

func (f *field) folder(t rig.TB) string {
	if f.keep == "" {
		return t.TempDir()
	}
	if err := os.MkdirAll(f.keep, 0o755); err != nil {
		t.Fatalf("make folder for the logs: %v", err)
	}
	return f.keep
}

// slowAnswer is what the slow temper takes for an answer by itself.
const slowAnswer = 5 * time.Second

// groups is the load: some 2,500 requests a second, four in ten not to be
// replayed. The slow program has few connections.
func (f *field) groups() []load.Group {
	var out []load.Group
	for _, a := range f.apps {
		web := load.Group{Addr: addr(a.http)}
		add := func(k load.Kind, at string, conns, rate, session int) {
			g := web
			g.Kind, g.Conns, g.Rate, g.Session = k, conns, rate, session
			if at != "" {
				g.Addr = at
			}
			out = append(out, g)
		}
		if a.temper == "slow" {
			web.Own = slowAnswer
			add(load.Get, "", 2, 1, 0)
			add(load.Post, "", 2, 1, 0)
			continue
		}
		add(load.Get, "", 12, 370, 0)
		add(load.Post, "", 8, 170, 0)
		add(load.Upload, "", 1, 4, 0)
		add(load.Chunked, "", 1, 4, 0)
		add(load.WebSocket, "", 2, 24, 0)
		add(load.WebSocket, "", 1, 12, 50)
		add(load.TCP, addr(a.tcp), 2, 24, 0)
		add(load.TCP, addr(a.tcp), 1, 12, 20)
		add(load.Greeted, addr(a.greet), 2, 24, 0)
	}
	return out
}

// notice is how long a client may take to look at a tunnel again.
const notice = 250 * time.Millisecond

// lost notes that a release loses the traffic, before that is asked for; got
// that one has it, when it was seen to answer and tunnels that ended before
// have been noticed.
func (f *field) lost(version string) {
	f.moves = append(f.moves, check.Move{At: time.Now(), Version: version})
}

func (f *field) got(version string, at time.Time) {
	f.moves = append(f.moves, check.Move{At: at.Add(notice), Version: version, Active: true})
}

// next makes one switch: each app in turn gets a new release, and the next
// time goes back, once by git revert, once by `remora rollback`.
func (f *field) next(t rig.TB) {
	a := f.apps[(f.switches/2)%len(f.apps)]
	what, to := "deploy", a.release+1
	if f.switches%2 == 1 {
		what, to = "revert", a.before
		if a.turns++; a.turns%2 == 0 {
			what = "rollback"
		}
	}
	from := a.version(a.serves)
	f.lost(from)
	begun := time.Now()
	switch what {
	case "deploy":
		a.release++
		f.commit(t, a, to)
	case "revert":
		f.revert(t, a, to)
	case "rollback":
		f.host.Must(t, "rollback", a.temper, "--reason", "torture")
	}
	at := f.settled(t, a, a.version(to))
	f.got(a.version(to), at)
	a.serves, a.before = to, a.serves
	f.switches++
	_, _, _, failed := f.load.Totals()
	if failed > f.failures || f.keep != "" {
		fmt.Printf("%s %4d %-8s %s → %s in %d ms, %d failed so far\n",
			begun.Format("15:04:05.000"), f.switches, what, from, a.version(to), at.Sub(begun).Milliseconds(), failed)
		f.failures = failed
	}
}

// commit makes a release and has the agent look.
func (f *field) commit(t rig.TB, a *app, to int) {
	f.host.Set(t, a.temper, map[string]string{"RELEASE": fmt.Sprint(to)})
	a.wanted, a.former = to, a.wanted
	f.host.Reconcile(t)
}

// revert takes the last commit back. Where that would want a release that a
// rollback left, which is quarantined, a commit wants the one before that.
func (f *field) revert(t rig.TB, a *app, to int) {
	if a.former != to {
		f.commit(t, a, to)
		return
	}
	f.host.Repo.Revert(t, "main")
	a.wanted, a.former = a.former, a.wanted
	f.host.Reconcile(t)
}

// rest lets the load go on for a while.
func (f *field) rest(t rig.TB) {
	select {
	case <-t.Context().Done():
		t.Fatalf("interrupted")
	case <-time.After(pause):
	}
}

// settled waits until the version answers and the app's rollout is over, and
// returns when it answered.
func (f *field) settled(t rig.TB, a *app, version string) time.Time {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	at, err := a.probe.Until(ctx, version)
	if err != nil {
		t.Fatalf("switch: %v", err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := f.client.Status(ctx)
		if err != nil {
			t.Fatalf("ask for the status: %v", err)
		}
		if st, ok := host.App(s, a.temper); ok && st.Rollout == nil && st.Health == status.Healthy {
			return at
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the rollout of %s has not ended", version)
		case <-tick.C:
		}
	}
}

// progress says how far it is, now and then.
func (f *field) progress(began time.Time) {
	if f.switches%20 != 0 {
		return
	}
	sent, answered, cut, failed := f.load.Totals()
	fmt.Printf("%6s  %3d of %d switches  sent %d  answered %d  cut %d  failed %d\n",
		time.Since(began).Round(time.Second), f.switches, f.n, sent, answered, cut, failed)
}

// keepLogs keeps what the agent and the ambassador said beside the clients' log.
func (f *field) keepLogs(t rig.TB) {
	if f.keep == "" {
		return
	}
	for name, p := range map[string]*rig.Process{"agent.log": f.host.Agent(), "ambassador.log": f.host.Ambassador()} {
		if err := os.WriteFile(filepath.Join(f.keep, name), []byte(p.Output(t)), 0o644); err != nil {
			t.Errorf("keep log: %v", err)
		}
	}
}

// judge ends the load and joins both logs, once all of the backends' account
// has come in.
func (f *field) judge(t rig.TB) check.Verdict {
	if err := f.load.Stop(); err != nil {
		t.Fatalf("load: %v", err)
	}
	last := -1
	rig.Eventually(t, 10*time.Second, "the backends' account to be complete", func() error {
		n := len(f.collector.Entries())
		defer func() { last = n }()
		if n != last {
			return fmt.Errorf("%d entries", n)
		}
		return nil
	})
	records, err := load.Read(f.load.Log)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return check.Join(records, f.collector.Entries(), f.moves)
}
