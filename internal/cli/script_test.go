package cli

import (
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/remorahq/remora/internal/api"
	"github.com/remorahq/remora/internal/journal"
	"github.com/remorahq/remora/internal/status"
)

var updateScripts = flag.Bool("update-scripts", false, "rewrite the scripts' golden output")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"remora": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		os.Exit(Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}})
}

// rig is the agent of one script: the real server, journal and client, over a
// fixture.
type rig struct {
	fixture *fixture
	journal *journal.Journal
	server  *api.Server
	options api.Options
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "script"),
		UpdateScripts: *updateScripts,
		Setup:         setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"scene":    scene,
			"event":    event,
			"agent":    agentUpDown,
			"commands": commands,
			"until":    until,
		},
	})
}

func setup(env *testscript.Env) error {
	log := slog.New(slog.DiscardHandler)
	j, err := journal.Open(filepath.Join(env.WorkDir, ".journal"), journal.Options{Host: "web-7", Logger: log})
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "remora") // short: a socket's path has 107 bytes at most
	if err != nil {
		return err
	}
	f := &fixture{
		host: rolledBack(time.Now()),
		gate: status.Gate{Reason: status.RolledBack, Message: "v44 failed: GET /up 500 x6", Since: time.Now().Add(-4 * time.Minute)},
		plan: status.Plan{Revision: "main@sha1:67e2c98a", Apps: []status.PlanApp{{App: "production/shop", Reason: status.Progressing, Steps: []status.PlanStep{
			{Object: "Service/web", Action: "recreate", Cause: "image v43→v44", Order: "start-first"},
			{Object: "Service/postgres", Action: "keep", Cause: "unchanged", Notes: []string{"! not reversible by remora"}},
		}}}},
	}
	opt := api.Options{Socket: filepath.Join(dir, "agent.sock"), Backend: f, Events: j, Version: "1.3.0", Logger: log, Poll: 10 * time.Millisecond}
	r := &rig{fixture: f, journal: j, server: api.New(opt), options: opt}
	env.Values["rig"] = r
	env.Setenv("REMORA_SOCKET", opt.Socket)
	env.Setenv("TERM", "xterm")
	env.Defer(func() {
		_ = r.server.Stop(context.Background())
		_ = j.Close()
		_ = os.RemoveAll(dir)
	})
	return r.server.Start(context.Background())
}

func rigOf(ts *testscript.TestScript) *rig { return ts.Value("rig").(*rig) }

// scene changes what the agent says: scene NAME, or scene gate REASON.
func scene(ts *testscript.TestScript, _ bool, args []string) {
	r := rigOf(ts)
	h := rolledBack(time.Now())
	switch args[0] {
	case "rolled-back":
	case "rolling":
		h = rolling(time.Now())
	case "live":
		h.NeedPerson = 0
		a := &h.Apps[1]
		a.Reason, a.Sync, a.Message, a.Revision = status.Succeeded, status.Synced, "", "main@sha1:67e2c98a"
		for i := range a.Services {
			s := &a.Services[i]
			s.Reason, s.Sync, s.Message, s.Running = status.Succeeded, status.Synced, "", s.Wanted
		}
	case "no-change":
		r.fixture.planned(status.PlanApp{App: "production/shop", Reason: status.NoChange, Steps: []status.PlanStep{{Object: "Service/postgres", Action: "keep"}}})
		return
	case "load-failed":
		r.fixture.planned(status.PlanApp{App: "production/shop", Reason: status.LoadFailed, Message: "compose.yaml:3:5: no such key"})
		return
	case "unplannable":
		r.fixture.unplanned("environments/production/environment.yaml:2:1: junk: unknown key")
		return
	case "empty-plan":
		r.fixture.unplanned()
		return
	case "gate":
		r.fixture.held(status.Gate{Reason: status.Reason(args[1])})
		return
	default:
		ts.Fatalf("no scene %s", args[0])
	}
	r.fixture.show(h)
}

// event records an event: event APP REASON MESSAGE.
func event(ts *testscript.TestScript, _ bool, args []string) {
	r := rigOf(ts)
	e := status.Event{Environment: "production", App: args[0], Reason: status.Reason(args[1]), Message: args[2], Actor: status.Actor{Kind: "user", Name: "alice"}}
	if args[1] == "HealthCheckFailed" {
		e.Service, e.Severity = "web", "error"
		ts.Check(r.journal.Keep(status.Evidence{
			Environment: "production", App: args[0], Service: "web", Tag: "v44", Release: "9f3c1a2b", ExitCode: 1, Name: "shop-web-9f3c1a2b-1",
			Probe: "GET /up: 500", Message: args[2], Output: []byte("line 1\nline 2\npanic: no database\n"),
		}))
	}
	r.journal.Record(e)
}

// until waits for a file to match: until FILE REGEXP.
func until(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile(args[1])
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(15 * time.Second)
	for {
		data, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && want.Match(data) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("%s never matched %s:\n%s", args[0], args[1], data)
		}
	}
}

// agentUpDown stops the agent, or starts it again.
func agentUpDown(ts *testscript.TestScript, _ bool, args []string) {
	r := rigOf(ts)
	ts.Check(r.server.Stop(context.Background()))
	if args[0] == "start" {
		r.server = api.New(r.options)
		ts.Check(r.server.Start(context.Background()))
	}
}

// commands wants the agent to have been sent exactly these, as JSON lines
// without the actor.
func commands(ts *testscript.TestScript, _ bool, want []string) {
	r := rigOf(ts)
	r.fixture.mu.Lock()
	defer r.fixture.mu.Unlock()
	var got []string
	for _, c := range r.fixture.cmds {
		c.Actor = status.Actor{}
		data, err := json.Marshal(c)
		ts.Check(err)
		got = append(got, string(data))
	}
	r.fixture.cmds = nil
	if !slices.Equal(got, want) {
		ts.Fatalf("the agent was sent\n%q\nwant\n%q", got, want)
	}
}
