package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// gitHome gives git an identity of its own and no configuration but that.
func gitHome(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	for _, kv := range [][2]string{{"user.name", "Ada"}, {"user.email", "ada@example.com"}, {"init.defaultBranch", "main"}} {
		runGit(t, home, "config", "--global", kv[0], kv[1])
	}
}

func runGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

const shopEnv = "environments/production/shop/.env"

// remoteRepo makes a bare repository with one app and returns its path.
func remoteRepo(t *testing.T, env string) string {
	t.Helper()
	bare := filepath.Join(t.TempDir(), "repo.git")
	runGit(t, filepath.Dir(bare), "init", "--quiet", "--bare", bare)
	seed := clone(t, bare)
	file := filepath.Join(seed, shopEnv)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{file: env, filepath.Join(seed, "README"): "x"} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	runGit(t, seed, "add", "-A")
	runGit(t, seed, "commit", "--quiet", "-m", "begin")
	runGit(t, seed, "push", "--quiet", "origin", "HEAD:main")
	return bare
}

func clone(t *testing.T, bare string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "clone")
	runGit(t, filepath.Dir(dir), "clone", "--quiet", bare, dir)
	return dir
}

func remora(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Main(t.Context(), args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

func TestSetCommitsThatFileOnly(t *testing.T) {
	gitHome(t)
	dir := clone(t, remoteRepo(t, "# tags\nWEB_TAG=v43 # web\nB='2'\n"))
	// Other edits, staged or not, stay as they are.
	if err := os.WriteFile(filepath.Join(dir, "README"), []byte("staged"), 0o600); err != nil {
		t.Fatal(err)
	}
	runGit(t, dir, "add", "README")
	code, out, errOut := remora(t, "set", "production/shop", "WEB_TAG=v44", "NEW=x y", "--repo", dir)
	if code != 0 || !strings.Contains(out, "WEB_TAG v43 → v44") || !strings.Contains(out, "not pushed") {
		t.Fatalf("exit %d\n%s%s", code, out, errOut)
	}
	if got := runGit(t, dir, "show", "HEAD:"+shopEnv); got != "# tags\nWEB_TAG=v44 # web\nB='2'\nNEW='x y'" {
		t.Errorf("committed:\n%s", got)
	}
	if got := runGit(t, dir, "show", "--name-only", "--format=%s|%an", "HEAD"); got != "production/shop: WEB_TAG v44, NEW x y|Ada\n\n"+shopEnv {
		t.Errorf("the commit is %q", got)
	}
	if got := runGit(t, dir, "diff", "--cached", "--name-only"); got != "README" {
		t.Errorf("staged now: %q, want README as before", got)
	}
	head := runGit(t, dir, "rev-parse", "HEAD")
	code, out, _ = remora(t, "set", "production/shop", "WEB_TAG=v44", "--repo", dir)
	if code != 0 || !strings.Contains(out, "so already") || runGit(t, dir, "rev-parse", "HEAD") != head {
		t.Errorf("setting what is so: exit %d, %s", code, out)
	}
}

func TestSetTellsAnotherNameFromATypo(t *testing.T) {
	gitHome(t)
	dir := clone(t, remoteRepo(t, "WEB_TAG=v43\n"))
	for arg, want := range map[string]string{
		"WEBTAG=v44":  "WEBTAG was not in " + shopEnv + " before; did you mean WEB_TAG?",
		"LOG=debug":   "",
		"WEB_TAG=v44": "",
	} {
		code, out, errOut := remora(t, "set", "production/shop", arg, "--repo", dir)
		if code != 0 || (want == "") != (errOut == "") || !strings.Contains(errOut, want) {
			t.Errorf("set %s: exit %d, %q, want %q\n%s", arg, code, errOut, want, out)
		}
	}
}

func TestSetRefusals(t *testing.T) {
	gitHome(t)
	dir := clone(t, remoteRepo(t, "WEB_TAG=v43\n"))
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no_app":       {[]string{"set", "production/store", "A=1", "--repo", dir}, 1, "no app store in environment production"},
		"no_env":       {[]string{"set", "shop", "A=1", "--repo", dir}, 2, "write ENV/APP"},
		"outside":      {[]string{"set", "../shop", "A=1", "--repo", dir}, 2, "write ENV/APP"},
		"no_value":     {[]string{"set", "production/shop", "WEB_TAG", "--repo", dir}, 2, "write VAR=VALUE"},
		"bad_name":     {[]string{"set", "production/shop", "WEB-TAG=1", "--repo", dir}, 2, "write VAR=VALUE"},
		"twice":        {[]string{"set", "production/shop", "A=1", "A=2", "--repo", dir}, 2, "set twice"},
		"line_break":   {[]string{"set", "production/shop", "A=1\n2", "--repo", dir}, 1, "line break"},
		"no_repo":      {[]string{"set", "production/shop", "A=1", "--repo", t.TempDir()}, 1, "in a clone"},
		"url":          {[]string{"set", "production/shop", "A=1", "--repo", "https://git.example.com/x"}, 2, "not in this version"},
		"no_such_push": {[]string{"set", "production/shop", "A=1", "--repo", dir, "--push", "--branch", "nope"}, 1, "nope"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errOut := remora(t, tc.args...)
			if code != tc.code || !strings.Contains(errOut, tc.want) {
				t.Errorf("exit %d, want %d with %q:\n%s%s", code, tc.code, tc.want, out, errOut)
			}
		})
	}
	if err := os.WriteFile(filepath.Join(dir, shopEnv), []byte("WEB_TAG=mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := remora(t, "set", "production/shop", "WEB_TAG=v44", "--repo", dir); code != 1 || !strings.Contains(errOut, "not committed") {
		t.Errorf("over an edit that is not committed: exit %d, %s", code, errOut)
	}
	t.Setenv("PATH", t.TempDir())
	if code, _, errOut := remora(t, "set", "production/shop", "A=1", "--repo", dir); code != 1 || !strings.Contains(errOut, "install git") {
		t.Errorf("without git: exit %d, %s", code, errOut)
	}
}

func TestSetTakesAFailedCommitBack(t *testing.T) {
	gitHome(t)
	dir := clone(t, remoteRepo(t, "WEB_TAG=v43\n"))
	hook := filepath.Join(dir, ".git", "hooks", "pre-commit")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\necho no tags on Friday >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	code, _, errOut := remora(t, "set", "production/shop", "WEB_TAG=v44", "--repo", dir)
	if code != 1 || !strings.Contains(errOut, "no tags on Friday") {
		t.Errorf("exit %d, %s", code, errOut)
	}
	if got := runGit(t, dir, "status", "--porcelain"); got != "" {
		t.Errorf("left behind: %q", got)
	}
}

func TestSetPushLeavesTheUsersWorkAlone(t *testing.T) {
	gitHome(t)
	bare := remoteRepo(t, "WEB_TAG=v43\nWORKER_TAG=v43\n")
	dir, other := clone(t, bare), clone(t, bare)
	if code, _, errOut := remora(t, "set", "production/shop", "WORKER_TAG=v9", "--push", "--repo", other); code != 0 {
		t.Fatal(errOut)
	}
	// A commit of the user's own that is not to be pushed, and an edit.
	if err := os.WriteFile(filepath.Join(dir, "README"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	runGit(t, dir, "commit", "--quiet", "-am", "not ready")
	if err := os.WriteFile(filepath.Join(dir, "README"), []byte("editing"), 0o600); err != nil {
		t.Fatal(err)
	}
	head := runGit(t, dir, "rev-parse", "HEAD")
	code, out, errOut := remora(t, "set", "production/shop", "WEB_TAG=v44", "--push", "--repo", dir, "-m", "deploy v44")
	if code != 0 || !strings.Contains(out, "is on origin/main") || !strings.Contains(errOut, "git pull") {
		t.Fatalf("exit %d\n%s%s", code, out, errOut)
	}
	if got := runGit(t, bare, "show", "main:"+shopEnv); got != "WEB_TAG=v44\nWORKER_TAG=v9" {
		t.Errorf("on the server:\n%s", got)
	}
	if got := runGit(t, bare, "log", "--format=%s", "main"); got != "deploy v44\nproduction/shop: WORKER_TAG v9\nbegin" {
		t.Errorf("commits on the server:\n%s", got)
	}
	if runGit(t, dir, "rev-parse", "HEAD") != head || runGit(t, dir, "worktree", "list", "--porcelain") == "" {
		t.Error("the user's branch moved")
	}
	if trees := runGit(t, dir, "worktree", "list"); strings.Count(trees, "\n") != 0 {
		t.Errorf("work trees left:\n%s", trees)
	}
	if refs := runGit(t, dir, "for-each-ref", "refs/remora"); refs != "" {
		t.Errorf("refs left:\n%s", refs)
	}
	// Where it is a mere step forward, the user's branch comes along.
	if code, _, errOut := remora(t, "set", "production/shop", "WORKER_TAG=v10", "--push", "--repo", other, "--force"); code != 0 {
		t.Fatal(errOut)
	}
	if got, want := runGit(t, other, "rev-parse", "HEAD"), runGit(t, bare, "rev-parse", "main"); got != want {
		t.Errorf("the clean clone is at %s, want %s", got, want)
	}
}

func TestSetPushOfTheSameVariableTwice(t *testing.T) {
	gitHome(t)
	bare := remoteRepo(t, "WEB_TAG=v43\n")
	first, second := clone(t, bare), clone(t, bare)
	if code, _, errOut := remora(t, "set", "production/shop", "WEB_TAG=v44", "--push", "--repo", first); code != 0 {
		t.Fatal(errOut)
	}
	code, _, errOut := remora(t, "set", "production/shop", "WEB_TAG=v45", "--push", "--repo", second)
	if code != exitConflict || !strings.Contains(errOut, "WEB_TAG is v44 on origin/main by now, and was v43 in this working copy (Ada, ") {
		t.Errorf("exit %d, want %d: %s", code, exitConflict, errOut)
	}
	if got := runGit(t, bare, "show", "main:"+shopEnv); got != "WEB_TAG=v44" {
		t.Errorf("on the server: %s", got)
	}
	if code, out, _ := remora(t, "set", "production/shop", "WEB_TAG=v44", "--push", "--repo", second); code != 0 || !strings.Contains(out, "so already") {
		t.Errorf("what is there already: exit %d, %s", code, out)
	}
	if code, _, errOut := remora(t, "set", "production/shop", "WEB_TAG=v45", "--push", "--repo", second, "--force"); code != 0 {
		t.Errorf("--force: exit %d, %s", code, errOut)
	}
	if got := runGit(t, bare, "show", "main:"+shopEnv); got != "WEB_TAG=v45" {
		t.Errorf("on the server: %s", got)
	}
}

// TestSetPushRace has several push at once, each another variable: all arrive,
// none is lost, whoever is first.
func TestSetPushRace(t *testing.T) {
	gitHome(t)
	const writers = 4
	var env strings.Builder
	for i := range writers {
		fmt.Fprintf(&env, "V%d=0 # keep\n", i)
	}
	bare := remoteRepo(t, env.String())
	var clones [writers]string
	for i := range clones {
		clones[i] = clone(t, bare)
	}
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i, dir := range clones {
		wg.Go(func() {
			<-begin
			var out, errOut bytes.Buffer
			args := []string{"set", "production/shop", fmt.Sprintf("V%d=%d", i, i+1), "--push", "--repo", dir, "-o", "json"}
			if code := Main(t.Context(), args, strings.NewReader(""), &out, &errOut); code != 0 {
				t.Errorf("writer %d: exit %d: %s", i, code, errOut.String())
			}
			t.Logf("writer %d: %s", i, strings.Join(strings.Fields(out.String()), " "))
		})
	}
	close(begin)
	wg.Wait()
	got := runGit(t, bare, "show", "main:"+shopEnv)
	for i := range writers {
		if !strings.Contains(got, fmt.Sprintf("V%d=%d # keep", i, i+1)) {
			t.Errorf("V%d is lost:\n%s", i, got)
		}
	}
	if n := runGit(t, bare, "rev-list", "--count", "main"); n != fmt.Sprint(writers+1) {
		t.Errorf("%s commits, want %d", n, writers+1)
	}
}
