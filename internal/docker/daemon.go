package docker

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// daemon is the engine's process, as far as it can be seen from here.
type daemon struct {
	pid     int    // 0: not seen
	started string // clock ticks after the boot
	args    []string
}

// daemon looks behind the engine's socket, or into its usual pid file where
// systemd listens in its place.
func (e *Engine) daemon() daemon {
	path, local := strings.CutPrefix(e.client().DaemonHost(), "unix://")
	if !local {
		return daemon{}
	}
	if pid, err := peer(path); err == nil && pid > 1 {
		return seenEngine(pid) // the zero value behind a proxy of the socket
	}
	text, err := os.ReadFile("/var/run/docker.pid")
	if err != nil {
		return daemon{}
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return daemon{}
	}
	return seenEngine(pid)
}

// seenEngine is seen for a process that is an engine.
func seenEngine(pid int) daemon {
	if d := seen(pid); len(d.args) > 0 && filepath.Base(d.args[0]) == "dockerd" {
		return d
	}
	return daemon{}
}

// peer is the process that listens at a unix socket (unix(7), SO_PEERCRED); 0
// where it is in no namespace of ours.
func peer(path string) (int, error) {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	cred, err := peerCred(conn.(*net.UnixConn))
	if err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}

func peerCred(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return cred, failed
}

// seen reads a process from /proc; the zero value where there is none.
func seen(pid int) daemon {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return daemon{}
	}
	// The second field, in parentheses, may hold anything; starttime is the
	// 22nd (proc(5)).
	rest := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(rest) < 20 {
		return daemon{}
	}
	d := daemon{pid: pid, started: rest[19]}
	if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
		d.args = strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
	}
	return d
}

// logOptions says whether the engine's configuration has options for its log
// driver. What cannot be read has none.
func (d daemon) logOptions() bool {
	if slices.ContainsFunc(d.args, func(a string) bool { return strings.HasPrefix(a, "--log-opt") }) {
		return true
	}
	root := "/"
	if d.pid > 0 {
		root = fmt.Sprintf("/proc/%d/root", d.pid)
	}
	text, err := os.ReadFile(filepath.Join(root, d.configFile()))
	if err != nil {
		return false
	}
	var config struct {
		Options map[string]any `json:"log-opts"`
	}
	return json.Unmarshal(text, &config) == nil && len(config.Options) > 0
}

// configFile is the path of the engine's configuration.
func (d daemon) configFile() string {
	for i, a := range d.args {
		if value, ok := strings.CutPrefix(a, "--config-file="); ok {
			return value
		}
		if a == "--config-file" && i+1 < len(d.args) {
			return d.args[i+1]
		}
	}
	return "/etc/docker/daemon.json"
}
