// Package host runs remora on one of the rig's engines as a user would: a host
// file, a git repository, the agent and the ambassador as processes of their
// own, and the command line to ask them.
//
// It is for tests, the demo, the torture and the benchmarks; nothing of the
// product imports it. A Host belongs to one test; its methods may be called
// from any goroutine of it.
package host

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// Environment is the one that every Host follows.
const Environment = "production"

// Options of a [Host]; the zero value is a host with preset compose and a
// fast poll that follows a file:// repository of its own.
type Options struct {
	// Bin is the folder of the programs; default $REMORA_TEST_BIN, else
	// [rig.Product].
	Bin string
	// URL is the repository's, default Repo's file:// URL.
	URL  string
	Repo *rig.Repo
	// Extra lines of the host file.
	Extra string
	// SourceExtra are further lines of the source, indented by four.
	SourceExtra string
	// Policy is the policy section's body; default preset compose.
	Policy string
	// Env is added to the agent's environment.
	Env []string
	// Agent is the agent's command instead of `remora agent`; --config and the
	// host file are appended.
	Agent []string
	// Poll is the source's poll; default 1h, so that only `reconcile` looks.
	Poll time.Duration
	// State and Run folders; default new ones.
	State, Run string
}

// Host is one host with remora on it.
type Host struct {
	Engine *rig.Engine
	Repo   *rig.Repo
	Name   string
	// Dir holds the host file, State and Run the agent's folders.
	Dir, State, Run string
	opts            Options
	bin             string

	mu         sync.Mutex
	agent      *rig.Process
	ambassador *rig.Process
	apps       map[string]string // files in the repository by path
}

// New writes the host file and makes the repository; nothing runs yet.
func New(t rig.TB, e *rig.Engine, opts Options) *Host {
	t.Helper()
	h := &Host{Engine: e, Repo: opts.Repo, Name: rig.Unique("host"), Dir: t.TempDir(), opts: opts, apps: map[string]string{}}
	h.bin = cmp.Or(opts.Bin, os.Getenv("REMORA_TEST_BIN"))
	if h.bin == "" {
		h.bin = rig.Product(t)
	}
	if h.Repo == nil {
		h.Repo = rig.NewRepo(t, t.TempDir(), "infra.git")
	}
	h.State, h.Run = orDir(opts.State, h.Dir, "state"), orDir(opts.Run, h.Dir, "run")
	h.Commit(t, "begin", rig.File(envFile("environment.yaml"), "version: 1\ndefault_placement: all\nhosts: ["+h.Name+"]\n"))
	h.WriteConfig(t)
	t.Cleanup(func() { h.clean(t) })
	return h
}

func orDir(given, dir, name string) string {
	if given != "" {
		return given
	}
	return filepath.Join(dir, name)
}

// Start makes a Host and starts the ambassador and the agent on it.
func Start(t rig.TB, e *rig.Engine, opts Options) *Host {
	t.Helper()
	h := New(t, e, opts)
	h.StartAmbassador(t)
	h.StartAgent(t)
	return h
}

// ConfigPath is the host file.
func (h *Host) ConfigPath() string { return filepath.Join(h.Dir, "host.yaml") }

// WriteConfig writes the host file.
func (h *Host) WriteConfig(t rig.TB) {
	t.Helper()
	url := h.opts.URL
	if url == "" {
		url = h.Repo.FileURL()
	}
	poll := h.opts.Poll
	if poll == 0 {
		poll = time.Hour
	}
	policy := h.opts.Policy
	if policy == "" {
		policy = "preset: compose"
	}
	text := fmt.Sprintf(`version: 1
name: %s
engine: %s
state: %s
run: %s
poll: %s
policy: {%s}
ambassador: {mode: external}
log: {level: debug}
sources:
  - name: infra
    url: %s
    ref: main
    environments: [%s]
%s
%s
`, h.Name, h.Engine.Host(), h.State, h.Run, poll, policy, url, Environment, h.opts.SourceExtra, h.opts.Extra)
	if err := os.WriteFile(h.ConfigPath(), []byte(text), 0o600); err != nil {
		t.Fatalf("write host file: %v", err)
	}
}

// SetAgent changes the agent's command and environment, from its next start.
func (h *Host) SetAgent(command, env []string) { h.opts.Agent, h.opts.Env = command, env }

// StartAmbassador starts the data plane and waits until it answers.
func (h *Host) StartAmbassador(t rig.TB) {
	t.Helper()
	cmd := h.Engine.Command(filepath.Join(h.bin, "remora-ambassador"), "--run", h.Run, "--state", filepath.Join(h.State, "ambassador"))
	p := rig.Spawn(t, "ambassador", cmd)
	h.mu.Lock()
	h.ambassador = p
	h.mu.Unlock()
	rig.Eventually(t, 10*time.Second, "the ambassador to answer", func() error {
		if err := p.Alive(); err != nil {
			return err
		}
		_, err := os.Stat(filepath.Join(h.Run, "ambassador.sock"))
		return err
	})
}

// StartAgent starts the agent and waits until it answers.
func (h *Host) StartAgent(t rig.TB) {
	t.Helper()
	h.SpawnAgent(t)
	h.WaitAgent(t)
}

// SpawnAgent starts the agent and does not wait.
func (h *Host) SpawnAgent(t rig.TB) *rig.Process {
	t.Helper()
	command := h.opts.Agent
	if len(command) == 0 {
		command = []string{filepath.Join(h.bin, "remora"), "agent"}
	}
	args := append(slices.Clone(command[1:]), "--config", h.ConfigPath())
	cmd := h.Engine.Command(command[0], args...)
	cmd.Env = append(os.Environ(), h.opts.Env...)
	p := rig.Spawn(t, "agent", cmd)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.agent = p
	return p
}

