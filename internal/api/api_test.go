package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/remorahq/remora/internal/api"
	"github.com/remorahq/remora/internal/journal"
	"github.com/remorahq/remora/internal/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend answers with what a test gives it.
type backend struct {
	mu    sync.Mutex
	host  status.Host
	err   error
	cmds  []status.Command
	lines []string
}

func (b *backend) Status(context.Context) (status.Host, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.host
	h.Time = time.Now()
	return h, b.err
}

func (b *backend) set(h status.Host) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.host = h
}

func (b *backend) Do(_ context.Context, cmd status.Command) (status.Answer, error) {
	b.cmds = append(b.cmds, cmd)
	return status.Answer{RunID: "r1", Message: cmd.Verb + " " + cmd.App}, b.err
}

func (b *backend) Plan(_ context.Context, req status.PlanRequest) (status.Plan, error) {
	return status.Plan{Revision: req.Revision}, b.err
}

func (b *backend) Render(context.Context, status.PlanRequest) ([]json.RawMessage, error) {
	return []json.RawMessage{json.RawMessage(`{"Image":"x"}`)}, b.err
}

func (b *backend) Explain(_ context.Context, subject string) (status.Explanation, error) {
	return status.Explanation{Subject: subject}, b.err
}

func (b *backend) Routes(context.Context) ([]status.RouteRow, error) {
	return []status.RouteRow{{Listen: ":80"}}, b.err
}

func (b *backend) History(_ context.Context, app string) ([]status.HistoryEntry, error) {
	return []status.HistoryEntry{{Revision: app}}, b.err
}

func (b *backend) Logs(ctx context.Context, req status.LogRequest, w io.Writer) error {
	for _, line := range b.lines {
		fmt.Fprintln(w, line)
	}
	if req.Follow {
		<-ctx.Done()
	}
	return b.err
}

type rig struct {
	backend *backend
	journal *journal.Journal
	server  *api.Server
	client  *api.Client
	socket  string
}

