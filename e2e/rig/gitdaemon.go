package rig

import (
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// GitDaemon is git's own server of git:// over a folder of repositories.
type GitDaemon struct {
	Root string // folder of the repositories
	Addr string // host:port

	log     string
	process *process
}

// StartGitDaemon serves until the test ends; pushes are accepted.
func StartGitDaemon(t TB, options GitOptions) *GitDaemon {
	t.Helper()
	d := &GitDaemon{
		Root: t.TempDir(), Addr: net.JoinHostPort(options.addr(), strconv.Itoa(FreePort(t))),
		log: filepath.Join(t.TempDir(), "log"),
	}
	t.Cleanup(func() { d.Stop(t) })
	d.Start(t)
	return d
}

// NewRepo makes an empty repository on the server.
func (d *GitDaemon) NewRepo(t TB, name string) *Repo { t.Helper(); return NewRepo(t, d.Root, name) }

// URL is the git:// URL of a repository.
func (d *GitDaemon) URL(name string) string { return "git://" + d.Addr + "/" + name }

// Start serves again after [GitDaemon.Stop].
func (d *GitDaemon) Start(t TB) {
	t.Helper()
	host, port, err := net.SplitHostPort(d.Addr)
	must(t, "read address", err)
	cmd := exec.Command("git", "daemon", "--base-path="+d.Root, "--export-all", "--enable=receive-pack",
		"--reuseaddr", "--listen="+host, "--port="+port, d.Root)
	cmd.Env = gitEnv()
	p, err := startProcess("git daemon", d.log, cmd)
	must(t, "start git daemon", err)
	d.process = p
	Eventually(t, 10*time.Second, "wait for git daemon", func() error {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", d.Addr)
		if err != nil {
			return errors.Join(err, p.alive())
		}
		return conn.Close()
	})
}

// Stop ends the server with its children: connections are refused. It is
// idempotent.
func (d *GitDaemon) Stop(t TB) {
	// The git command is the parent of the daemon proper: both are in the group.
	_ = syscall.Kill(-d.process.cmd.Process.Pid, syscall.SIGTERM) // gone already is as good
	if err := d.process.stop(syscall.SIGTERM, 10*time.Second); err != nil {
		t.Errorf("stop git daemon: %v", err)
	}
}