// WaitAgent waits until the agent answers.
func (h *Host) WaitAgent(t rig.TB) {
	t.Helper()
	p := h.Agent()
	rig.Eventually(t, 20*time.Second, "the agent to answer", func() error {
		if err := p.Alive(); err != nil {
			return fmt.Errorf("%w\n%s", err, p.Output(t))
		}
		_, err := h.TryStatus()
		return err
	})
}

// Agent and Ambassador are the processes started last.
func (h *Host) Agent() *rig.Process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.agent
}

// Ambassador is the ambassador's holder.
func (h *Host) Ambassador() *rig.Process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ambassador
}

// Remora runs a command of the command line and returns its output and exit
// code.
func (h *Host) Remora(t rig.TB, args ...string) (out string, code int) {
	t.Helper()
	cmd := h.command(args...)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return b.String(), 0
	case errors.As(err, &exit):
		return b.String(), exit.ExitCode()
	}
	t.Fatalf("remora %s: %v\n%s", strings.Join(args, " "), err, b.String())
	return "", 0
}

// Must runs a command that must succeed.
func (h *Host) Must(t rig.TB, args ...string) string {
	t.Helper()
	out, code := h.Remora(t, args...)
	if code != 0 {
		t.Fatalf("remora %s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func (h *Host) command(args ...string) *exec.Cmd {
	cmd := h.Engine.Command(filepath.Join(h.bin, "remora"), args...)
	cmd.Env = append(os.Environ(), "REMORA_SOCKET="+filepath.Join(h.Run, "agent.sock"))
	return cmd
}

// Status asks the agent for its whole status.
func (h *Host) Status(t rig.TB) status.Host {
	t.Helper()
	s, err := h.TryStatus()
	if err != nil {
		t.Fatalf("status: %v", err)
	}
	return s
}

// TryStatus asks the agent for its whole status; it may not answer.
func (h *Host) TryStatus() (status.Host, error) {
	var s status.Host
	out, err := h.command("status", "-o", "json").Output()
	if err != nil {
		return s, fmt.Errorf("status: %w", err)
	}
	return s, json.Unmarshal(out, &s)
}

// App returns the status of one app, and whether there is one.
func App(s status.Host, name string) (status.App, bool) {
	i := slices.IndexFunc(s.Apps, func(a status.App) bool { return a.Name == name })
	if i < 0 {
		return status.App{}, false
	}
	return s.Apps[i], true
}

// Service returns the status of one service.
func Service(a status.App, name string) status.Service {
	for _, s := range a.Services {
		if s.Name == name {
			return s
		}
	}
	return status.Service{}
}

// Commit commits changes to main and returns the commit.
func (h *Host) Commit(t rig.TB, message string, changes ...rig.Change) string {
	t.Helper()
	return h.Repo.Commit(t, "main", message, changes...)
}

// App commits an app: its compose file and its .env, empty for none.
func (h *Host) App(t rig.TB, name, compose string, env map[string]string) string {
	t.Helper()
	changes := []rig.Change{rig.File(envFile(name+"/compose.yaml"), compose)}
	if env != nil {
		changes = append(changes, rig.File(envFile(name+"/.env"), dotenv(env)))
	}
	return h.Commit(t, "change "+name, changes...)
}

// Set commits one variable of an app's .env, as a release does.
func (h *Host) Set(t rig.TB, app string, env map[string]string) string {
	t.Helper()
	return h.Commit(t, "release "+app, rig.File(envFile(app+"/.env"), dotenv(env)))
}

func dotenv(env map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(&b, "%s=%s\n", k, env[k])
	}
	return b.String()
}

func envFile(path string) string { return "environments/" + Environment + "/" + path }

// Reconcile has the agent look at the repository now.
func (h *Host) Reconcile(t rig.TB) { t.Helper(); h.Must(t, "reconcile") }

// WaitHealthy waits until an app runs what the repository wants.
func (h *Host) WaitHealthy(t rig.TB, app string, within time.Duration) {
	t.Helper()
	h.WaitApp(t, app, within, "healthy and in sync", func(a status.App) bool {
		return a.Health == status.Healthy && a.Sync == status.Synced && a.Rollout == nil
	})
}

// WaitReason waits until an app's reason is r.
func (h *Host) WaitReason(t rig.TB, app string, within time.Duration, r status.Reason) {
	t.Helper()
	h.WaitApp(t, app, within, string(r), func(a status.App) bool { return a.Reason == r && a.Rollout == nil })
}

// WaitApp waits until an app's status is as ok says.
func (h *Host) WaitApp(t rig.TB, app string, within time.Duration, what string, ok func(status.App) bool) {
	t.Helper()
	rig.Eventually(t, within, app+" to be "+what, func() error {
		s, err := h.TryStatus()
		if err != nil {
			return err
		}
		a, found := App(s, app)
		if found && ok(a) {
			return nil
		}
		data, _ := json.MarshalIndent(a, "", " ")
		return fmt.Errorf("it is\n%s", data)
	})
}

// Close stops the agent and the ambassador and removes what remora made on the
// engine, so that another host may follow on it before the test ends.
func (h *Host) Close(t rig.TB) {
	t.Helper()
	h.clean(t)
	if a := h.Ambassador(); a != nil && a.Alive() == nil {
		a.Stop(t, 20*time.Second)
	}
	h.removeNamespaces()
}

// clean removes what remora made on the engine.
func (h *Host) clean(t rig.TB) {
	if a := h.Agent(); a != nil && a.Alive() == nil {
		a.Signal(t, syscall.SIGKILL)
		<-a.Done()
	}
	h.removeContainers(t)
}
