package load

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/remorahq/remora/internal/loader/input"
	"github.com/remorahq/remora/internal/policy"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/yamlfile"
	"github.com/remorahq/remora/manifests"
)

// app is the work of loading one folder.
type app struct {
	report
	req  *manifests.LoadRequest
	env  *manifests.Environment
	repo repo
	// name is the folder's name, dir its absolute path.
	name, dir string
	// places are those of the keys of environment.yaml.
	places yamlfile.Positions
	// single says that at most one host may run the app.
	single bool

	vars     map[string]string
	profiles []string
	// configs are the compose files, absolute; workDir the folder that
	// relative paths of them start from.
	configs []string
	workDir string
	project string
	scan    *scan
	inputs  map[string]manifests.Input
	// mounted is what is mounted from the repository.
	mounted mountedSize
	// identified are the mounted files and folders by path; many services may
	// mount the same.
	identified map[string]manifests.File
}

// prepare reads the app's variables and compose files and checks all that can
// be checked without the Compose library.
func (a *app) prepare() (ok bool) {
	defer a.guard(&ok)
	if !a.findConfigs() || !a.readVariables() {
		return false
	}
	a.scan = newScan(a)
	a.scan.run()
	a.nameProject()
	return !a.blocked()
}

// load turns the prepared app into desired state; nil where it has errors.
func (a *app) load(ctx context.Context) (out *manifests.App) {
	ok := true
	defer func() {
		if !ok || a.failed() {
			out = nil
		}
	}()
	defer a.guard(&ok)
	project, err := a.compose(ctx)
	if err != nil {
		a.translate(err)
		return nil
	}
	a.enforce(project)
	out = a.convert(project)
	out.Warnings = slices.Clone(a.sorted())
	out.Tree = a.tree()
	return out
}

func (a *app) convert(project *types.Project) *manifests.App {
	out := &manifests.App{
		Source: a.req.Source, Environment: a.req.Environment, Name: a.name, Project: a.project, Live: a.live(),
		Variables: map[string]string{},
	}
	for name, value := range a.vars {
		out.Variables[name] = status.HashVariable(value)
	}
	c := converter{app: a, project: project, out: out}
	c.run()
	for _, v := range policy.JudgeApp(a.req.Policy, out, a.repo.root, slices.Concat(a.req.HTTP, a.req.HTTPS)) {
		a.add(manifests.Diagnostic{
			Field: v.Field, Value: v.Value, Reason: status.PolicyDenied, Message: v.Message,
			Remedy: v.Remedy(),
		})
	}
	return out
}

// live says that binds are the folder itself.
func (a *app) live() bool { return a.req.Live || a.req.Bare }

// tree hashes all that the app was loaded from.
func (a *app) tree() string {
	h := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(a.inputs)) {
		in := a.inputs[path]
		fmt.Fprintf(h, "%q %s %s\n", in.Path, in.Kind, in.ID)
	}
	host := struct {
		Labels, Vars map[string]string
		Host         string
		Policy       manifests.Policy
		Primary      bool
	}{a.req.Labels, a.req.Vars, a.req.Host, a.req.Policy, a.req.Primary}
	_ = json.NewEncoder(h).Encode(host) // maps and strings always encode
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// read returns a file's content and notes that the app depends on it. A file
// that does not exist is noted as absent.
func (a *app) read(path string) ([]byte, error) {
	rel, inside := a.repo.rel(path)
	if !inside {
		rel = path
	}
	data, err := a.repo.read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		a.note(manifests.Input{Path: rel, Kind: manifests.InputAbsent})
		return nil, err
	case err != nil:
		return nil, err
	}
	a.note(manifests.Input{Path: rel, Kind: manifests.InputFile, ID: input.File(path, data)})
	return data, nil
}

func (a *app) note(in manifests.Input) {
	a.inputs[in.Kind+" "+in.Path] = in
}

// shown returns path as messages show it.
func (a *app) shown(path string) string {
	if rel, ok := a.repo.rel(path); ok {
		return rel
	}
	return filepath.ToSlash(path)
}
