package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/remorahq/remora"

// pkg is one of our packages as `go list` describes it.
type pkg struct {
	ImportPath   string
	Name         string
	Dir          string
	Imports      []string // direct, without tests
	Deps         []string // transitive, without tests
	TestImports  []string
	XTestImports []string
	GoFiles      []string
	CgoFiles     []string
	TestGoFiles  []string
	XTestGoFiles []string
}

// path is the package's path inside the module: internal/docker.
func (p pkg) path() string { return inModule(p.ImportPath) }

// inModule shortens our own import paths; others stay as they are, but for the
// standard library's own internal/…, which is not ours.
func inModule(importPath string) string {
	if strings.HasPrefix(importPath, "internal/") {
		return "std/" + importPath
	}
	return strings.TrimPrefix(importPath, module+"/")
}

// packages lists all packages of the module.
func packages(t *testing.T) []pkg {
	t.Helper()
	const fields = "-json=ImportPath,Name,Dir,Imports,Deps,TestImports,XTestImports,GoFiles,CgoFiles,TestGoFiles,XTestGoFiles"
	cmd := exec.Command("go", "list", "-e", fields, module+"/...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		exit, _ := errors.AsType[*exec.ExitError](err)
		t.Fatalf("go list: %v\n%s", err, exit.Stderr)
	}
	var all []pkg
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("go list found %d packages only", len(all))
	}
	return all
}

// under says whether path is one of the trees or lies in one: internal/docker
// covers internal/docker/credentials, but not internal/dockerfile. A tree that
// ends in "=" covers only itself.
func under(path string, trees ...string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool {
		if exact, ok := strings.CutSuffix(tree, "="); ok {
			return path == exact
		}
		return path == tree || strings.HasPrefix(path, strings.TrimSuffix(tree, "/")+"/")
	})
}
