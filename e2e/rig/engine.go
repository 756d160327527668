package rig

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Line is a line of Docker Engines.
type Line string

// The lines that everything is tested on.
const (
	Debian  Line = "debian"  // the installed dockerd and containerd: 20.10 on Debian 12
	Current Line = "current" // dockerd and runc built from their modules, see e2e/tools
)

// Lines are both.
func Lines() []Line { return []Line{Debian, Current} }

// Engine is a Docker Engine with its own containerd, network namespace,
// folder and cgroup. Its methods may be called from several goroutines,
// but those that start and stop it only from one.
type Engine struct {
	Line Line

	slot       *slot  // nil for the machine's own engine
	gateway    string // of the machine's own engine: this machine, as its containers see it
	socket     string
	tools      string // folder with dockerd, docker-proxy and runc; empty: those of the machine
	containerd *process
	dockerd    *process
}

// StartEngine starts an engine of the line and waits until it answers. It is
// removed, with all its containers, images and volumes, when the test ends.
// Tests share one for each line of a test binary: see [Engines].
func StartEngine(t TB, line Line) *Engine {
	t.Helper()
	requireRoot(t, "a Docker Engine of one's own")
	e := &Engine{Line: line}
	if line == Current {
		e.tools = currentTools(t)
	}
	slot, err := claimSlot()
	must(t, "find a place for the engine", err)
	e.slot, e.socket = slot, slot.path("docker.sock")
	t.Cleanup(func() { e.remove(t) })
	must(t, "make network of the engine", slot.addNetwork())
	must(t, "configure engine", e.configure())
	e.Start(t)
	return e
}

// currentTools joins what the current line needs in one folder of links.
func currentTools(t TB) string {
	t.Helper()
	moby, runc := mustTool(t, dockerTool()), mustTool(t, runcTool())
	dir := filepath.Join(filepath.Dir(moby), "current-"+filepath.Base(moby)+"-"+filepath.Base(runc))
	must(t, "make folder of the current line", os.MkdirAll(dir, 0o755))
	for _, program := range []string{
		filepath.Join(moby, "dockerd"), filepath.Join(moby, "docker-proxy"), filepath.Join(runc, "runc"),
	} {
		err := os.Symlink(program, filepath.Join(dir, filepath.Base(program)))
		if !errors.Is(err, fs.ErrExist) {
			must(t, "link program of the current line", err)
		}
	}
	return dir
}

// MachineEngine is the engine that runs on this machine, at its usual socket.
// What is made on it must be removed by who made it.
func MachineEngine(t TB) *Engine {
	t.Helper()
	e := &Engine{Line: "machine", socket: "/var/run/docker.sock"}
	if err := e.ping(t.Context()); err != nil {
		t.Fatalf("the Docker Engine at %s does not answer (%v): start it, for instance with `sudo dockerd &`", e.socket, err)
	}
	var bridge struct{ Options map[string]string }
	e.Call(t, "GET", "/networks/bridge", nil, &bridge)
	gateway, err := interfaceAddr(bridge.Options["com.docker.network.bridge.name"])
	must(t, "find the address of the default bridge", err)
	e.gateway = gateway
	return e
}

// configure writes the configuration files, so that the machine's own
// daemon.json does not reach this engine.
func (e *Engine) configure() error {
	s := e.slot
	for _, dir := range []string{"data", "exec", "containerd", "logs"} {
		if err := os.MkdirAll(s.path(dir), 0o711); err != nil {
			return err
		}
	}
	config := map[string]any{
		"data-root": s.path("data"), "exec-root": s.path("exec"), "pidfile": s.path("docker.pid"),
		"hosts": []string{"unix://" + e.socket}, "containerd": s.path("containerd.sock"),
		"cgroup-parent": s.cgroup(), "exec-opts": []string{"native.cgroupdriver=cgroupfs"},
		"insecure-registries": []string{"198.18.0.0/15"},
	}
	if e.Line == Current {
		config["seccomp-profile"] = "unconfined" // its runc is built without libseccomp
	}
	if driver := fallbackDriver(s.path("data"), e.Line); driver != "" {
		config["storage-driver"] = driver
	}
	body, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path("daemon.json"), body, 0o644); err != nil {
		return err
	}
	toml := fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = %q
