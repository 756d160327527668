// Command demo shows remora at work on this machine's own engine: a commit
// comes in, traffic moves; a broken one rolls itself back; a revert takes it
// back; the agent is killed in the middle. All the while real clients send
// requests that none of them repeats, and in the end every one is accounted
// for. It takes half a minute and leaves nothing behind.
//
// It exits 1 when a request was lost.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/load"
	"github.com/remorahq/remora/e2e/load/check"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

func main() {
	bin := flag.String("bin", "bin", "folder with remora and remora-ambassador")
	keep := flag.String("log", "", "file to keep the agent's log in")
	example := flag.String("example", "manifests/examples/demo", "folder with the manifests")
	flag.Parse()
	os.Exit(rig.Run("demo", os.Stdout, func(t rig.TB) { play(t, *bin, *example, *keep) }))
}

// demo is the stage: a host, its repository, and the clients.
type demo struct {
	*screen
	host      *host.Host
	example   string
	image     string
	ports     [2]int // HTTP, TCP
	collector *rig.Collector
	probe     *load.Probe
	load      *load.Load
	moves     []check.Move
	switches  int
}

func play(t rig.TB, bin, example, keep string) {
	d := set(t, bin, example)
	defer d.keepLog(t, keep)
	defer d.end(t)
	d.first(t)
	deployed := d.deploy(t)
	back := d.revert(t)
	d.broken(t)
	d.killed(t)
	v := d.reckon(t)
	d.say("")
	if !v.OK() {
		fmt.Print(v.Explain())
		fmt.Printf("demo: failed requests=%d failed=%d duplicates=%d switches=%d\n", v.Sent, v.Sent-v.Answered, v.Duplicates, d.switches)
		t.Errorf("demo: not every request was answered once")
		return
	}
	fmt.Printf("demo: ok requests=%d failed=%d switches=%d deploy_ms=%d rollback_ms=%d\n",
		v.Sent, v.Failed, d.switches, deployed.Milliseconds(), back.Milliseconds())
}

// first has the first release run, and the clients begin.
func (d *demo) first(t rig.TB) {
	d.step("A repository describes the app, and the host follows it.",
		"environments/production/shop/compose.yaml is a plain compose file; its .env names the release: WEB_TAG=v1.",
		"remora starts the containers. Its ambassador takes ports "+d.portsText()+" and leads to them.")
	d.commit(t, "release web v1", map[string]string{"WEB_TAG": "v1"})
	d.until(t, "v1", healthy("v1"))
	d.begin(t)
	d.say("   From now on 35 clients send about 800 requests a second: GETs and POSTs on kept connections, uploads, WebSockets,")
	d.say("   raw TCP. None of them ever repeats a request, and each writes its ID down before it sends it.")
	d.rest(t, time.Second)
}

// deploy merges a release.
func (d *demo) deploy(t rig.TB) time.Duration {
	d.step("A commit changes WEB_TAG from v1 to v2. That is a deployment.",
		"v2 starts beside v1. When it is ready, one switch moves the traffic. v1 keeps the WebSockets that it has.")
	took := d.change(t, "v1", "v2", func() { d.commit(t, "release web v2", map[string]string{"WEB_TAG": "v2"}) })
	d.done("v2 answered %d ms after the push.", took.Milliseconds())
	return took
}

// revert takes the release back.
func (d *demo) revert(t rig.TB) time.Duration {
	d.step("v2 displeases: git revert.",
		"v1 still stands by, so there is nothing to build, pull or start.")
	took := d.change(t, "v2", "v1", func() { d.host.Repo.Revert(t, "main"); d.host.Reconcile(t) })
	d.done("v1 answered %d ms after the push.", took.Milliseconds())
	return took
}

// broken merges a release that does not live long.
func (d *demo) broken(t rig.TB) {
	d.step("Somebody merges v3, which crashes as it starts.",
		"It never gets a request. remora gives it up by itself, remembers that, and says why.")
	d.commit(t, "release web v3", map[string]string{"WEB_TAG": "v3"})
	d.until(t, "v1", func(a status.App) bool {
		return (a.Reason == status.RolledBack || a.Reason == status.Quarantined) && a.Rollout == nil
	})
	d.done("Still v1 that answers. What v3 said is kept: remora logs shop/web --failed")
	d.host.Repo.Revert(t, "main")
	d.host.Reconcile(t)
}

// killed kills the agent in the middle of a rollout.
func (d *demo) killed(t rig.TB) {
	d.step("v4 is on its way, and the agent is killed: kill -9.",
		"The ambassador is a process of its own and goes on. Started again, the agent finds what it was doing.")
	d.move("v1", "v4")
	d.commit(t, "release web v4", map[string]string{"WEB_TAG": "v4"})
	d.waitFor(t, "the rollout to be under way", underWay)
	d.table(t)
	before := d.answered()
	d.host.Agent().Signal(t, syscall.SIGKILL)
	<-d.host.Agent().Done()
	d.rest(t, 1500*time.Millisecond)
	d.done("No agent for 1.5 s: %d requests answered meanwhile.", d.answered()-before)
	d.host.StartAgent(t)
	d.until(t, "v4", healthy("v4"))
	d.switches++
	d.done("The rollout was finished: v4 answers.")
}

// reckon ends the load and joins the clients' log with the backends' account.
func (d *demo) reckon(t rig.TB) check.Verdict {
	if err := d.load.Stop(); err != nil {
		t.Fatalf("load: %v", err)
	}
	records, err := load.Read(d.load.Log)
	if err != nil {
		t.Fatalf("%v", err)
	}
	var v check.Verdict
	err = rig.Poll(t.Context(), 5*time.Second, func() error { // the last lines may be on their way
		if v = check.Join(records, d.account(), d.moves); !v.OK() {
			return fmt.Errorf("not all is well")
		}
		return nil
	})
	if err != nil {
		return v
	}
	d.step("The reckoning: what clients sent, joined with what the programs say that they received.")
	d.done("%d sent, %d answered, 0 lost, 0 done twice; slowest answer %d ms, 99 %% within %d ms.",
		v.Sent, v.Answered, v.Max.Milliseconds(), v.P99.Milliseconds())
	return v
}

// account is what the web programs received: the queue and its worker, which
// clients do not call, keep theirs in the same place.
func (d *demo) account() []rig.Entry {
	return slices.DeleteFunc(d.collector.Entries(), func(e rig.Entry) bool { return e.ID == "-" || !slices.Contains([]string{"GET", "POST", "TCP"}, e.Kind) })
}

// healthy is a release of web that is promoted.
func healthy(version string) func(status.App) bool {
	return func(a status.App) bool {
		return a.Health == status.Healthy && a.Sync == status.Synced && a.Rollout == nil && host.Service(a, "web").Running == version
	}
}

// underWay says that a rollout has started containers and not switched.
func underWay(a status.App) bool {
	return a.Rollout != nil && (a.Rollout.Phase == "starting" || a.Rollout.Phase == "warming")
}

// end stops the agent as a service manager does; killed, it would leave its
// lock on the engine.
func (d *demo) end(t rig.TB) {
	if a := d.host.Agent(); a.Alive() == nil {
		a.Stop(t, 20*time.Second)
	}
}

// keepLog writes the log of the agent that was started last to a file.
func (d *demo) keepLog(t rig.TB, path string) {
	if path == "" {
		return
	}
	if err := os.WriteFile(path, []byte(d.host.Agent().Output(t)), 0o644); err != nil {
		t.Errorf("keep the agent's log: %v", err)
	}
}

func (d *demo) folder(name string) string { return filepath.Join(d.host.Dir, name) }
