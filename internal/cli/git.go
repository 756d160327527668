package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// git runs the user's own git program in a folder, with the user's
// configuration: identity, credentials, hooks and signing are theirs.
type git struct{ dir string }

// gitError is a git command that failed, with what it said.
type gitError struct {
	args   []string
	output string
	err    error
}

func (e *gitError) Error() string {
	return fmt.Sprintf("git %s: %s", e.args[0], orElse(strings.TrimSpace(e.output), e.err.Error()))
}

func (e *gitError) Unwrap() error { return e.err }

// run returns what a git command printed, without the last line break.
func (g git) run(ctx context.Context, args ...string) (string, error) {
	out, err := g.raw(ctx, args...)
	return strings.TrimRight(string(out), "\r\n"), err
}

func (g git) raw(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, errors.New("`remora set` uses the git program, and there is none in PATH; install git")
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return out.Bytes(), &gitError{args: args, output: errOut.String() + out.String(), err: err}
	}
	return out.Bytes(), nil
}

// file returns a file's content at a revision; ok is false where it has none.
func (g git) file(ctx context.Context, rev, path string) (data []byte, ok bool, err error) {
	id, err := g.run(ctx, "ls-tree", rev, "--", path)
	if err != nil || id == "" {
		return nil, false, err
	}
	if !strings.HasPrefix(id, "100") {
		return nil, false, fmt.Errorf("%s at %s is no plain file", path, rev)
	}
	data, err = g.raw(ctx, "cat-file", "blob", rev+":"+path)
	return data, err == nil, err
}

// folder says whether a revision has a folder.
func (g git) folder(ctx context.Context, rev, path string) (bool, error) {
	line, err := g.run(ctx, "ls-tree", "-d", rev, "--", path)
	return line != "", err
}