`, s.path("containerd/root"), s.path("exec/containerd"), s.path("containerd.sock"))
	return os.WriteFile(s.path("containerd.toml"), []byte(toml), 0o644)
}

// fallbackDriver is the storage driver to ask for where overlayfs cannot be
// mounted on the folder, as inside a container; empty where it can.
func fallbackDriver(dir string, line Line) string {
	probe, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return ""
	}
	defer os.RemoveAll(probe) //nolint:errcheck // goes with the engine's folder at the latest
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(probe, d), 0o755); err != nil {
			return ""
		}
	}
	options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", probe)
	merged := filepath.Join(probe, "merged")
	if err := syscall.Mount("overlay", merged, "overlay", 0, options); err == nil {
		_ = syscall.Unmount(merged, syscall.MNT_DETACH)
		return ""
	}
	if line == Current {
		return "native"
	}
	return "vfs"
}

// Start starts the engine, and its containerd where that does not run, on
// what it had before; it returns when the engine answers.
func (e *Engine) Start(t TB) {
	t.Helper()
	if e.dockerd != nil && e.dockerd.alive() == nil {
		t.Fatalf("start engine: it runs")
	}
	if e.containerd == nil || e.containerd.alive() != nil {
		e.containerd = e.launch(t, "containerd", "--config", e.slot.path("containerd.toml"))
		Eventually(t, 30*time.Second, "wait for containerd", func() error {
			_, err := os.Stat(e.slot.path("containerd.sock"))
			return e.orDead(e.containerd, err)
		})
	}
	e.dockerd = e.launch(t, "dockerd", "--config-file", e.slot.path("daemon.json"))
	Eventually(t, 60*time.Second, "wait for the engine", func() error {
		return e.orDead(e.dockerd, e.ping(t.Context()))
	})
}

// orDead prefers the reason of a process's end to the symptom.
func (e *Engine) orDead(p *process, err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(err, p.alive())
}

func (e *Engine) launch(t TB, program string, args ...string) *process {
	t.Helper()
	path, err := e.program(program)
	if err != nil {
		t.Fatalf("find %s: %v: install it, for instance with `apt-get install docker.io`", program, err)
	}
	cmd := e.Command(path, args...)
	if e.tools != "" {
		cmd.Env = append(os.Environ(), "PATH="+e.tools+":"+os.Getenv("PATH"))
	}
	p, err := startProcess(program, e.slot.path("logs/"+program+".log"), cmd)
	must(t, "start engine", err)
	return p
}

// program is the path of one of the engine's programs: of the line's own
// tools, else of the machine's.
func (e *Engine) program(name string) (string, error) {
	if path := filepath.Join(e.tools, name); e.tools != "" && isFile(path) {
		return path, nil
	}
	return exec.LookPath(name)
}

// Stop stops the engine as a service manager does: with SIGTERM, on which it
// stops its containers.
func (e *Engine) Stop(t TB) {
	t.Helper()
	must(t, "stop engine", e.dockerd.stop(syscall.SIGTERM, 60*time.Second))
}

// Kill kills the engine alone; its containers and its containerd live on.
func (e *Engine) Kill(t TB) {
	t.Helper()
	must(t, "kill engine", e.dockerd.stop(syscall.SIGKILL, 10*time.Second))
}

// Restart is Stop and Start.
func (e *Engine) Restart(t TB) {
	t.Helper()
	e.Stop(t)
	e.Start(t)
}

// PowerCut ends everything of the engine at once, containers included, with
// its network: what is left is what a disk keeps. The following [Engine.Start]
// is a boot. (The kernel's boot ID stays the same.) Processes that a test
// runs in the engine's namespace must have ended before.
func (e *Engine) PowerCut(t TB) {
	t.Helper()
	must(t, "cut power", errors.Join(
		e.dockerd.stop(syscall.SIGKILL, 0), e.containerd.stop(syscall.SIGKILL, 0),
		e.slot.killAll(), e.slot.unmountAll(), e.slot.removeNetwork(), e.slot.removeCgroups(),
		os.RemoveAll(e.slot.path("exec")), os.RemoveAll(e.slot.path("docker.pid")),
		os.RemoveAll(e.socket), os.RemoveAll(e.slot.path("containerd.sock")),
		os.MkdirAll(e.slot.path("exec"), 0o711), e.slot.addNetwork()))
}

// remove takes everything down; where the test failed, the logs are kept.
func (e *Engine) remove(t TB) {
	if t.Failed() {
		e.keepLogs(t)
	}
	err := errors.Join(
		e.dockerd.stop(syscall.SIGKILL, 0), e.containerd.stop(syscall.SIGKILL, 0), e.slot.release())
	if err != nil {
		t.Errorf("remove engine: %v", err)
	}
}

func (e *Engine) keepLogs(t TB) {
	dir, err := os.MkdirTemp("", "remora-rig-logs-")
	if err == nil {
		err = os.CopyFS(dir, os.DirFS(e.slot.path("logs")))
	}
	if err != nil {
		t.Logf("keep logs of the engine: %v", err)
		return
	}
	t.Logf("logs of the %s engine are kept in %s", e.Line, dir)
}
