package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/remorahq/remora/internal/status"
)

// fixture is an agent whose answers a test fixes: the other side of the real
// client and server.
type fixture struct {
	mu   sync.Mutex
	host status.Host
	cmds []status.Command
	gate status.Gate
	plan status.Plan
}

func (f *fixture) Status(context.Context) (status.Host, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.host
	h.Time = time.Now()
	return h, nil
}

func (f *fixture) Do(_ context.Context, cmd status.Command) (status.Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cmds = append(f.cmds, cmd)
	switch cmd.Verb {
	case "rollback":
		return status.Answer{RunID: "r1", Message: cmd.App + " is back on v43", Revert: "git revert 67e2c98a", Ends: "when the repository wants another release, or remora unpin shop"}, nil
	case "deploy":
		return status.Answer{}, &status.Error{Kind: status.Conflict, Message: "shop is suspended", Reason: status.Suspended, Remedy: "remora resume shop"}
	}
	return status.Answer{RunID: "r1", Message: fmt.Sprintf("%s %s%s", cmd.Verb, cmd.App, cmd.Service)}, nil
}

func (f *fixture) Plan(_ context.Context, req status.PlanRequest) (status.Plan, error) {
	if req.Revision == "bad" {
		return status.Plan{}, &status.Error{Kind: status.NotFound, Message: "no revision bad", Remedy: "fetch it"}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.plan, nil
}

func (f *fixture) Render(context.Context, status.PlanRequest) ([]json.RawMessage, error) {
	return []json.RawMessage{json.RawMessage(`{"name":"shop-web-1","body":{"Image":"web:v43","HostConfig":{"Binds":["/a:/b:ro"]}}}`)}, nil
}

func (f *fixture) Explain(_ context.Context, subject string) (status.Explanation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gates, live := status.Chain(f.gate)
	return status.Explanation{Subject: subject, Want: "67e2c98a web v44", Have: "1c0ffee1 web v43", Live: live, Gates: gates}, nil
}

func (f *fixture) Routes(context.Context) ([]status.RouteRow, error) {
	return []status.RouteRow{
		{Listen: ":80", Protocol: "http", Host: "shop.example.com", Path: "/", Service: "shop/web", Port: 3000, Release: "v43", State: "serving", Inflight: 3, Requests: 1200},
		{Listen: "127.0.0.1:5432", Protocol: "tcp", Service: "shop/postgres", Port: 5432, Release: "16.4", State: "no endpoint"},
	}, nil
}

func (f *fixture) History(_ context.Context, app string) ([]status.HistoryEntry, error) {
	return []status.HistoryEntry{
		{Time: time.Now().Add(-50 * time.Hour), Revision: "main@sha1:67e2c98a", Subject: "web v44", Releases: map[string]string{"web": "v44"}, Result: status.RolledBack, Duration: 3200 * time.Millisecond, Actor: status.Actor{Kind: "commit", Name: "ci-bot"}, Message: "v44 failed: GET /up 500"},
	}, nil
}

func (f *fixture) Logs(_ context.Context, req status.LogRequest, w io.Writer) error {
	if req.Service == "postgres" {
		return errors.New("engine away")
	}
	fmt.Fprintf(w, "web-1 | started tail=%d\n", req.Tail)
	return nil
}

// planned replaces the plan's one app.
func (f *fixture) planned(a status.PlanApp) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan.Apps = []status.PlanApp{a}
}

// unplanned makes the plan one without apps.
func (f *fixture) unplanned(diagnostics ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan.Apps, f.plan.Diagnostics = nil, diagnostics
}

func (f *fixture) held(g status.Gate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gate = g
}

func (f *fixture) show(h status.Host) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.host = h
}

