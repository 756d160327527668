package rig

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Repo is a bare git repository that a server or a file:// URL offers.
type Repo struct {
	Dir string // path of the bare repository
}

// Change is one path of a commit: made by [File], [Executable], [Symlink],
// [Submodule], [Remove] or [Empty].
type Change struct {
	path, mode, content string
}

// File writes a regular file.
func File(path, content string) Change { return Change{path, "100644", content} }

// Executable writes a file with the executable bit.
func Executable(path, content string) Change { return Change{path, "100755", content} }

// Symlink writes a symbolic link; the target may lead anywhere.
func Symlink(path, target string) Change { return Change{path, "120000", target} }

// Submodule writes a submodule entry for the commit given (40 hex digits).
func Submodule(path, commit string) Change { return Change{path, "160000", commit} }

// Remove removes a file or a folder.
func Remove(path string) Change { return Change{path: path, mode: "D"} }

// Empty removes everything that the commit's parent has.
func Empty() Change { return Change{mode: "deleteall"} }

// NewRepo makes an empty bare repository with main as its branch, at
// <dir>/<name>; it accepts pushes.
func NewRepo(t TB, dir, name string) *Repo {
	t.Helper()
	r := &Repo{Dir: filepath.Join(dir, name)}
	must(t, "make folder of repository", os.MkdirAll(filepath.Dir(r.Dir), 0o755))
	must(t, "make repository", gitIn("", "", nil, "init", "--quiet", "--bare", "--initial-branch=main", r.Dir))
	for key, value := range map[string]string{
		"http.receivepack": "true", "uploadpack.allowAnySHA1InWant": "true", "uploadpack.allowFilter": "true",
		"receive.denyDeletes": "false", "receive.denyNonFastForwards": "false", "gc.auto": "0",
	} {
		r.Git(t, "config", key, value)
	}
	return r
}

// FileURL is the repository's file:// URL.
func (r *Repo) FileURL() string { return "file://" + r.Dir }

// Commit adds a commit to the branch, which is made when it does not exist,
// and returns its SHA-1.
func (r *Repo) Commit(t TB, branch, message string, changes ...Change) string {
	t.Helper()
	return r.write(t, branch, r.Tip(t, branch), message, changes)
}

// Rewrite puts a commit in the place of the branch's last one, as a
// force-push of an amended commit does, and returns its SHA-1.
func (r *Repo) Rewrite(t TB, branch, message string, changes ...Change) string {
	t.Helper()
	return r.write(t, branch, r.Rev(t, branch+"^"), message, changes)
}

// Replace gives the branch a new history of one commit.
func (r *Repo) Replace(t TB, branch, message string, changes ...Change) string {
	t.Helper()
	return r.write(t, branch, "", message, changes)
}

// Revert adds a commit that undoes the branch's last one, and returns its SHA-1.
func (r *Repo) Revert(t TB, branch string) string {
	t.Helper()
	tip := r.Tip(t, branch)
	subject := r.Git(t, "log", "-1", "--format=%s", tip)
	tree := r.Git(t, "rev-parse", tip+"^^{tree}")
	sha := r.Git(t, "commit-tree", tree, "-p", tip, "-m", fmt.Sprintf("Revert %q", subject))
	r.Git(t, "update-ref", "refs/heads/"+branch, sha)
	return sha
}

// write makes one commit by fast-import: one process, no work tree.
func (r *Repo) write(t TB, branch, parent, message string, changes []Change) string {
	t.Helper()
	var in bytes.Buffer
	fmt.Fprintf(&in, "commit refs/heads/%s\ncommitter Rig <rig@example.com> now\ndata %d\n%s\n", branch, len(message), message)
	if parent != "" {
		fmt.Fprintf(&in, "from %s\n", parent)
	}
	for _, c := range changes {
		c.write(&in)
	}
	must(t, "commit to "+branch, gitIn(r.Dir, in.String(), nil, "fast-import", "--quiet", "--force", "--date-format=now"))
	return r.Tip(t, branch)
}

