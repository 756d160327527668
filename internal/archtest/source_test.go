package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Sizes that a reader can hold in mind.
const (
	maxFile     = 600 // lines, tests not counted
	maxFunction = 80
	maxMain     = 30 // of cmd/*/main.go
)

// source is one parsed file.
type source struct {
	path string
	test bool
	fset *token.FileSet
	ast  *ast.File
}

func (s source) lines() int { return s.fset.File(s.ast.Pos()).LineCount() }

func parse(t *testing.T, p pkg, names []string) []source {
	t.Helper()
	var files []source
	for _, name := range names {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("parse: %v", err)
			continue
		}
		files = append(files, source{p.path() + "/" + name, strings.HasSuffix(name, "_test.go"), fset, file})
	}
	return files
}

// TestPackageComments: one comment a package says what it is, what it must
// not do, and who may call it at the same time.
func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles)+len(p.CgoFiles) == 0 {
			continue // only tests
		}
		report(t, packageComment(p, parse(t, p, slices.Concat(p.GoFiles, p.CgoFiles))))
	}
}

func packageComment(p pkg, files []source) []string {
	var with []string
	var found []string
	begin := "Package " + p.Name + " "
	if p.Name == "main" {
		begin = "Command " + filepath.Base(p.ImportPath) + " "
	}
	for _, f := range files {
		if f.ast.Doc == nil {
			continue
		}
		with = append(with, f.path)
		if !strings.HasPrefix(f.ast.Doc.Text(), begin) {
			found = append(found, fmt.Sprintf("%s: the package comment begins with %q: go doc shows it so", f.path, begin))
		}
	}
	if len(with) != 1 {
		found = append(found, fmt.Sprintf("%s has %d package comments %v, want one: "+
			"what it is, what it must not do, its concurrency contract", p.path(), len(with), with))
	}
	return found
}

// TestNames: a package is named after what it provides.
func TestNames(t *testing.T) {
	for _, p := range packages(t) {
		report(t, badName(p))
	}
}

func badName(p pkg) []string {
	if !slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "types"}, p.Name) {
		return nil
	}
	return []string{fmt.Sprintf("%s: the name %q says nothing, and gathers everything", p.path(), p.Name)}
}

// TestSource checks every file, tests included.
func TestSource(t *testing.T) {
	for _, p := range packages(t) {
		all := slices.Concat(p.GoFiles, p.CgoFiles, p.TestGoFiles, p.XTestGoFiles)
		for _, f := range parse(t, p, all) {
			report(t, f.initFunctions())
			if f.test {
				report(t, f.sleeps())
			} else {
				report(t, f.sizes())
			}
		}
	}
}

func (s source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.path, s.fset.Position(n.Pos()).Line)
}

func (s source) initFunctions() []string {
	var found []string
	for _, d := range s.ast.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "init" && f.Recv == nil {
			found = append(found, s.at(f)+": init() runs unasked and cannot fail: build the value where it is used")
		}
	}
	return found
}

func (s source) sleeps() []string {
	name := importName(s.ast, "time")
	var found []string
	ast.Inspect(s.ast, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && isSelector(sel, name, []string{"Sleep"}) {
			found = append(found, s.at(n)+": time.Sleep makes a test slow or flaky: poll the condition, wait on a channel, or use testing/synctest")
		}
		return true
	})
	return found
}

func (s source) sizes() []string {
	var found []string
	limit := maxFile
	if under(s.path, "cmd") && strings.HasSuffix(s.path, "/main.go") {
		limit = maxMain
	}
	if n := s.lines(); n > limit {
		found = append(found, fmt.Sprintf("%s has %d lines, at most %d: one noun a file", s.path, n, limit))
	}
	for _, d := range s.ast.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
		if n > maxFunction {
			found = append(found, fmt.Sprintf("%s: %s has %d lines, at most %d", s.at(f), f.Name.Name, n, maxFunction))
		}
	}
	return found
}

func TestSourceRulesCatch(t *testing.T) {
	text := "package util\nimport \"time\"\nfunc init() { time.Sleep(1) }\nfunc long() {\n" +
		strings.Repeat("\n", maxFile) + "}\n"
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "bad.go", text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	s := source{path: "internal/util/bad.go", fset: fset, ast: file}
	p := pkg{ImportPath: module + "/internal/util", Name: "util"}
	for rule, found := range map[string][]string{
		"init": s.initFunctions(), "sleep": s.sleeps(), "name": badName(p),
		"no package comment": packageComment(p, []source{s}),
	} {
		if len(found) != 1 {
			t.Errorf("rule %s found %q, want one violation", rule, found)
		}
	}
	if found := s.sizes(); len(found) != 2 {
		t.Errorf("rule of sizes found %q, want the file and the function", found)
	}
}
