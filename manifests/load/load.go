package load

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/loader/input"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/yamlfile"
	"github.com/remorahq/remora/manifests"
)

// Load answers one request. It never fails as a whole: what is wrong with the
// environment is in Diagnostics, what is wrong with an app in Failed.
func Load(ctx context.Context, req manifests.LoadRequest) manifests.LoadResult {
	quiet()
	l := loading{req: &req, inputs: map[string]manifests.Input{}}
	l.out.AppInputs = map[string][]manifests.Input{}
	l.run(ctx)
	l.out.Inputs = listed(l.inputs)
	return l.out
}

func listed(inputs map[string]manifests.Input) []manifests.Input {
	var out []manifests.Input
	for _, key := range slices.Sorted(maps.Keys(inputs)) {
		out = append(out, inputs[key])
	}
	return out
}

func (l *loading) note(in manifests.Input) { l.inputs[in.Kind+" "+in.Path] = in }

type loading struct {
	req    *manifests.LoadRequest
	repo   repo
	out    manifests.LoadResult
	inputs map[string]manifests.Input
	places yamlfile.Positions
}

func (l *loading) fail(file, message, remedy string) {
	l.out.Diagnostics = append(l.out.Diagnostics, manifests.Diagnostic{
		Position: manifests.Position{File: file}, Reason: status.LoadFailed, Message: message, Remedy: remedy,
	})
}

func (l *loading) run(ctx context.Context) {
	repo, err := openRepo(l.req.Root)
	if err != nil {
		l.fail("", err.Error(), "")
		return
	}
	l.repo = repo
	dir := l.folder()
	if !l.environment(dir) {
		return
	}
	folders := l.folders(dir)
	if l.out.Diagnostics != nil {
		return
	}
	selected := l.selected()
	for _, name := range slices.Sorted(maps.Keys(folders)) {
		l.out.Folders = append(l.out.Folders, name)
		if !l.wanted(name) {
			continue
		}
		if selected != nil {
			l.out.Skipped = append(l.out.Skipped, manifests.Skipped{App: name, Diagnostic: *selected})
			continue
		}
		l.app(ctx, name, folders[name])
	}
}

// folder returns where the apps lie.
func (l *loading) folder() string {
	if l.req.Bare {
		return l.repo.root
	}
	return filepath.Join(l.repo.root, filepath.FromSlash(l.req.Path), l.req.Environment)
}

// environment reads environment.yaml.
func (l *loading) environment(dir string) bool {
	l.out.Environment = manifests.Environment{Version: 1}
	if l.req.Bare {
		l.out.Environment.DefaultPlacement = "all"
		return true
	}
	rel, ok := l.repo.rel(dir)
	if _, exists, err := l.repo.resolve(dir); !ok || err != nil || !exists {
		l.fail(rel, fmt.Sprintf("environment %q %s", l.req.Environment, why(err)), "check `path` and `environments` of the source in the host file")
		return false
	}
	file := path.Join(rel, "environment.yaml")
	data, err := l.repo.read(filepath.Join(dir, "environment.yaml"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.note(manifests.Input{Path: file, Kind: manifests.InputAbsent})
		return true
	case err != nil:
		l.fail(file, why(err), "")
		return false
	}
	l.note(manifests.Input{Path: file, Kind: manifests.InputFile, ID: input.File(filepath.Join(dir, "environment.yaml"), data)})
	l.out.Environment, l.places, l.out.Diagnostics = parseEnvironment(file, data)
	return len(l.out.Diagnostics) == 0
}

// parseEnvironment reads environment.yaml strictly.
func parseEnvironment(file string, data []byte) (env manifests.Environment, positions yamlfile.Positions, diags manifests.Diagnostics) {
	positions, diags = yamlfile.Decode(file, data, &env)
	if len(diags) > 0 {
		return env, positions, diags
	}
	add := func(field string, reason status.Reason, message, remedy string) {
		pos, ok := positions[field]
		if !ok {
			pos.File = file
		}
		diags = append(diags, manifests.Diagnostic{Position: pos, Reason: reason, Field: field, Message: message, Remedy: remedy})
	}
	if env.Version != 1 {
		add("version", status.LoadFailed, fmt.Sprintf("version %d is not known", env.Version), "write `version: 1`")
	}
	if env.DefaultPlacement != "" && env.DefaultPlacement != "all" {
		add("default_placement", status.LoadFailed, fmt.Sprintf("%q is not known", env.DefaultPlacement), "write `all`, or remove it")
	}
	later := func(field string, set bool) {
		if set {
			add(field, status.NotInThisVersion, "not in this version", "remove the section")
		}
	}
	later("rollout", len(env.Rollout) > 0)
	later("windows", len(env.Windows) > 0)
	later("freezes", len(env.Freezes) > 0)
	later("notify", env.Notify != nil)
	return env, positions, diags
}

// folders lists the app folders by name.
func (l *loading) folders(dir string) map[string]string {
	found := map[string]string{}
	if l.req.Bare && hasConfig(dir) {
		name := filepath.Base(dir)
		found[name] = dir
		return found
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		l.fail("", fmt.Sprintf("list apps: %v", err), "")
		return nil
	}
	noteNames(l.note, l.repo, dir)
	for _, e := range entries {
		full := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") || !e.IsDir() {
			continue
		}
		if !hasConfig(full) {
			noteNames(l.note, l.repo, full)
			continue
		}
		found[e.Name()] = full
	}
	if l.req.Bare && len(found) == 0 {
		l.fail("", "neither a compose file nor folders with one", "add compose.yaml")
	}
	return found
}