func start(t *testing.T, adjust func(*api.Options)) *rig {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	j, err := journal.Open(t.TempDir(), journal.Options{Host: "web-7", Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{backend: &backend{}, journal: j, socket: filepath.Join(t.TempDir(), "agent.sock")}
	opt := api.Options{
		Socket: r.socket, Backend: r.backend, Events: j, Version: "1.3.0", Logger: log,
		Poll: 5 * time.Millisecond, Heartbeat: 20 * time.Millisecond,
	}
	if adjust != nil {
		adjust(&opt)
	}
	r.server = api.New(opt)
	if err := r.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.client = api.NewClient(r.socket, "")
	t.Cleanup(func() {
		r.client.Close()
		stop(t, r.server)
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func stop(t *testing.T, s *api.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

func TestCallsReachTheBackend(t *testing.T) {
	r := start(t, nil)
	r.backend.set(status.Host{Name: "web-7", NeedPerson: 2})
	ctx := t.Context()
	if h, err := r.client.Status(ctx); err != nil || h.NeedPerson != 2 {
		t.Errorf("Status = %+v, %v", h, err)
	}
	if p, err := r.client.Plan(ctx, status.PlanRequest{Revision: "abc"}); err != nil || p.Revision != "abc" {
		t.Errorf("Plan = %+v, %v", p, err)
	}
	if p, err := r.client.Render(ctx, status.PlanRequest{}); err != nil || string(p[0]) != `{"Image":"x"}` {
		t.Errorf("Render = %s, %v", p, err)
	}
	if e, err := r.client.Explain(ctx, "http://a/b?c=d&e"); err != nil || e.Subject != "http://a/b?c=d&e" {
		t.Errorf("Explain = %+v, %v", e, err)
	}
	if rows, err := r.client.Routes(ctx); err != nil || rows[0].Listen != ":80" {
		t.Errorf("Routes = %+v, %v", rows, err)
	}
	if es, err := r.client.History(ctx, "shop"); err != nil || es[0].Revision != "shop" {
		t.Errorf("History = %+v, %v", es, err)
	}
	if v, err := r.client.Version(ctx); err != nil || v.Version != "1.3.0" {
		t.Errorf("Version = %+v, %v", v, err)
	}
}

func TestActorIsThePeerAndSudoIsRoots(t *testing.T) {
	r := start(t, nil)
	c := api.NewClient(r.socket, "alice")
	defer c.Close()
	forged := status.Command{Verb: "rollback", App: "shop", For: time.Hour, Actor: status.Actor{Kind: "token", Name: "forged"}}
	if _, err := c.Do(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	got := r.backend.cmds[0]
	if got.Actor.Kind != "user" || got.Actor.Name == "forged" || got.For != time.Hour {
		t.Errorf("the backend was given %+v", got)
	}
	if root := os.Geteuid() == 0; (got.Actor.Name == "alice (sudo)") != root {
		t.Errorf("actor %q, as root: %v", got.Actor.Name, root)
	}
}

func TestErrorsKeepReasonAndRemedy(t *testing.T) {
	r := start(t, nil)
	want := &status.Error{Kind: status.Conflict, Message: "shop is suspended", Reason: status.Suspended, Remedy: "remora resume shop"}
	r.backend.err = fmt.Errorf("deploy shop: %w", want)
	_, err := r.client.Do(t.Context(), status.Command{Verb: "deploy"})
	got, ok := errors.AsType[*status.Error](err)
	if !ok || got.Message != "deploy shop: shop is suspended" || got.Reason != status.Suspended || got.Remedy != want.Remedy || got.Kind != status.Conflict {
		t.Errorf("got %#v", err)
	}
	resp := raw(t, r.socket, http.MethodPost, "/v1/commands", `{"verb":"deploy","nonsense":1}`)
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a command with an unknown key: %s", resp.Status)
	}
	if resp := raw(t, r.socket, http.MethodPost, "/v1/commands", strings.Repeat("x", 2<<20)); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a body of 2 MiB: %s", resp.Status)
	}
	if resp := raw(t, r.socket, http.MethodGet, "/v1/nothing", ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown call: %s", resp.Status)
	}
}

func raw(t *testing.T, socket, method, path, body string) *http.Response {
	t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://remora"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(data))
	return resp
}

var errEnough = errors.New("enough")

func TestEventsAreFollowedOverARestart(t *testing.T) {
	r := start(t, nil)
	r.journal.Record(status.Event{App: "shop", Message: "1"})
	var got []string
	seen := make(chan string, 10)
	done := make(chan error, 1)
	go func() {
		zero := uint64(0)
		done <- r.client.FollowEvents(t.Context(), &zero, status.EventFilter{App: "shop"}, func(e status.Event) error {
			seen <- e.Message
			if e.Message == "4" {
				return errEnough
			}
			return nil
		}, func(error) {})
	}()
	got = append(got, <-seen)
	r.journal.Record(status.Event{App: "db", Message: "not asked for"})
	r.journal.Record(status.Event{App: "shop", Message: "2"})
	got = append(got, <-seen)
	stop(t, r.server)
	r.journal.Record(status.Event{App: "shop", Message: "3"})
	again := api.New(api.Options{Socket: r.socket, Backend: r.backend, Events: r.journal, Logger: slog.New(slog.DiscardHandler)})
	if err := again.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer stop(t, again)
	got = append(got, <-seen)
	r.journal.Record(status.Event{App: "shop", Message: "4"})
	got = append(got, <-seen)
	if err := <-done; !errors.Is(err, errEnough) {
		t.Errorf("FollowEvents ended with %v", err)
	}
	if diff := cmp.Diff([]string{"1", "2", "3", "4"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestStatusStreamSendsChangesOnly(t *testing.T) {
	r := start(t, nil)
	r.backend.set(status.Host{Name: "web-7", NeedPerson: 1})
	got := make(chan int, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- r.client.FollowStatus(ctx, func(h status.Host) error {
			if h.Time.IsZero() {
				t.Error("a status without its time")
			}
			got <- h.NeedPerson
			return nil
		}, func(err error) { t.Errorf("lost: %v", err) })
	}()
	for want := 1; want <= 3; want++ {
		if n := <-got; n != want {
			t.Errorf("got %d, want %d", n, want)
		}
		if want < 3 {
			r.backend.set(status.Host{Name: "web-7", NeedPerson: want + 1})
		}
	}
	resp := raw(t, r.socket, http.MethodGet, "/healthz", "")
	if data, _ := io.ReadAll(resp.Body); string(data) != "ok\n" {
		t.Errorf("/healthz = %q", data)
	}
	if len(got) != 0 {
		t.Error("an unchanged status was sent again")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("FollowStatus ended with %v", err)
	}
}

func TestLogsStreamAndTellLateErrors(t *testing.T) {
	r := start(t, nil)
	r.backend.lines = []string{"one", "two"}
	var out bytes.Buffer
	if err := r.client.Logs(t.Context(), status.LogRequest{App: "shop"}, &out); err != nil || out.String() != "one\ntwo\n" {
		t.Errorf("Logs = %q, %v", out.String(), err)
	}
	r.backend.err = errors.New("engine away")
	out.Reset()
	if err := r.client.Logs(t.Context(), status.LogRequest{App: "shop"}, &out); err != nil || !strings.HasSuffix(out.String(), "remora: engine away\n") {
		t.Errorf("Logs with a late error = %q, %v", out.String(), err)
	}
	r.backend.lines = nil
	if err := r.client.Logs(t.Context(), status.LogRequest{App: "shop"}, &out); err == nil {
		t.Error("Logs with an early error returned none")
	}
}

func TestStopEndsStreamsAndRemovesTheSocket(t *testing.T) {
	r := start(t, nil)
	r.backend.lines = []string{"one"}
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- r.client.Logs(t.Context(), status.LogRequest{App: "shop", Follow: true}, writer) }()
	if _, err := io.ReadFull(reader, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	stop(t, r.server)
	if err := <-done; err != nil {
		t.Logf("following ended with: %v", err)
	}
	if _, err := os.Lstat(r.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	_, err := r.client.Status(t.Context())
	if _, ok := errors.AsType[*api.UnreachableError](err); !ok || !strings.Contains(err.Error(), "no agent runs at") {
		t.Errorf("without an agent: %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(r.socket), ".s*"))
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSocketPermissionAndSecondAgent(t *testing.T) {
	r := start(t, func(o *api.Options) { o.Mode = 0o660 })
	info, err := os.Lstat(r.socket)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v; want 0660", info.Mode(), err)
	}
	second := api.New(api.Options{Socket: r.socket, Backend: r.backend, Events: r.journal})
	if err := second.Start(t.Context()); !errors.Is(err, api.ErrInUse) {
		t.Errorf("a second agent on the socket: %v, want %v", err, api.ErrInUse)
	}
	// What a killed agent leaves behind is taken over.
	dead := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	third := api.New(api.Options{Socket: dead, Backend: r.backend, Events: r.journal, Logger: slog.New(slog.DiscardHandler)})
	if err := third.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop(t, third)
}

func TestTCPServesNothingButHealthAndMetrics(t *testing.T) {
	r := start(t, func(o *api.Options) {
		o.MetricsAddress = "127.0.0.1:0"
		o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "remora_up 1") })
	})
	get := func(path string) (int, string) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.server.MetricsAddr().String()+path, nil)
		tr := &http.Transport{DisableKeepAlives: true}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(data)
	}
	if code, text := get("/metrics"); code != 200 || text != "remora_up 1\n" {
		t.Errorf("/metrics: %d %q", code, text)
	}
	if code, _ := get("/v1/status"); code != 404 {
		t.Errorf("/v1/status over TCP: %d", code)
	}
	if code, text := get("/readyz"); code != 503 || !strings.HasPrefix(text, "engine:") {
		t.Errorf("/readyz without an engine: %d %q", code, text)
	}
	r.backend.set(status.Host{LastReconcile: time.Now(), Engine: status.EngineState{Connected: true}, Ambassador: status.Ambassador{Connected: true}})
	if code, text := get("/readyz"); code != 200 {
		t.Errorf("/readyz: %d %q", code, text)
	}
}
