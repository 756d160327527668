package load

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// configNames and overrideNames are Compose's file names, in its order of
// preference.
func configNames() []string {
	return []string{"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"}
}

func overrideNames() []string {
	return []string{"compose.override.yaml", "compose.override.yml", "docker-compose.override.yaml", "docker-compose.override.yml"}
}

// hasConfig says whether dir holds a compose file, or a .env that may name
// one.
func hasConfig(dir string) bool {
	for _, name := range configNames() {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	data, err := readBounded(filepath.Join(dir, ".env"))
	return err == nil && strings.Contains("\n"+string(data), "\nCOMPOSE_FILE=")
}

// findConfigs finds the compose files; COMPOSE_FILE is handled once the
// variables are known.
func (a *app) findConfigs() bool {
	a.workDir = a.dir
	a.main = a.shown(filepath.Join(a.dir, configNames()[0]))
	first := firstExisting(a.dir, configNames())
	if first == "" {
		return true
	}
	a.main = a.shown(first)
	a.configs = []string{first}
	if over := firstExisting(a.dir, overrideNames()); over != "" {
		a.configs = append(a.configs, over)
	}
	return true
}

func firstExisting(dir string, names []string) string {
	for _, name := range names {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err == nil {
			return path
		}
	}
	return ""
}

// readVariables builds what interpolation sees: later wins.
func (a *app) readVariables() bool {
	a.refuseEncrypted(filepath.Dir(a.dir))
	a.refuseEncrypted(a.dir)
	a.vars = map[string]string{}
	if !a.req.Bare {
		a.envFile(filepath.Join(filepath.Dir(a.dir), ".env"))
	}
	a.envFile(filepath.Join(a.dir, ".env"))
	maps.Copy(a.vars, a.req.Vars)
	maps.Copy(a.vars, builtIn(a.req))
	a.composeFile()
	a.profiles = nil
	for p := range strings.SplitSeq(a.vars["COMPOSE_PROFILES"], ",") {
		if p = strings.TrimSpace(p); p != "" {
			a.profiles = append(a.profiles, p)
		}
	}
	return len(a.configs) > 0
}

// builtIn returns the variables that remora provides.
func builtIn(req *manifests.LoadRequest) map[string]string {
	vars := map[string]string{"REMORA_HOST": req.Host, "REMORA_ENVIRONMENT": req.Environment}
	for k, v := range req.Labels {
		name := strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' {
				return r - 'a' + 'A'
			}
			if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
				return r
			}
			return '_'
		}, k)
		vars["REMORA_LABEL_"+name] = v
	}
	return vars
}

func (a *app) refuseEncrypted(dir string) {
	if a.req.Bare && dir != a.dir {
		return
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*.sops.*"))
	for _, name := range names {
		a.add(manifests.Diagnostic{
			Position: manifests.Position{File: a.shown(name)}, Reason: status.NotInThisVersion,
			Message: "encrypted variables are not in this version", Remedy: "remove the file, or keep the values in `vars` of the host file",
		})
	}
}

// envFile adds the variables of a .env file, if it exists, to those before it.
func (a *app) envFile(path string) {
	data, err := a.read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	file := a.shown(path)
	if err != nil {
		a.add(manifests.Diagnostic{Position: manifests.Position{File: file}, Message: err.Error()})
		return
	}
	a.checkEnvFile(file, string(data))
	vars, err := dotenv.UnmarshalBytesWithLookup(data, func(name string) (string, bool) {
		v, ok := a.vars[name]
		return v, ok
	})
	if err != nil {
		a.add(manifests.Diagnostic{Position: manifests.Position{File: file}, Message: fmt.Sprintf("read variables: %v", err)})
		return
	}
	maps.Copy(a.vars, vars)
}

// checkEnvFile reports variables that a .env file uses and nobody sets. What
// stands in single quotes is literal.
func (a *app) checkEnvFile(file, text string) {
	known := map[string]string{}
	maps.Copy(known, a.vars)
	line := 0
	for l := range strings.SplitSeq(text, "\n") {
		line++
		l = strings.TrimPrefix(strings.TrimSpace(l), "export ")
		name, val, ok := strings.Cut(l, "=")
		if !ok || strings.HasPrefix(l, "#") {
			continue
		}
		name, val = strings.TrimSpace(name), strings.TrimSpace(val)
		if !strings.HasPrefix(val, "'") {
			if i := strings.Index(val, " #"); i >= 0 && !strings.HasPrefix(val, `"`) {
				val = val[:i]
			}
			for _, ref := range unset(val, known) {
				a.unsetVariable(manifests.Position{File: file, Line: line, Column: 1}, name, ref)
			}
		}
		known[name] = strings.Trim(val, `"'`)
	}
}

func (a *app) unsetVariable(pos manifests.Position, field string, ref unsetRef) {
	d := manifests.Diagnostic{
		Position: pos, Field: field, Value: ref.name,
		Message: fmt.Sprintf("variable %s is not set", ref.name),
		Remedy:  fmt.Sprintf("set it in .env, or write ${%s:-} for an empty default", ref.name),
	}
	if ref.required {
		d.Remedy = "set it in .env"
		if ref.message != "" {
			d.Message += ": " + ref.message
		}
	}
	a.add(d)
}

// composeFile honours COMPOSE_FILE: a list of files relative to the folder.
func (a *app) composeFile() {
	list := a.vars["COMPOSE_FILE"]
	if list == "" {
		if len(a.configs) == 0 {
			a.fail("", "add compose.yaml", "no compose file in %s", a.shown(a.dir))
		}
		return
	}
	sep := a.vars["COMPOSE_PATH_SEPARATOR"]
	if sep == "" {
		sep = ":"
	}
	a.configs = nil
	for name := range strings.SplitSeq(list, sep) {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(a.dir, name)
		}
		if _, exists, err := a.repo.resolve(path); err != nil || !exists {
			a.add(manifests.Diagnostic{
				Position: manifests.Position{File: a.shown(filepath.Join(a.dir, ".env"))},
				Field:    "COMPOSE_FILE", Value: name, Message: fmt.Sprintf("file %q %s", name, why(err)),
			})
			return
		}
		a.configs = append(a.configs, path)
	}
	a.workDir = filepath.Dir(a.configs[0])
	a.main = a.shown(a.configs[0])
}

// why says what is wrong with a path that could not be resolved.
func why(err error) string {
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "cannot be read: permission denied"
	}
	return err.Error()
}

// nameProject decides the project's name: `name:`, COMPOSE_PROJECT_NAME, the
// folder's name; with the environment before it but in the host's first one.
func (a *app) nameProject() {
	field := "name"
	name := a.scan.projectName()
	if name == "" {
		name = a.vars["COMPOSE_PROJECT_NAME"]
	}
	if name == "" {
		field, name = "", loader.NormalizeProjectName(a.name)
	}
	if name == "" || loader.NormalizeProjectName(name) != name {
		a.fail(field, "use lower-case letters, digits, - and _, and begin with a letter or digit",
			"%q is no project name", name)
		return
	}
	if !a.req.Primary {
		name = loader.NormalizeProjectName(a.req.Environment) + "-" + name
	}
	a.project = name
}
