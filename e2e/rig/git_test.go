package rig_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remorahq/remora/e2e/rig"
)

// lsRemote asks with git itself and returns the tip of main, or git's complaint.
func lsRemote(url string, env ...string) (string, error) {
	cmd := exec.Command("git", "ls-remote", url, "refs/heads/main")
	cmd.Env = append(os.Environ(), append(env, "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_GLOBAL=/dev/null")...)
	out, err := cmd.CombinedOutput()
	sha, _, _ := strings.Cut(string(out), "\t")
	return sha, err
}

func checkClone(t *testing.T, repo *rig.Repo, url string, env ...string) {
	t.Helper()
	sha := repo.Commit(t, "main", "begin", rig.File("a/b.txt", "one\n"), rig.Executable("run", "#!/bin/sh\n"),
		rig.Symlink("link", "a/b.txt"), rig.Submodule("sub", strings.Repeat("1", 40)))
	dir := rig.Clone(t, url, env...)
	content, err := os.ReadFile(filepath.Join(dir, "link"))
	if err != nil || string(content) != "one\n" {
		t.Errorf("clone of %s holds %q, %v", url, content, err)
	}
	if got, err := lsRemote(url, env...); got != sha {
		t.Errorf("ls-remote %s says %s, %v; want %s", url, got, err, sha)
	}
}

func TestGitHTTP(t *testing.T) {
	t.Parallel()
	open := rig.StartGitHTTP(t, rig.GitOptions{})
	checkClone(t, open.NewRepo(t, "open.git"), open.URL("open.git"))

	closed := rig.StartGitHTTP(t, rig.GitOptions{TLS: true, Auth: &rig.Credentials{Username: "bot", Password: "t0ken"}})
	repo := closed.NewRepo(t, "team/closed.git")
	ca := "GIT_SSL_CAINFO=" + closed.CAFile
	if _, err := lsRemote(closed.URL("team/closed.git"), ca); err == nil {
		t.Error("the server let somebody in without credentials")
	}
	withUser := strings.Replace(closed.URL("team/closed.git"), "https://", "https://bot:t0ken@", 1)
	if _, err := lsRemote(withUser); err == nil {
		t.Error("the certificate was trusted without its authority")
	}
	checkClone(t, repo, withUser, ca)
	closed.Stop()
	if _, err := lsRemote(withUser, ca); err == nil {
		t.Error("a stopped server answers")
	}
	closed.Start(t)
	if _, err := lsRemote(withUser, ca); err != nil {
		t.Errorf("a server that was started again does not answer: %v", err)
	}
}

func TestGitSSH(t *testing.T) {
	t.Parallel()
	s := rig.StartGitSSH(t, rig.GitOptions{})
	env := "GIT_SSH_COMMAND=" + s.Command()
	checkClone(t, s.NewRepo(t, "infra.git"), s.URL("infra.git"), env)

	stranger := strings.Replace(env, s.KeyFile, s.StrangerKey, 1)
	if _, err := lsRemote(s.URL("infra.git"), stranger); err == nil {
		t.Error("the server let a stranger in")
	}
	s.RotateHostKey(t)
	if _, err := lsRemote(s.URL("infra.git"), env); err == nil {
		t.Error("another host key was trusted")
	}
	s.Pin(t)
	if out, err := lsRemote(s.URL("infra.git"), env); err != nil {
		t.Errorf("the pinned key is refused: %v: %s", err, out)
	}
}

func TestGitDaemonAndFile(t *testing.T) {
	t.Parallel()
	d := rig.StartGitDaemon(t, rig.GitOptions{})
	repo := d.NewRepo(t, "plain.git")
	checkClone(t, repo, d.URL("plain.git"))
	checkClone(t, repo, repo.FileURL())
}

func TestRepoHistory(t *testing.T) {
	t.Parallel()
	repo := rig.NewRepo(t, t.TempDir(), "r.git")
	first := repo.Commit(t, "main", "v1", rig.File(".env", "TAG=v1\n"))
	second := repo.Commit(t, "main", "v2", rig.File(".env", "TAG=v2\n"))
	reverted := repo.Revert(t, "main")
	if got := repo.Git(t, "show", reverted+":.env"); got != "TAG=v1" {
		t.Errorf("after the revert the file holds %q", got)
	}
	if got := repo.Rev(t, reverted+"^"); got != second {
		t.Errorf("parent of the revert is %s, want %s", got, second)
	}
	rewritten := repo.Rewrite(t, "main", "v3", rig.File(".env", "TAG=v3\n"))
	if got := repo.Rev(t, rewritten+"^"); got != second {
		t.Errorf("parent of the rewritten commit is %s, want %s", got, second)
	}
	repo.AnnotatedTag(t, "v1", first, "release")
	if got := repo.Rev(t, "v1^{commit}"); got != first {
		t.Errorf("tag leads to %s, want %s", got, first)
	}
	if alone := repo.Replace(t, "main", "new", rig.File("x", "y")); repo.Git(t, "rev-list", "--count", alone) != "1" {
		t.Error("a replaced branch has a parent")
	}
	repo.Commit(t, "main", "gone", rig.Remove("x"), rig.File("dir/z", ""))
	if got := repo.Git(t, "ls-tree", "-r", "--name-only", "main"); got != "dir/z" {
		t.Errorf("tree holds %q", got)
	}
	evil := repo.RawTree(t, "evil", "100644", "..", "boo")
	if got := repo.Git(t, "ls-tree", "--name-only", evil); got != ".." {
		t.Errorf("raw tree holds %q", got)
	}
	repo.DeleteBranch(t, "main")
	if tip := repo.Tip(t, "main"); tip != "" {
		t.Errorf("deleted branch is at %s", tip)
	}
}
