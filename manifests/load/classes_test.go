package load

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
)

// TestEveryFieldHasAClass walks the library's structs: a field that an upgrade
// adds fails here until somebody decides what becomes of it.
func TestEveryFieldHasAClass(t *testing.T) {
	table := classes()
	used := map[string]bool{}
	walkTypes(reflect.TypeFor[types.Project](), table, used, map[reflect.Type]bool{}, func(name string) {
		t.Errorf("%s has no class: give it one in classes.txt", name)
	})
	for name := range table {
		if !used[name] {
			t.Errorf("%s has a class, but no such field is reached", name)
		}
	}
}

// walkTypes visits every field that a file can set, below fields that are
// carried out.
func walkTypes(t reflect.Type, table map[string]class, used map[string]bool, seen map[reflect.Type]bool, missing func(string)) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		walkTypes(t.Elem(), table, used, seen, missing)
		return
	case reflect.Struct:
	default:
		return
	}
	if seen[t] {
		return
	}
	seen[t] = true
	for f := range t.Fields() {
		if _, ok := yamlName(f); !ok {
			continue
		}
		name := t.Name() + "." + f.Name
		used[name] = true
		c, known := table[name]
		if !known {
			missing(name)
			continue
		}
		if c.kind == "plain" || c.kind == "policy" {
			walkTypes(f.Type, table, used, seen, missing)
		}
	}
}

// TestUnknownFieldsAreFound shows that the walk above can fail.
func TestUnknownFieldsAreFound(t *testing.T) {
	table := classes()
	delete(table, "ContainerSpec.Privileged")
	var missing []string
	walkTypes(reflect.TypeFor[types.Project](), table, map[string]bool{}, map[reflect.Type]bool{}, func(name string) {
		missing = append(missing, name)
	})
	if diff := cmp.Diff([]string{"ContainerSpec.Privileged"}, missing); diff != "" {
		t.Errorf("fields without a class (-want +got):\n%s", diff)
	}
}

func TestClassesAreWellFormed(t *testing.T) {
	kinds := []string{"plain", "policy", "refused", "later", "ignored"}
	for name, c := range classes() {
		if !slices.Contains(kinds, c.kind) || (c.kind == "policy") != (c.rule != "") {
			t.Errorf("%s: class %q with rule %q", name, c.kind, c.rule)
		}
		if c.note == "" && (c.kind == "refused" || c.kind == "ignored" || c.kind == "later") {
			t.Errorf("%s: says not what to do instead", name)
		}
	}
}

// TestFieldWithoutClassIsDenied shows that the loader itself denies what the
// table does not know.
func TestFieldWithoutClassIsDenied(t *testing.T) {
	a := &app{}
	e := enforcer{app: a, classes: classes()}
	delete(e.classes, "ContainerSpec.Hostname")
	project := &types.Project{Services: types.Services{"web": {ContainerSpec: types.ContainerSpec{Hostname: "h"}}}}
	e.walk(reflect.ValueOf(project).Elem(), "")
	if len(a.diags) != 1 || a.diags[0].Field != "services.web.hostname" {
		t.Errorf("diagnostics = %v, want one about services.web.hostname", a.diags)
	}
}

// The table of fields in the README lies between these lines.
const (
	tableBegin = "<!-- begin: fields, written by `go test ./manifests/load -run TestReadme -update` -->\n"
	tableEnd   = "<!-- end: fields -->\n"
)

func TestReadme(t *testing.T) {
	const file = "../README.md"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), tableBegin)
	have, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no table of fields between %q and %q", file, tableBegin, tableEnd)
	}
	want := fieldTable()
	if *update {
		if err := os.WriteFile(file, []byte(before+tableBegin+want+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("the table of fields is out of step with classes.txt (-want +have):\n%s", diff)
	}
}

// fieldTable renders the classes by the names that files use.
func fieldTable() string {
	table := classes()
	keys := map[string]string{}
	nameFields(reflect.TypeFor[types.Project](), keys, map[reflect.Type]bool{})
	var b strings.Builder
	group := ""
	for _, name := range slices.Sorted(maps.Keys(table)) {
		owner, _, _ := strings.Cut(name, ".")
		c := table[name]
		if keys[name] == "" || strings.HasSuffix(name, ".Extensions") {
			continue
		}
		if owner != group {
			group = owner
			fmt.Fprintf(&b, "\n**%s**\n\n| key | class | note |\n|---|---|---|\n", owner)
		}
		kind := c.kind
		if c.rule != "" {
			kind = "policy: `" + c.rule + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", keys[name], kind, c.note)
	}
	return b.String() + "\n"
}

func nameFields(t reflect.Type, keys map[string]string, seen map[reflect.Type]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] {
		return
	}
	seen[t] = true
	for f := range t.Fields() {
		if name, ok := yamlName(f); ok {
			keys[t.Name()+"."+f.Name] = name
			nameFields(f.Type, keys, seen)
		}
	}
}
