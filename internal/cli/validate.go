package cli

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/loader"
	"github.com/remorahq/remora/internal/printable"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/plan"
)

func (a *app) validateCommand() *cobra.Command {
	v := validation{app: a}
	c := &cobra.Command{
		Use:   "validate [DIR]",
		Short: "every error in the manifests, with file, line and column",
		Long: `Loads all apps of all environments as a host would and prints every error and
warning. Needs no agent, no engine and no network; nothing is changed.

DIR is a repository, one of its environments, one of its apps, or a plain folder
with a compose file. Policy is the strict preset, as on a host that says nothing
else; of a plain folder it is the compose preset, as with remora try.

Exits 1 when there are errors.`,
		Example: `  remora validate
  remora validate environments/production/shop
  remora validate --as web-7 --label role=web --policy compose
  remora validate -o json`,
		Args: between(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			return v.run(c.Context(), dir)
		},
	}
	c.Flags().StringVar(&v.path, "path", "environments", "the folder of the environments in the repository")
	c.Flags().StringVar(&v.host, "as", "validate", "the host's name, for placement and variables")
	c.Flags().StringToStringVar(&v.labels, "label", nil, "a label of the host, such as role=web")
	c.Flags().BoolVar(&v.shared, "acme-shared", false, "the hosts share their automatic certificates (ambassador.acme.shared)")
	c.Flags().StringVar(&v.policy, "policy", "", "the policy's preset: strict or compose")
	return c
}

type validation struct {
	*app
	path, host, policy string
	shared             bool
	labels             map[string]string
	loader             *loader.Loader
}

// finding is a diagnostic and the app that it is about.
type finding struct {
	Environment string `json:"environment,omitempty"`
	App         string `json:"app,omitempty"`
	manifests.Diagnostic
}

func (v *validation) run(ctx context.Context, dir string) error {
	reqs, err := v.requests(dir)
	if err != nil {
		return err
	}
	v.loader = loader.New()
	var found []finding
	apps := 0
	for _, req := range reqs {
		one, n, err := v.check(ctx, req)
		if err != nil {
			return err
		}
		found = append(found, one...)
		apps += n
	}
	printable.Deep(&found)
	errors := slices.ContainsFunc(found, func(f finding) bool { return !f.Warning })
	if found == nil {
		found = []finding{}
	}
	done, err := v.structured(found)
	if err != nil {
		return err
	}
	if !done {
		v.print(found, apps)
	}
	if errors {
		return &exitError{code: exitFailed}
	}
	return nil
}

// requests finds out what dir is.
func (v *validation) requests(dir string) ([]manifests.LoadRequest, error) {
	if v.policy != "" && v.policy != manifests.PresetStrict && v.policy != manifests.PresetCompose {
		return nil, usage("--policy %s: write strict or compose", v.policy)
	}
	full, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(full); err != nil || !info.IsDir() {
		return nil, usage("%s is no folder", dir)
	}
	root, env, app := v.place(full)
	req := manifests.LoadRequest{
		Root: root, Path: v.path, Source: "validate", Host: v.host, Labels: v.labels, Primary: true,
		CPUs: runtime.NumCPU(), HTTP: []uint16{80}, HTTPS: []uint16{443}, ACMEShared: v.shared, Policy: manifests.Policy{Preset: orElse(v.policy, manifests.PresetStrict)},
	}
	if root == "" {
		req.Root, req.Bare, req.Live, req.Environment = full, true, true, filepath.Base(full)
		req.Policy.Preset = orElse(v.policy, manifests.PresetCompose)
		return []manifests.LoadRequest{req}, nil
	}
	if app != "" {
		req.Apps = []string{app}
	}
	envs := []string{env}
	if env == "" {
		if envs, err = folders(filepath.Join(root, v.path)); err != nil {
			return nil, err
		}
	}
	var reqs []manifests.LoadRequest
	for _, env := range envs {
		req.Environment = env
		reqs = append(reqs, req)
	}
	return reqs, nil
}

// place says what of a repository a folder is; an empty root is a plain folder.
func (v *validation) place(full string) (root, env, app string) {
	isEnvs := func(dir string) bool {
		return strings.HasSuffix(filepath.ToSlash(dir), "/"+strings.Trim(filepath.ToSlash(v.path), "/"))
	}
	cut := func(dir string) string {
		return strings.TrimSuffix(dir, string(filepath.Separator)+filepath.Clean(v.path))
	}
	parent := filepath.Dir(full)
	switch grand := filepath.Dir(parent); {
	case isEnvs(full):
		return cut(full), "", ""
	case isEnvs(parent):
		return cut(parent), filepath.Base(full), ""
	case isEnvs(grand):
		return cut(grand), filepath.Base(parent), filepath.Base(full)
	}
	if info, err := os.Stat(filepath.Join(full, v.path)); err == nil && info.IsDir() {
		return full, "", ""
	}
	return "", "", ""
}