// selected returns why this host may not follow the environment.
func (l *loading) selected() *manifests.Diagnostic {
	hosts := l.out.Environment.Hosts
	if len(hosts) == 0 || slices.ContainsFunc(hosts, func(h string) bool {
		ok, err := path.Match(h, l.req.Host)
		return h == "*" || h == l.req.Host || err == nil && ok
	}) {
		return nil
	}
	return &manifests.Diagnostic{
		Position: manifests.Position{File: path.Join(l.req.Path, l.req.Environment, "environment.yaml")},
		Reason:   status.NotSelected, Field: "hosts",
		Message: fmt.Sprintf("host %s may not follow %s", l.req.Host, l.req.Environment),
		Remedy:  "add it to `hosts` in environment.yaml",
	}
}

// single says that one host at most follows the environment.
func (l *loading) single() bool {
	hosts := l.out.Environment.Hosts
	return l.req.Bare || l.req.Live || len(hosts) == 1 && !strings.ContainsAny(hosts[0], "*?[")
}

func (l *loading) wanted(name string) bool {
	if len(l.req.Apps) > 0 && !slices.Contains(l.req.Apps, name) {
		return false
	}
	if len(l.req.Patterns) == 0 {
		return true
	}
	return slices.ContainsFunc(l.req.Patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return err == nil && ok
	})
}

func (l *loading) app(ctx context.Context, name, dir string) {
	a := &app{
		req: l.req, env: &l.out.Environment, repo: l.repo, name: name, dir: dir, single: l.single(), places: l.places,
		inputs: map[string]manifests.Input{},
	}
	defer func() { l.out.AppInputs[name] = listed(a.inputs) }()
	noteNames(a.note, a.repo, dir)
	ready := a.prepare()
	if a.scan != nil && !a.scan.broken {
		if d := a.placedHere(); d != nil {
			l.out.Skipped = append(l.out.Skipped, manifests.Skipped{App: name, Diagnostic: *d})
			return
		}
	}
	l.out.Placed = append(l.out.Placed, name)
	if l.req.PlacementOnly {
		return
	}
	var out *manifests.App
	if ready {
		out = a.load(ctx)
	}
	if out == nil {
		l.out.Failed = append(l.out.Failed, manifests.Failed{App: name, Project: a.project, Diagnostics: a.sorted()})
		return
	}
	l.out.Apps = append(l.out.Apps, *out)
}
