package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/atomicfile"
)

// exitConflict is the exit code where somebody else set the variable.
const exitConflict = 4

func (a *app) setCommand() *cobra.Command {
	s := setter{app: a}
	var push bool
	c := &cobra.Command{
		Use:   "set ENV/APP VAR=VALUE…",
		Short: "change variables in the repository: the commit that deploys",
		Long: `Edits the app's .env in a git working copy, keeping comments, order and quotes,
and commits that file and nothing else. Where nothing changes there is no commit.
Needs no agent, only git.

With --push the edit is made on top of the remote branch and pushed. When
somebody else pushes meanwhile, it is fetched and the edit made again, up to ten
times. Where somebody else has set the same variable since this working copy was
fetched, nothing is pushed and the exit code is 4, unless --force.`,
		Example: `  remora set production/shop WEB_TAG=v44
  remora set production/shop WEB_TAG=v44 WORKER_TAG=v44 --push
  remora set staging/shop WEB_TAG=$TAG --push --branch main --message "shop: $TAG"`,
		Args: between(2, -1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := s.parse(args); err != nil {
				return err
			}
			if err := s.open(c.Context()); err != nil {
				return err
			}
			if push {
				return s.push(c.Context())
			}
			return s.commitHere(c.Context())
		},
	}
	c.Flags().BoolVar(&push, "push", false, "push the commit, on top of what is there")
	c.Flags().StringVarP(&s.message, "message", "m", "", "the commit's message")
	c.Flags().StringVar(&s.repo, "repo", ".", "a folder of the git working copy")
	c.Flags().StringVar(&s.path, "path", "environments", "the folder of the environments in the repository")
	c.Flags().StringVar(&s.remote, "remote", "", "where to push; default the branch's own, else origin")
	c.Flags().StringVar(&s.branch, "branch", "", "the branch to push to; default the one checked out")
	c.Flags().BoolVar(&s.force, "force", false, "also where somebody else has set the variable meanwhile")
	return c
}

// setter is one run of set.
type setter struct {
	*app
	message, repo, path, remote, branch string
	force                               bool

	environment, name string
	vars              []edit
	git               git
	file              string // in the repository, slash-separated
}

// edit is one variable and its values.
type edit struct {
	Name  string `json:"name"`
	Old   string `json:"old"`
	Value string `json:"value"`
	// like is a variable that the file had, where it had none of this name.
	like string
}

// setResult is what -o json prints.
type setResult struct {
	File    string `json:"file"`
	Commit  string `json:"commit,omitempty"`
	Branch  string `json:"branch,omitempty"`
	Pushed  bool   `json:"pushed"`
	Tries   int    `json:"tries,omitempty"`
	Changes []edit `json:"changes"`
}

func (s *setter) parse(args []string) error {
	var ok bool
	s.environment, s.name, ok = strings.Cut(args[0], "/")
	if !ok || s.environment == "" || s.name == "" || strings.Contains(s.name, "/") || strings.HasPrefix(args[0], ".") {
		return usage("%q: write ENV/APP, such as production/shop", args[0])
	}
	seen := map[string]bool{}
	for _, arg := range args[1:] {
		name, value, ok := strings.Cut(arg, "=")
		switch {
		case !ok || !variableName.MatchString(name):
			return usage("%q: write VAR=VALUE", arg)
		case seen[name]:
			return usage("%s is set twice", name)
		}
		seen[name] = true
		s.vars = append(s.vars, edit{Name: name, Value: value})
	}
	s.file = path.Join(filepath.ToSlash(s.path), s.environment, s.name, ".env")
	if !filepath.IsLocal(s.file) {
		return usage("%s leaves the repository", s.file)
	}
	return nil
}

// open finds the working copy.
func (s *setter) open(ctx context.Context) error {
	if strings.Contains(s.repo, "://") {
		return usage("--repo takes a folder; a URL is not in this version: clone it first")
	}
	top, err := (git{s.repo}).run(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		return fmt.Errorf("%w; run it in a clone, or name one with --repo DIR", err)
	}
	s.git = git{dir: top}
	return nil
}

// edited applies the variables to a file's content and notes the old values.
func (s *setter) edited(data []byte) (_ []byte, changes []edit, err error) {
	var before []string
	for _, a := range assignments(data) {
		before = append(before, a.name)
	}
	for _, v := range s.vars {
		old, had := variable(data, v.Name)
		if had && old == v.Value {
			continue
		}
		if data, err = setVariable(data, v.Name, v.Value); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", s.file, err)
		}
		c := edit{Name: v.Name, Old: old, Value: v.Value}
		if !had {
			c.like = didYouMean(v.Name, before)
		}
		changes = append(changes, c)
	}
	return data, changes, nil
}

