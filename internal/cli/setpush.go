package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// pushTries is how often a rejected push is made again.
const pushTries = 10

// push makes the edit on top of the remote branch and pushes it, in a work
// tree of its own: only the edit is pushed, whatever else is in the user's
// working copy.
func (s *setter) push(ctx context.Context) error {
	if err := s.target(ctx); err != nil {
		return err
	}
	base, err := s.values(ctx, "HEAD")
	if err != nil {
		return err
	}
	p := pusher{setter: s, base: base, ref: fmt.Sprintf("refs/remora/set-%d-%08x", os.Getpid(), rand.Uint32())}
	defer p.cleanUp(ctx)
	for p.tries = 1; p.tries <= pushTries; p.tries++ {
		done, err := p.try(ctx)
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(50+rand.IntN(150*p.tries)) * time.Millisecond):
		}
	}
	return fmt.Errorf("push to %s/%s: others pushed first %d times in a row; run it again", s.remote, s.branch, pushTries)
}

// target decides where to push.
func (s *setter) target(ctx context.Context) error {
	here, _ := s.git.run(ctx, "symbolic-ref", "--quiet", "--short", "HEAD")
	if s.remote == "" {
		s.remote = "origin"
		if here != "" {
			if r, err := s.git.run(ctx, "config", "branch."+here+".remote"); err == nil && r != "" && r != "." {
				s.remote = r
			}
		}
	}
	if s.branch != "" {
		return nil
	}
	if here == "" {
		return usage("no branch is checked out here; name the one to push to with --branch")
	}
	s.branch = here
	if merge, err := s.git.run(ctx, "config", "branch."+here+".merge"); err == nil {
		s.branch = strings.TrimPrefix(merge, "refs/heads/")
	}
	return nil
}

// values are those of the variables at a revision; one that is unset is
// missing.
func (s *setter) values(ctx context.Context, rev string) (map[string]string, error) {
	data, _, err := s.git.file(ctx, rev, s.file)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, v := range s.vars {
		if value, ok := variable(data, v.Name); ok {
			values[v.Name] = value
		}
	}
	return values, nil
}

// pusher is one run of --push.
type pusher struct {
	*setter
	base  map[string]string // values that the working copy has
	ref   string            // where the remote branch is fetched to
	tree  git               // the work tree of our own, once there is one
	tries int
}

// try fetches, edits, commits and pushes once. It is done when it was pushed,
// or there is nothing to push; else others were first.
func (p *pusher) try(ctx context.Context) (done bool, err error) {
	if _, err := p.git.run(ctx, "fetch", "--quiet", "--no-tags", p.remote, "+refs/heads/"+p.branch+":"+p.ref); err != nil {
		return false, err
	}
	tip, err := p.git.run(ctx, "rev-parse", p.ref)
	if err != nil {
		return false, err
	}
	if ok, err := p.git.folder(ctx, tip, path.Dir(p.file)); err != nil || !ok {
		return false, errors.Join(err, p.noFolder(p.remote+"/"+p.branch))
	}
	if err := p.conflict(ctx, tip); err != nil {
		return false, err
	}
	old, _, err := p.git.file(ctx, tip, p.file)
	if err != nil {
		return false, err
	}
	data, changes, err := p.edited(old)
	if err != nil {
		return false, err
	}
	if len(changes) == 0 {
		return true, p.result(setResult{Branch: p.remote + "/" + p.branch, Tries: p.tries})
	}
	if err := p.checkout(ctx, tip); err != nil {
		return false, err
	}
	commit, err := p.commit(ctx, p.tree, data, changes)
	if err != nil {
		return false, err
	}
	if pushed, err := p.send(ctx, commit); err != nil || !pushed {
		return false, err
	}
	p.forward(ctx, commit)
	return true, p.result(setResult{Commit: commit, Branch: p.remote + "/" + p.branch, Pushed: true, Tries: p.tries, Changes: changes})
}

// conflict says who set one of the variables to something else since the
// working copy was fetched.
func (p *pusher) conflict(ctx context.Context, tip string) error {
	if p.force {
		return nil
	}
	now, err := p.values(ctx, tip)
	if err != nil {
		return err
	}
	for _, v := range p.vars {
		was, had := p.base[v.Name]
		is, has := now[v.Name]
		if (is == was && has == had) || (has && is == v.Value) {
			continue
		}
		by, _ := p.git.run(ctx, "log", "-1", "--format=%an, %ar: %s", tip, "--", p.file)
		return &exitError{code: exitConflict, err: fmt.Errorf(
			"%s is %s on %s/%s by now, and was %s in this working copy (%s); nothing was pushed: look at it, then `git pull` or --force",
			v.Name, orElse(is, "unset"), p.remote, p.branch, orElse(was, "unset"), by)}
	}
	return nil
}

// checkout has a work tree of our own at a commit.
func (p *pusher) checkout(ctx context.Context, commit string) error {
	if p.tree.dir != "" {
		_, err := p.tree.run(ctx, "checkout", "--quiet", "--force", "--detach", commit)
		return err
	}
	dir, err := os.MkdirTemp("", "remora-set-")
	if err != nil {
		return err
	}
	p.tree.dir = filepath.Join(dir, "tree")
	_, err = p.git.run(ctx, "worktree", "add", "--quiet", "--detach", p.tree.dir, commit)
	return err
}

// send pushes a commit; pushed is false where the branch has moved meanwhile.
func (p *pusher) send(ctx context.Context, commit string) (pushed bool, err error) {
	_, err = p.git.run(ctx, "push", "--quiet", "--porcelain", p.remote, commit+":refs/heads/"+p.branch)
	if err == nil {
		return true, nil
	}
	if failed, ok := errors.AsType[*gitError](err); ok && lostRace(failed.output) {
		return false, nil
	}
	return false, err
}

// lostRace says that a push was refused because the branch moved: before the
// push, or while the server took it.
func lostRace(output string) bool {
	for _, sign := range []string{"(fetch first)", "(non-fast-forward)", "cannot lock ref", "failed to update ref", "incorrect old value", "failed to lock"} {
		if strings.Contains(output, sign) {
			return true
		}
	}
	return false
}

// forward brings the user's branch along where that is a mere step forward and
// touches nothing that they are editing; otherwise their next pull does it.
func (p *pusher) forward(ctx context.Context, commit string) {
	here, err := p.git.run(ctx, "symbolic-ref", "--quiet", "--short", "HEAD")
	if err != nil {
		return
	}
	upstream, err := p.git.run(ctx, "config", "branch."+here+".merge")
	if err != nil || upstream != "refs/heads/"+p.branch {
		return
	}
	if _, err := p.git.run(ctx, "merge", "--quiet", "--ff-only", commit); err != nil {
		fmt.Fprintf(p.err, "remora: your branch %s stays where it is; `git pull` brings the commit\n", here)
	}
}

// cleanUp removes the work tree and the ref. What it cannot remove does no
// harm.
func (p *pusher) cleanUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if p.tree.dir != "" {
		_, _ = p.git.run(ctx, "worktree", "remove", "--force", p.tree.dir)
		_ = os.RemoveAll(filepath.Dir(p.tree.dir))
	}
	_, _ = p.git.run(ctx, "update-ref", "-d", p.ref)
}
