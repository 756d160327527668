package reconciler

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memoryEngine is an engine whose containers are values in memory: they start
// at once and serve.
type memoryEngine struct {
	Engine // what is not overridden is not called

	mu         sync.Mutex
	containers map[string]engine.Container
	networks   map[string]engine.Network
	images     map[string]engine.Image
	removed    []string // images
	calls      map[string]int
	next       int
	err        error // of every call
	start      string
	events     chan engine.Event
	// before is called without the lock before a call is answered.
	before func(ctx context.Context, call string) error
}

func newMemoryEngine() *memoryEngine {
	return &memoryEngine{
		containers: map[string]engine.Container{}, networks: map[string]engine.Network{}, images: map[string]engine.Image{},
		calls: map[string]int{}, start: "1", events: make(chan engine.Event, 1024),
	}
}

// call counts a call and takes the lock, unless the engine is away.
func (e *memoryEngine) call(ctx context.Context, name string) error {
	e.mu.Lock()
	before := e.before
	e.calls[name]++
	e.mu.Unlock()
	if before != nil {
		if err := before(ctx, name); err != nil {
			return err
		}
	}
	e.mu.Lock()
	if e.err != nil {
		e.mu.Unlock()
		return e.err
	}
	return nil
}

func (e *memoryEngine) Info(ctx context.Context) (engine.Info, error) {
	if err := e.call(ctx, "info"); err != nil {
		return engine.Info{}, err
	}
	defer e.mu.Unlock()
	return engine.Info{ID: "memory", Start: e.start, Version: "1"}, nil
}

func (e *memoryEngine) Containers(ctx context.Context) ([]engine.Container, error) {
	e.mu.Lock()
	list := slices.Collect(maps.Values(e.containers)) // as of the request
	e.mu.Unlock()
	if err := e.call(ctx, "list"); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	return list, nil
}

func (e *memoryEngine) Container(ctx context.Context, id string) (engine.Container, error) {
	e.mu.Lock()
	c, ok := e.containers[id] // as of the request
	e.mu.Unlock()
	if err := e.call(ctx, "inspect"); err != nil {
		return engine.Container{}, err
	}
	defer e.mu.Unlock()
	if !ok {
		return c, engine.ErrNotFound
	}
	return c, nil
}

func (e *memoryEngine) Create(ctx context.Context, c engine.Create) (string, error) {
	if err := e.call(ctx, "create"); err != nil {
		return "", err
	}
	defer e.mu.Unlock()
	e.next++
	id := fmt.Sprintf("container%04d", e.next)
	addresses := map[string]netip.Addr{}
	for _, at := range c.Networks {
		addresses[at.Network] = at.Address
	}
	e.containers[id] = engine.Container{
		ID: id, Name: c.Name, Image: c.Image, Labels: maps.Clone(c.Labels), State: engine.Created, Restart: c.Restart,
		Created: time.Now(), Addresses: addresses,
	}
	return id, nil
}

// change alters a container.
func (e *memoryEngine) change(ctx context.Context, call, id string, f func(c *engine.Container)) error {
	if err := e.call(ctx, call); err != nil {
		return err
	}
	defer e.mu.Unlock()
	c, ok := e.containers[id]
	if !ok {
		return engine.ErrNotFound
	}
	f(&c)
	e.containers[id] = c
	return nil
}

func (e *memoryEngine) Start(ctx context.Context, id string) error {
	return e.change(ctx, "start", id, func(c *engine.Container) { c.State, c.Started = engine.Running, time.Now() })
}

func (e *memoryEngine) Stop(ctx context.Context, id, _ string, _ time.Duration) error {
	return e.change(ctx, "stop", id, func(c *engine.Container) { c.State, c.Finished = engine.Exited, time.Now() })
}

func (e *memoryEngine) Kill(ctx context.Context, id, _ string) error {
	return e.change(ctx, "kill", id, func(*engine.Container) {})
}

func (e *memoryEngine) Pause(ctx context.Context, id string) error {
	return e.change(ctx, "pause", id, func(c *engine.Container) { c.State = engine.Paused })
}

func (e *memoryEngine) Unpause(ctx context.Context, id string) error {
	return e.change(ctx, "unpause", id, func(c *engine.Container) { c.State = engine.Running })
}

func (e *memoryEngine) Rename(ctx context.Context, id, name string) error {
	return e.change(ctx, "rename", id, func(c *engine.Container) { c.Name = name })
}