func (s *setter) noFolder(where string) error {
	return fmt.Errorf("%s has no folder %s: no app %s in environment %s; --path names the folder of the environments",
		where, path.Dir(s.file), s.name, s.environment)
}

// commitHere edits and commits in the working copy itself.
func (s *setter) commitHere(ctx context.Context) error {
	full := filepath.Join(s.git.dir, filepath.FromSlash(s.file))
	if info, err := os.Stat(filepath.Dir(full)); err != nil || !info.IsDir() {
		return s.noFolder(s.git.dir)
	}
	if info, err := os.Lstat(full); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no plain file", s.file)
	}
	dirty, err := s.git.run(ctx, "status", "--porcelain", "--", s.file)
	if err != nil {
		return err
	}
	if dirty != "" {
		return fmt.Errorf("%s has changes that are not committed; commit them or take them back first", s.file)
	}
	old, err := os.ReadFile(full)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data, changes, err := s.edited(old)
	if err != nil {
		return err
	}
	if len(changes) == 0 {
		return s.result(setResult{})
	}
	commit, err := s.commit(ctx, s.git, data, changes)
	if err != nil {
		return errors.Join(err, s.takeBack(ctx, full, old))
	}
	branch, err := s.git.run(ctx, "rev-parse", "--abbrev-ref", "HEAD")
	if err != nil {
		return err
	}
	return s.result(setResult{Commit: commit, Branch: branch, Changes: changes})
}

// commit writes the file in a work tree and commits it alone.
func (s *setter) commit(ctx context.Context, g git, data []byte, changes []edit) (string, error) {
	full := filepath.Join(g.dir, filepath.FromSlash(s.file))
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(full); err == nil {
		mode = info.Mode().Perm()
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return "", err
	}
	if err := atomicfile.WriteFile(full, data, mode); err != nil {
		return "", err
	}
	if _, err := g.run(ctx, "add", "--", s.file); err != nil {
		return "", err
	}
	if _, err := g.run(ctx, "commit", "--quiet", "--message", orElse(s.message, s.subject(changes)), "--only", "--", s.file); err != nil {
		return "", err
	}
	return g.run(ctx, "rev-parse", "HEAD")
}

// takeBack undoes an edit that could not be committed.
func (s *setter) takeBack(ctx context.Context, full string, old []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_, err := s.git.run(ctx, "reset", "--quiet", "--", s.file)
	if old == nil {
		return errors.Join(err, os.Remove(full))
	}
	if now, readErr := os.ReadFile(full); readErr == nil && bytes.Equal(now, old) {
		return err
	}
	return errors.Join(err, atomicfile.WriteFile(full, old, 0o644))
}

func (s *setter) subject(changes []edit) string {
	var parts []string
	for _, c := range changes {
		parts = append(parts, c.Name+" "+c.Value)
	}
	return fmt.Sprintf("%s/%s: %s", s.environment, s.name, strings.Join(parts, ", "))
}

func (s *setter) result(r setResult) error {
	r.File = s.file
	if r.Changes == nil {
		r.Changes = []edit{}
	}
	if done, err := s.structured(r); done || err != nil {
		return err
	}
	if len(r.Changes) == 0 {
		fmt.Fprintf(s.out, "%s %s is so already; no commit\n", s.screen.good("✔"), s.file)
		return nil
	}
	for _, c := range r.Changes {
		fmt.Fprintf(s.out, "%s %s/%s: %s %s → %s\n", s.screen.good("✔"), s.environment, s.name, c.Name, orElse(c.Old, "(unset)"), s.screen.bold(c.Value))
		if c.like != "" {
			fmt.Fprintf(s.err, "%s %s was not in %s before; %s\n", s.screen.busy("!"), c.Name, s.file, strings.TrimSpace(c.like))
		}
	}
	if r.Pushed {
		fmt.Fprintf(s.out, "  commit %s is on %s\n", abbreviate(r.Commit), r.Branch)
		fmt.Fprintf(s.out, "  %s remora wait %s --rev %s\n", s.screen.faint("follow it:"), s.name, abbreviate(r.Commit))
		return nil
	}
	fmt.Fprintf(s.out, "  commit %s on %s; not pushed: git push\n", abbreviate(r.Commit), r.Branch)
	return nil
}