// rolledBack is the host of the design's example.
func rolledBack(now time.Time) status.Host {
	return status.Host{
		Name: "web-7", AgentVersion: "1.3.0", Time: now, NeedPerson: 2, LastReconcile: now,
		Engine: status.EngineState{Connected: true}, Ambassador: status.Ambassador{Connected: true},
		Sources: []status.Source{{
			Name: "main", Environment: "production", Revision: "main@sha1:67e2c98a", FetchedAt: now.Add(-12 * time.Second),
			Conditions: []status.Condition{{Type: status.Ready, True: true, Reason: status.Succeeded}},
		}},
		Apps: []status.App{
			{
				Source: "main", Environment: "production", Name: "blog", Revision: "main@sha1:67e2c98a", Judged: "main@sha1:67e2c98a",
				Sync: status.Synced, Health: status.Healthy, Reason: status.NoChange,
				Services: []status.Service{{Name: "web", Kind: "endpoint", Running: "2.1", Wanted: "2.1", Traffic: 100, Sync: status.Synced, Health: status.Healthy, Reason: status.NoChange, Back: "3s", Since: now.Add(-26 * time.Hour)}},
			},
			{
				Source: "main", Environment: "production", Name: "shop", Revision: "main@sha1:1c0ffee1", Judged: "main@sha1:67e2c98a",
				Variables: map[string]string{"WEB_TAG": status.HashVariable("v44")},
				Sync:      status.OutOfSync, Health: status.Healthy, Reason: status.RolledBack, Message: "v44 failed: GET /up 500 x6", Since: now.Add(-4 * time.Minute),
				Services: []status.Service{
					{Name: "migrate", Kind: "one-shot", Running: "done", Wanted: "v44", Traffic: -1, Sync: status.Synced, Health: status.Healthy, Reason: status.RolledBack, Back: "never", Since: now.Add(-9 * 24 * time.Hour)},
					{Name: "postgres", Kind: "endpoint", Running: "16.4", Wanted: "16.4", Traffic: 100, Sync: status.Synced, Health: status.Healthy, Reason: status.RolledBack, Back: "never", Since: now.Add(-9 * 24 * time.Hour)},
					{Name: "web", Kind: "endpoint", Running: "v43", Wanted: "v44", Traffic: 100, Sync: status.OutOfSync, Health: status.Healthy, Reason: status.RolledBack, Back: "instant", Since: now.Add(-4 * time.Minute), Message: "v44 failed: GET /up 500 x6"},
					{Name: "worker", Kind: "worker", Running: "v43", Wanted: "v43", Traffic: -1, Sync: status.Synced, Health: status.Healthy, Reason: status.RolledBack, Back: "instant", Since: now.Add(-3 * time.Hour)},
				},
			},
		},
	}
}

// unreadable is the same host with errors in the app's file, which the
// reconciler writes beside each of its services.
func unreadable(now time.Time) status.Host {
	h := rolledBack(now)
	h.Apps = h.Apps[1:]
	shop := &h.Apps[0]
	shop.Reason, shop.Message = status.LoadFailed, strings.Repeat("compose.yaml:3:12: services.web.image: variable WEB_TAG is not set; set it in .env\n", 7)
	for i := range shop.Services {
		shop.Services[i].Reason, shop.Services[i].Message, shop.Services[i].Wanted = shop.Reason, shop.Message, ""
	}
	h.NeedPerson = 1
	return h
}

// rolling is the same host in the middle of a rollout, with much that is
// wrong beside it.
func rolling(now time.Time) status.Host {
	h := rolledBack(now)
	h.Apps = h.Apps[1:]
	shop := &h.Apps[0]
	shop.Reason, shop.Message, shop.Sync = status.Progressing, "", status.OutOfSync
	shop.Rollout = &status.Rollout{Phase: "warming", Wave: 2, Waves: 3, Message: "1 of 2 good checks"}
	for i := range shop.Services {
		shop.Services[i].Reason, shop.Services[i].Message = status.Progressing, ""
	}
	h.Sources = append(h.Sources, status.Source{
		Name: "platform", Environment: "base", Revision: "main@sha1:aaaaaaaa", FetchedAt: now.Add(-3 * time.Hour),
		Conditions: []status.Condition{{Type: status.Ready, Reason: status.GitOperationFailed, Message: "dial git.example.com: connection refused", Since: now.Add(-3 * time.Hour)}},
	})
	h.Apps = append(h.Apps, status.App{
		Source: "platform", Environment: "base", Name: "agents", Reason: status.LoadFailed, Health: status.HealthUnknown, Sync: status.SyncUnknown, Since: now.Add(-time.Hour),
		Message: "environments/base/agents/compose.yaml:7:5: services.vector.prots: unknown key; did you mean ports?",
	})
	h.Ambassador = status.Ambassador{Message: "no process answers on /run/remora/ambassador.sock"}
	h.NeedPerson = 2
	return h
}