func folders(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return nil, usage("%s holds no environment", dir)
	}
	return names, nil
}

// check loads one environment, and then what is not placed on this host, too:
// it will be loaded somewhere. An environment for other hosts is loaded as one
// of those would.
func (v *validation) check(ctx context.Context, req manifests.LoadRequest) (found []finding, apps int, err error) {
	res, err := v.loader.Load(ctx, req)
	if err == nil && notSelected(res) {
		req.Host = someHost(res.Environment.Hosts)
		res, err = v.loader.Load(ctx, req)
	}
	if err != nil {
		return nil, 0, err
	}
	found = v.findings(req, res)
	apps = len(res.Apps) + len(res.Failed)
	var elsewhere []string
	for _, s := range res.Skipped {
		if len(req.Apps) == 0 || slices.Contains(req.Apps, s.App) {
			elsewhere = append(elsewhere, s.App)
			found = append(found, v.unplaced(req, s)...)
		}
	}
	if len(elsewhere) > 0 {
		req.Live, req.Apps = true, elsewhere
		if res, err = v.loader.Load(ctx, req); err != nil {
			return nil, 0, err
		}
		found = append(found, v.findings(req, res)...)
		apps += len(res.Apps) + len(res.Failed)
	}
	if apps == 0 && len(found) == 0 {
		found = append(found, finding{Environment: req.Environment, Diagnostic: manifests.Diagnostic{
			Position: manifests.Position{File: filepath.Join(req.Path, req.Environment)}, Reason: status.LoadFailed, Warning: !req.Bare,
			Message: "no app found", Remedy: "an app is a folder with a compose.yaml",
		}})
	}
	return found, apps, nil
}

// notSelected says that the environment is for other hosts.
func notSelected(res manifests.LoadResult) bool {
	return len(res.Skipped) > 0 && res.Skipped[0].Diagnostic.Reason == status.NotSelected
}

// someHost is the name of a host that may follow an environment; of a
// pattern, one that it matches.
func someHost(hosts []string) string {
	for _, h := range hosts {
		name := strings.NewReplacer("*", "1", "?", "1").Replace(h)
		if ok, err := path.Match(h, name); err == nil && ok {
			return name
		}
	}
	return ""
}

// unplaced warns of an app that no placement puts anywhere.
func (v *validation) unplaced(req manifests.LoadRequest, s manifests.Skipped) []finding {
	if s.Diagnostic.Reason != status.NotPlaced || s.Diagnostic.Field != "" {
		return nil
	}
	d := s.Diagnostic
	d.Warning = true
	return []finding{{req.Environment, s.App, d}}
}

func (v *validation) findings(req manifests.LoadRequest, res manifests.LoadResult) []finding {
	var out []finding
	add := func(app string, ds []manifests.Diagnostic) {
		for _, d := range ds {
			out = append(out, finding{req.Environment, app, d})
		}
	}
	add("", res.Diagnostics)
	for _, f := range res.Failed {
		add(f.App, f.Diagnostics)
	}
	for _, a := range res.Apps {
		add(a.Name, a.Warnings)
		add(a.Name, plan.AddressLost(&a, true)) // what this host may is not known here
		add(a.Name, certificateWarnings(&a, time.Now()))
	}
	return out
}

func (v *validation) print(found []finding, apps int) {
	errors, warnings := 0, 0
	for _, f := range found {
		mark := v.screen.bad("error")
		if f.Warning {
			mark = v.screen.busy("warning")
			warnings++
		} else {
			errors++
		}
		where := ""
		if f.File != "" {
			where = v.screen.bold(f.Position.String()) + ": "
		} else if f.App != "" {
			where = v.screen.bold(f.Environment+"/"+f.App) + ": "
		}
		text := f.Message
		if f.Field != "" {
			text = f.Field + ": " + text
		}
		fmt.Fprintf(v.out, "%s%s: %s\n", where, mark, text)
		if f.Remedy != "" {
			fmt.Fprintf(v.out, "    %s %s\n", v.screen.faint("→"), f.Remedy)
		}
	}
	sum := fmt.Sprintf("%d %s, %d %s in %d %s", errors, plural(errors, "error"), warnings, plural(warnings, "warning"), apps, plural(apps, "app"))
	if errors > 0 {
		fmt.Fprintln(v.out, v.screen.bad("✗ ")+sum)
		return
	}
	fmt.Fprintln(v.out, v.screen.good("✔ ")+sum)
}