func (e *memoryEngine) SetRestart(ctx context.Context, id, policy string) error {
	return e.change(ctx, "restart", id, func(c *engine.Container) { c.Restart = policy })
}

func (e *memoryEngine) Remove(ctx context.Context, id string) error {
	if err := e.call(ctx, "remove"); err != nil {
		return err
	}
	defer e.mu.Unlock()
	delete(e.containers, id)
	return nil
}

func (e *memoryEngine) Logs(context.Context, string, int64) (engine.Output, error) {
	return engine.Output{}, nil
}

func (e *memoryEngine) Resolve(ctx context.Context, ref, _ string) (string, error) {
	if err := e.call(ctx, "resolve"); err != nil {
		return "", err
	}
	defer e.mu.Unlock()
	return "sha256:" + fmt.Sprintf("%064x", len(ref)), nil
}

func (e *memoryEngine) Image(ctx context.Context, ref string) (engine.Image, error) {
	if err := e.call(ctx, "image"); err != nil {
		return engine.Image{}, err
	}
	defer e.mu.Unlock()
	img, ok := e.images[ref]
	if !ok {
		return img, engine.ErrNotFound
	}
	return img, nil
}

func (e *memoryEngine) Pull(ctx context.Context, ref, _ string, _ func(engine.Progress)) (engine.Image, error) {
	if err := e.call(ctx, "pull"); err != nil {
		return engine.Image{}, err
	}
	defer e.mu.Unlock()
	e.images[ref] = engine.Image{ID: "sha256:image-of-" + ref, Digest: "sha256:of-" + ref}
	return e.images[ref], nil
}

func (e *memoryEngine) RemoveImage(ctx context.Context, id string) error {
	if err := e.call(ctx, "rmi"); err != nil {
		return err
	}
	defer e.mu.Unlock()
	e.removed = append(e.removed, id)
	maps.DeleteFunc(e.images, func(_ string, img engine.Image) bool { return img.ID == id })
	return nil
}

func (e *memoryEngine) Networks(ctx context.Context) ([]engine.Network, error) {
	if err := e.call(ctx, "networks"); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	return slices.Collect(maps.Values(e.networks)), nil
}

func (e *memoryEngine) EnsureNetwork(ctx context.Context, n engine.NetworkSpec) (engine.Network, error) {
	if err := e.call(ctx, "network"); err != nil {
		return engine.Network{}, err
	}
	defer e.mu.Unlock()
	e.networks[n.Name] = engine.Network{ID: n.Name, Name: n.Name, Driver: "bridge", Labels: n.Labels, Subnets: n.Subnets, Bridge: "br"}
	return e.networks[n.Name], nil
}

func (e *memoryEngine) RemoveNetwork(ctx context.Context, name string) error {
	if err := e.call(ctx, "rm network"); err != nil {
		return err
	}
	defer e.mu.Unlock()
	delete(e.networks, name)
	return nil
}

func (e *memoryEngine) Volumes(context.Context) ([]engine.Volume, error)      { return nil, nil }
func (e *memoryEngine) EnsureVolume(context.Context, engine.VolumeSpec) error { return nil }