func (c Change) write(in *bytes.Buffer) {
	switch c.mode {
	case "deleteall":
		fmt.Fprintln(in, "deleteall")
	case "D":
		fmt.Fprintf(in, "D %s\n", c.path)
	case "160000":
		fmt.Fprintf(in, "M %s %s %s\n", c.mode, c.content, c.path)
	default:
		fmt.Fprintf(in, "M %s inline %s\ndata %d\n%s\n", c.mode, c.path, len(c.content), c.content)
	}
}

// RawTree commits a tree whose single entry has a name that git itself would
// refuse, such as ".." or ".git", with a blob as content; mode such as 100644.
func (r *Repo) RawTree(t TB, branch, mode, name, content string) string {
	t.Helper()
	blob := r.hash(t, "blob", []byte(content))
	tree := r.hash(t, "tree", fmt.Appendf(nil, "%s %s\x00%s", mode, name, unhex(blob)))
	sha := r.Git(t, "commit-tree", tree, "-m", "raw tree")
	r.Git(t, "update-ref", "refs/heads/"+branch, sha)
	return sha
}

func (r *Repo) hash(t TB, kind string, content []byte) string {
	t.Helper()
	var out strings.Builder
	err := gitIn(r.Dir, string(content), &out, "hash-object", "-t", kind, "-w", "--literally", "--stdin")
	must(t, "write "+kind, err)
	return strings.TrimSpace(out.String())
}

func unhex(s string) []byte {
	var b []byte
	_, _ = fmt.Sscanf(s, "%x", &b) // what git prints is hexadecimal
	return b
}

// Tip is the SHA-1 of the branch's last commit; empty when there is no branch.
func (r *Repo) Tip(t TB, branch string) string {
	t.Helper()
	return r.Git(t, "for-each-ref", "--format=%(objectname)", "refs/heads/"+branch)
}

// Rev is the SHA-1 that a revision stands for.
func (r *Repo) Rev(t TB, revision string) string {
	t.Helper()
	return r.Git(t, "rev-parse", "--verify", "--end-of-options", revision)
}

// Tag sets a lightweight tag, moving one that exists.
func (r *Repo) Tag(t TB, name, revision string) {
	t.Helper()
	r.Git(t, "tag", "--force", name, revision)
}

// AnnotatedTag sets an annotated tag, moving one that exists.
func (r *Repo) AnnotatedTag(t TB, name, revision, message string) {
	t.Helper()
	r.Git(t, "tag", "--force", "--annotate", "--message", message, name, revision)
}

// DeleteTag removes a tag.
func (r *Repo) DeleteTag(t TB, name string) { t.Helper(); r.Git(t, "tag", "--delete", name) }

// DeleteBranch removes a branch, the last one too.
func (r *Repo) DeleteBranch(t TB, branch string) {
	t.Helper()
	r.Git(t, "update-ref", "-d", "refs/heads/"+branch)
}

// Clone makes a working copy by the URL given, with the environment added to
// git's, and returns its folder.
func Clone(t TB, url string, env ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "clone")
	var out strings.Builder
	err := gitWith(env, "", "", &out, "clone", "--quiet", url, dir)
	must(t, "clone "+url, err)
	return dir
}

// Git runs git in the repository and returns what it printed, trimmed.
func (r *Repo) Git(t TB, args ...string) string {
	t.Helper()
	var out strings.Builder
	must(t, "run git", gitIn(r.Dir, "", &out, args...))
	return strings.TrimSpace(out.String())
}

func gitIn(dir, stdin string, out *strings.Builder, args ...string) error {
	return gitWith(nil, dir, stdin, out, args...)
}

// gitWith runs git untouched by the machine's and the user's configuration.
func gitWith(env []string, dir, stdin string, out *strings.Builder, args ...string) error {
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	cmd.Env = append(gitEnv(), env...)
	var problems strings.Builder
	cmd.Stderr = &problems
	if out != nil {
		cmd.Stdout = out
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(problems.String()))
	}
	return nil
}

func gitEnv() []string {
	return append(os.Environ(),
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Rig", "GIT_AUTHOR_EMAIL=rig@example.com",
		"GIT_COMMITTER_NAME=Rig", "GIT_COMMITTER_EMAIL=rig@example.com",
		// Servers of the rig and their clients may be different users.
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	)
}
