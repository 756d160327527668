package rig

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A tool is programs that are built from a module under e2e/tools, or from
// this one, once for each state of their sources, into the cache.
type tool struct {
	name     string   // folder in the cache
	module   string   // folder of the module, from the repository's root
	packages []string // what to build; the programs are named after the last element
	sources  []string // what the key of the cache covers, from the module's folder
	cgo      bool
	tags     string
	ldflags  string
}

func dockerTool() tool {
	return tool{
		name: "moby", module: "e2e/tools/moby", sources: []string{"go.mod", "go.sum"},
		packages: []string{"github.com/moby/moby/v2/cmd/dockerd", "github.com/moby/moby/v2/cmd/docker-proxy"},
		tags:     "netgo osusergo exclude_graphdriver_btrfs",
	}
}

// runcTool needs cgo: runc enters namespaces before the Go runtime starts.
func runcTool() tool {
	return tool{
		name: "runc", module: "e2e/tools/runc", sources: []string{"go.mod", "go.sum"},
		packages: []string{"github.com/opencontainers/runc"}, cgo: true,
	}
}

func registryTool() tool {
	return tool{
		name: "registry", module: "e2e/tools/registry", sources: []string{"go.mod", "go.sum"},
		packages: []string{"github.com/distribution/distribution/v3/cmd/registry"},
	}
}

// composeTool is Docker Compose itself, the oracle of what a compose file means.
func composeTool() tool {
	return tool{
		name: "compose", module: "e2e/tools/compose", sources: []string{"go.mod", "go.sum"},
		packages: []string{"github.com/docker/compose/v2/cmd"},
		ldflags:  "-X github.com/docker/compose/v2/internal.Version=v2.40.3",
	}
}

// h2specTool is a judge of HTTP/2 servers.
func h2specTool() tool {
	return tool{
		name: "h2spec", module: "e2e/tools/h2spec", sources: []string{"go.mod", "go.sum"},
		packages: []string{"github.com/summerwind/h2spec/cmd/h2spec"},
	}
}

// H2spec is the folder with the program h2spec.
func H2spec(t TB) string {
	t.Helper()
	return mustTool(t, h2specTool())
}

func lintTool() tool {
	return tool{
		name: "lint", module: "e2e/tools/lint", sources: []string{"go.mod", "go.sum"},
		packages: []string{"github.com/golangci/golangci-lint/v2/cmd/golangci-lint"},
	}
}

func testProgramTool() tool {
	return tool{
		name: "testprogram", module: ".", sources: []string{"go.mod", "go.sum", "e2e/testprogram"},
		packages: []string{"./e2e/testprogram"},
	}
}

// productTool is remora itself, as `make build` makes it but for the stamp.
func productTool() tool {
	return tool{
		name: "product", module: ".",
		sources:  []string{"go.mod", "go.sum", "ambassador", "cmd", "internal", "manifests", "reconciler"},
		packages: []string{"./cmd/remora", "./cmd/remora-ambassador"},
	}
}

// Product is the folder with the programs remora and remora-ambassador, built
// from the tree as it is.
func Product(t TB) string {
	t.Helper()
	return mustTool(t, productTool())
}

// Prepare builds every tool of the tests that is not in the cache, and the root
// file system with systemd, and reports each to w. `make test` runs it first, so that no test's time limit pays for it.
func Prepare(ctx context.Context, w io.Writer) error {
	for _, t := range []tool{testProgramTool(), registryTool(), runcTool(), composeTool(), dockerTool(), pebbleTool()} {
		if err := prepare(ctx, w, t); err != nil {
			return err
		}
	}
	if os.Geteuid() != 0 {
		return nil // the tests that need it say so
	}
	path, err := systemdRoot(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "rig: systemd in %s\n", path)
	return err
}

// PrepareLint builds the linter, which is the formatter too, and returns its folder.
func PrepareLint(ctx context.Context, w io.Writer) (string, error) {
	if err := prepare(ctx, w, lintTool()); err != nil {
		return "", err
	}
	return lintTool().ensure(ctx)
}