func (e *memoryEngine) Events(ctx context.Context) <-chan engine.Event {
	out := make(chan engine.Event)
	go func() {
		defer close(out)
		for {
			select {
			case ev := <-e.events:
				select {
				case out <- ev:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func (e *memoryEngine) count(call string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[call]
}

// memoryTraffic is an ambassador that serves whatever it is given, and finds
// every endpoint good.
type memoryTraffic struct {
	mu      sync.Mutex
	table   traffic.Table
	tables  int
	err     error
	boot    string
	reports chan traffic.Report
}

func newMemoryTraffic() *memoryTraffic {
	return &memoryTraffic{reports: make(chan traffic.Report, 1024), boot: "boot"}
}

func (m *memoryTraffic) Apply(_ context.Context, t traffic.Table) (traffic.Ack, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return traffic.Ack{}, m.err
	}
	if t.Generation <= m.table.Generation {
		return traffic.Ack{}, fmt.Errorf("table %d is not newer than %d", t.Generation, m.table.Generation)
	}
	m.table = t
	m.tables++
	m.reports <- m.reportLocked()
	return traffic.Ack{Generation: t.Generation}, nil
}

func (m *memoryTraffic) reportLocked() traffic.Report {
	rep := traffic.Report{Version: "1", Generation: m.table.Generation, BootID: m.boot, Workers: 1}
	for _, s := range m.table.Services {
		sr := traffic.ServiceReport{Name: s.Name}
		for _, r := range s.Releases {
			idle := r.State != traffic.Active && r.State != traffic.Warming
			rr := traffic.ReleaseReport{Name: r.Name, State: r.State, Drained: idle, RequestsDrained: idle}
			for _, e := range r.Endpoints {
				rr.Endpoints = append(rr.Endpoints, traffic.EndpointReport{Container: e.Container, Started: e.Started, Warm: true, Good: true})
			}
			sr.Releases = append(sr.Releases, rr)
		}
		rep.Services = append(rep.Services, sr)
	}
	return rep
}

func (m *memoryTraffic) Report(context.Context) (traffic.Report, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reportLocked(), m.err
}

// Explain knows one service and its state.
func (m *memoryTraffic) Explain(_ context.Context, url string) (traffic.Explanation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := traffic.Explanation{URL: url, Listener: ":80"}
	if len(m.table.Services) == 0 || m.err != nil {
		e.Refused = &traffic.RefusalExplanation{Step: "route", Reason: "no-route", Status: 404, Text: "No site is served at this address."}
		return e, m.err
	}
	s := m.table.Services[0]
	e.Route, e.Service, e.Port, e.Release = "*/", s.Name, 3000, s.Active
	switch {
	case s.Maintenance:
		e.Refused = &traffic.RefusalExplanation{Step: "release", Reason: "maintenance", Status: 503, Text: "It is being worked on.", Remedy: "off"}
	case s.Active == "":
		e.Refused = &traffic.RefusalExplanation{Step: "release", Reason: "no-release", Status: 503, Text: "It has not started."}
	}
	return e, nil
}

func (m *memoryTraffic) Table(context.Context) (traffic.Table, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.table, m.err
}

func (m *memoryTraffic) Watch(ctx context.Context) <-chan traffic.Report {
	out := make(chan traffic.Report)
	go func() {
		defer close(out)
		for {
			select {
			case rep := <-m.reports:
				select {
				case out <- rep:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// lines is a journal in memory.
type lines struct {
	mu     sync.Mutex
	events []status.Event
}

func (l *lines) Record(e status.Event) status.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Time = time.Now()
	l.events = append(l.events, e)
	return e
}

func (l *lines) Keep(status.Evidence) error { return nil }

// with returns the messages of the events with a reason.
func (l *lines) with(r status.Reason) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, e := range l.events {
		if e.Reason == r {
			out = append(out, e.Message)
		}
	}
	return out
}

// memorySource is a source whose revision a test sets.
type memorySource struct {
	mu      sync.Mutex
	rev     status.Revision
	err     error
	changes chan struct{}
	kept    func(sha string) bool
	hang    bool
}

func (s *memorySource) Current() status.Revision { return status.Revision{} }

func (s *memorySource) Fetch(ctx context.Context) (status.Revision, error) {
	s.mu.Lock()
	rev, err, hang := s.rev, s.err, s.hang
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
		return rev, ctx.Err()
	}
	return rev, err
}

func (s *memorySource) Changes(context.Context) <-chan struct{} { return s.changes }

func (s *memorySource) Prune(_ context.Context, keep func(string) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = keep
	return nil
}

// memoryLoader gives what a test says, and counts.
type memoryLoader struct {
	mu    sync.Mutex
	loads int
	load  func(req manifests.LoadRequest) (manifests.LoadResult, error)
}

func (l *memoryLoader) Load(_ context.Context, req manifests.LoadRequest) (manifests.LoadResult, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loads++
	return l.load(req)
}

// memoryContent names what it would put on disk.
type memoryContent struct {
	mu     sync.Mutex
	spent  Spent
	pruned func(path string) bool
}

func (c *memoryContent) Materialize(_ string, f manifests.File, m manifests.Mount, spent *Spent) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if spent != nil {
		spent.Files++
		c.spent = *spent
	}
	return c.Path(f, m)
}

func (*memoryContent) Inline(m manifests.Mount) (string, error) {
	return "/blobs/inline-" + m.Content, nil
}

func (*memoryContent) DataDir(project, path string) (string, error) {
	return "/data/" + project + path, nil
}

func (*memoryContent) Path(f manifests.File, m manifests.Mount) (string, error) {
	if m.Kind == manifests.MountInline {
		return "/blobs/inline-" + m.Content, nil
	}
	return "/blobs/" + f.ID, nil
}

func (c *memoryContent) Prune(keep func(string) bool) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pruned = keep
	return 0, nil
}

type noNamespaces struct{}

func (noNamespaces) Supported() error { return fmt.Errorf("not in this test") }
func (noNamespaces) Ensure(context.Context, engine.NamespaceSpec) (string, error) {
	return "", nil
}
func (noNamespaces) Remove(context.Context, string) error { return nil }

type openGate struct{}

func (openGate) Acquire(context.Context, string, string, string) (bool, string, error) {
	return true, "", nil
}
func (openGate) Release(context.Context, string, string) error { return nil }

// bench is a Reconciler with all that it stands on in memory.
type bench struct {
	*Reconciler
	engine  *memoryEngine
	traffic *memoryTraffic
	journal *lines
	source  *memorySource
	loader  *memoryLoader
	content *memoryContent
	state   string
}

const testPoll = manifests.Duration(30 * time.Second)

func newBench(t testing.TB, state string) *bench {
	t.Helper()
	b := &bench{
		engine: newMemoryEngine(), traffic: newMemoryTraffic(), journal: &lines{}, content: &memoryContent{},
		source: &memorySource{rev: status.Revision{Source: "main", Ref: "main", SHA: "1111111111"}, changes: make(chan struct{}, 1)},
		loader: &memoryLoader{}, state: state,
	}
	b.loader.load = func(manifests.LoadRequest) (manifests.LoadResult, error) { return manifests.LoadResult{}, nil }
	b.make(t)
	return b
}

// make makes the Reconciler, as a start of the agent does.
func (b *bench) make(t testing.TB) {
	t.Helper()
	r, err := New(Config{
		Host: manifests.Host{
			Name: "host", State: b.state, Poll: testPoll, NetworkPool: "10.208.0.0/12", StopRespect: manifests.Duration(15 * time.Minute),
			Sources: []manifests.Source{{Name: "main", URL: "file:///repo", Environments: []string{"production"}}},
		},
		Engine: b.engine, Traffic: b.traffic, Sources: map[string]Source{"main": b.source}, Loader: b.loader, Content: b.content,
		Namespaces: noNamespaces{}, Gate: openGate{}, Journal: b.journal,
		Policy: func(string) manifests.Policy { return manifests.Policy{} }, Logger: slog.New(slog.DiscardHandler),
		Render: func(c engine.Create) (json.RawMessage, error) { return json.Marshal(c) }, BootID: "boot", KeepClient: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Reconciler = r
}

// run runs the Reconciler until the returned function is called.
func (b *bench) run(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	b.engine.events <- engine.Event{Kind: engine.Resync}
	go func() {
		defer close(done)
		_ = b.Run(ctx)
	}()
	return func() { cancel(); <-done }
}

// wants makes the repository want apps, each with one endpoint service "web" of
// an image.
func (b *bench) wants(sha, image string, apps ...string) {
	res := manifests.LoadResult{Folders: apps}
	for i, name := range apps {
		res.Apps = append(res.Apps, testApp(name, image, uint16(20000+i)))
	}
	b.source.mu.Lock()
	b.source.rev.SHA = sha
	b.source.mu.Unlock()
	b.loader.mu.Lock()
	b.loader.load = func(manifests.LoadRequest) (manifests.LoadResult, error) { return res, nil }
	b.loader.mu.Unlock()
}

func testApp(name, image string, port uint16) manifests.App {
	return manifests.App{
		Source: "main", Environment: "production", Name: name, Project: name, Tree: name + image,
		Networks: []manifests.Network{{Key: "default", Name: name + "_default"}},
		Services: []manifests.Service{{
			Name: "web", Kind: manifests.KindEndpoint, Unit: "web", Replicas: 1, Order: manifests.StartFirst,
			Container: manifests.Container{Image: image, Networks: []manifests.Attachment{{Network: "default"}}},
			Ports:     []manifests.Port{{Published: port, Target: 3000, Protocol: "tcp"}}, Expose: []uint16{3000},
			Update: manifests.Update{Monitor: time.Second}, Standby: manifests.Standby{For: time.Minute},
		}},
	}
}

// app returns an app's status.
func (b *bench) app(name string) status.App {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.views["production/"+name]
}
