package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const pureReason = "the same input gives the same decision, on every host and in every test: " +
	"no network, file, process, goroutine, clock, chance or logger"

// pure is the packages that decide, and the vocabulary that they speak.
func pure() []string {
	return []string{
		"manifests=", "reconciler/plan", "reconciler/rollout", "reconciler/ledger=", "internal/fleet/protocol",
		"internal/status=", "internal/engine=", "internal/traffic=",
	}
}

// impure is the standard packages that they may not import. Types of net/netip,
// net/url and time are values, and allowed.
func impure() []string {
	return []string{
		"net=", "net/http", "net/rpc", "net/smtp", "net/mail", "net/textproto", "os", "syscall", "log", "plugin",
		"io/ioutil", "math/rand", "crypto/rand", "crypto/tls", "database", "runtime", "unsafe", "testing", "expvar",
	}
}

// clock is the functions of time that read the clock or wait for it.
func clock() []string {
	return []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}
}

// impureImports are the imports of one package that break the rule.
func impureImports(p pkg) []string {
	var found []string
	for _, path := range p.Imports {
		own := strings.HasPrefix(path, module+"/")
		foreign := strings.Contains(strings.Split(path, "/")[0], ".")
		switch {
		case own && !under(inModule(path), pure()...),
			!own && foreign,
			!own && !foreign && under(path, impure()...):
			found = append(found, fmt.Sprintf("%s imports %s: %s", p.path(), inModule(path), pureReason))
		}
	}
	return found
}

// impureCode is the statements of one file that break the rule.
func impureCode(fset *token.FileSet, file *ast.File) []string {
	var found []string
	note := func(n ast.Node, what string) {
		found = append(found, fmt.Sprintf("%s: %s: %s", fset.Position(n.Pos()), what, pureReason))
	}
	timeName := importName(file, "time")
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			note(n, "starts a goroutine")
		case *ast.SelectorExpr:
			if isSelector(n, timeName, clock()) {
				note(n, "uses time."+n.Sel.Name)
			}
		}
		return true
	})
	return found
}

func isSelector(n *ast.SelectorExpr, pkgName string, names []string) bool {
	x, ok := n.X.(*ast.Ident)
	return ok && pkgName != "" && x.Name == pkgName && slices.Contains(names, n.Sel.Name)
}

// importName is the name by which a file knows a package; empty when it does not.
func importName(file *ast.File, path string) string {
	for _, spec := range file.Imports {
		if got, err := strconv.Unquote(spec.Path.Value); err != nil || got != path {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path[strings.LastIndex(path, "/")+1:]
	}
	return ""
}

func TestPure(t *testing.T) {
	for _, p := range packages(t) {
		if !under(p.path(), pure()...) {
			continue
		}
		report(t, impureImports(p))
		for _, f := range parse(t, p, p.GoFiles) {
			report(t, impureCode(f.fset, f.ast))
		}
	}
}

func TestPureRuleCatches(t *testing.T) {
	bad := pkg{ImportPath: module + "/reconciler/plan", Imports: []string{
		"fmt", "time", "net/netip", module + "/manifests", // fine
		"os/exec", "net", "log/slog", "github.com/google/uuid", module + "/internal/journal",
	}}
	if found := impureImports(bad); len(found) != 5 {
		t.Errorf("found %d of 5 impure imports: %q", len(found), found)
	}
	const source = `package plan
import clock "time"
func f(d clock.Duration) { go f(d); clock.Sleep(d); _ = clock.Now }
`
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "bad.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	if found := impureCode(fset, file); len(found) != 3 {
		t.Errorf("found %d of 3 impure statements: %q", len(found), found)
	}
}