func prepare(ctx context.Context, w io.Writer, t tool) error {
	dir, err := t.ensure(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "rig: %s in %s\n", t.name, dir)
	return err
}

// ensure returns the folder with the tool's programs, building them when
// needed. A lock makes test binaries that run beside each other build once.
func (t tool) ensure(ctx context.Context) (string, error) {
	root, err := repositoryRoot()
	if err != nil {
		return "", err
	}
	dir, err := t.folder(root)
	if err != nil {
		return "", err
	}
	if built(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("make cache: %w", err)
	}
	unlock, err := lockFile(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if built(dir) {
		return dir, nil
	}
	return dir, t.build(ctx, filepath.Join(root, t.module), dir)
}

// folder is where the tool's programs are kept: a new one for each state of
// the sources and each toolchain.
func (t tool) folder(root string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache folder: %w", err)
	}
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOARCH, t.packages, t.cgo, t.tags, t.ldflags)
	for _, source := range t.sources {
		if err := hashTree(sum, filepath.Join(root, t.module, source)); err != nil {
			return "", err
		}
	}
	key := hex.EncodeToString(sum.Sum(nil))[:16]
	return filepath.Join(cache, "remora-rig", t.name+"-"+key), nil
}

func hashTree(w io.Writer, root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s %d\n%s", filepath.Base(path), len(content), content)
		return err
	})
}

// built relies on a folder of the cache being complete or absent.
func built(dir string) bool {
	_, err := os.Stat(dir)
	return err == nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// build compiles into a temporary folder and renames it: a folder of the
// cache is complete or absent.
func (t tool) build(ctx context.Context, module, dir string) error {
	temp, err := os.MkdirTemp(filepath.Dir(dir), "build-")
	if err != nil {
		return fmt.Errorf("make build folder: %w", err)
	}
	defer os.RemoveAll(temp) //nolint:errcheck // renamed, or of no use
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w " + t.ldflags, "-o", temp + "/"}
	if t.tags != "" {
		args = append(args, "-tags="+t.tags)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, t.packages...)...)
	cmd.Dir = module
	cgo := "CGO_ENABLED=0"
	if t.cgo {
		cgo = "CGO_ENABLED=1"
	}
	cmd.Env = append(buildEnv(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s in %s: %w\n%s", strings.Join(t.packages, " "), t.module, err, out)
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return fmt.Errorf("open build folder: %w", err)
	}
	if err := os.Rename(temp, dir); err != nil {
		return fmt.Errorf("move into cache: %w", err)
	}
	return t.prune(filepath.Dir(dir))
}

// prune removes builds of the same name that are so old that no test that
// runs can use them: every edit of this module makes a new one.
func (t tool) prune(cache string) error {
	if t.module != "." {
		return nil
	}
	old, err := filepath.Glob(filepath.Join(cache, t.name+"-*"))
	if err != nil {
		return fmt.Errorf("list cache: %w", err)
	}
	for _, path := range old {
		info, err := os.Stat(path)
		if err == nil && time.Since(info.ModTime()) > 6*time.Hour {
			err = os.RemoveAll(path)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("prune cache: %w", err)
		}
	}
	return nil
}

// buildEnv is the environment without what a surrounding go command set for
// another module.
func buildEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "GOFLAGS=") || strings.HasPrefix(v, "PWD=") || strings.HasPrefix(v, "GOWORK=")
	})
}

// repositoryRoot is the folder of this module's go.mod, above the working folder.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find working folder: %w", err)
	}
	for {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(content), "module github.com/remorahq/remora\n") {
			return dir, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find repository: %w", err)
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("find repository: no go.mod of remora above the working folder")
		}
		dir = filepath.Dir(dir)
	}
}

// lockFile waits for the exclusive lock on a file.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // never written
}

// mustTool is ensure for tests.
func mustTool(t TB, tl tool) string {
	t.Helper()
	dir, err := tl.ensure(t.Context())
	must(t, "build "+tl.name, err)
	return dir
}
