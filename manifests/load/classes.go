package load

import (
	_ "embed"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

//go:embed classes.txt
var classTable string

// class is what becomes of a field of the Compose model.
type class struct {
	// kind is plain, policy, refused, later or ignored.
	kind string
	// rule is the policy's setting.
	rule string
	note string
}

// classes returns the class of every field, by "Type.Field".
func classes() map[string]class {
	table := map[string]class{}
	for line := range strings.SplitSeq(classTable, "\n") {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		kind, note, _ := strings.Cut(strings.TrimSpace(rest), "  ")
		kind, rule, _ := strings.Cut(kind, ":")
		table[name] = class{kind: kind, rule: rule, note: strings.TrimSpace(note)}
	}
	return table
}

// enforcer walks the loaded model and applies the classes. What has no class
// is an error.
type enforcer struct {
	app     *app
	classes map[string]class
}

func (a *app) enforce(project *types.Project) {
	e := enforcer{app: a, classes: classes()}
	e.walk(reflect.ValueOf(project).Elem(), "")
}

// yamlName returns a field's name in the file; inline fields have none, and ok
// is false for those that no file can set.
func yamlName(f reflect.StructField) (name string, ok bool) {
	tag := f.Tag.Get("yaml")
	name, opts, _ := strings.Cut(tag, ",")
	switch {
	case name == "-" || !f.IsExported():
		return "", false
	case strings.Contains(opts, "inline"):
		return "", true
	case name == "":
		return strings.ToLower(f.Name), true
	}
	return name, true
}

func (e *enforcer) walk(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			e.walk(v.Elem(), path)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			e.field(v, i, path)
		}
	case reflect.Slice:
		for i := range v.Len() {
			e.walk(v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Map:
		for _, key := range sortedKeys(v) {
			e.walk(v.MapIndex(reflect.ValueOf(key).Convert(v.Type().Key())), join(path, key))
		}
	}
}

func sortedKeys(v reflect.Value) []string {
	keys := map[string]bool{}
	for _, k := range v.MapKeys() {
		keys[k.String()] = true
	}
	return slices.Sorted(maps.Keys(keys))
}

func (e *enforcer) field(v reflect.Value, i int, path string) {
	f := v.Type().Field(i)
	name, ok := yamlName(f)
	if !ok {
		return
	}
	at := path
	if name != "" {
		at = join(path, name)
	}
	if f.Type == reflect.TypeFor[types.Extensions]() {
		e.extensions(v.Field(i), v.Type(), path)
		return
	}
	c, known := e.classes[v.Type().Name()+"."+f.Name]
	switch {
	case known && (c.kind == "plain" || c.kind == "policy"):
		e.walk(v.Field(i), at)
	case !given(v.Field(i)):
	case c.kind == "ignored":
		e.app.warn(at, "", "ignored: %s", c.note)
	case c.kind == "later":
		e.app.later(at, c.note)
	default:
		e.app.fail(at, c.note, "refused")
	}
}

// given says whether a file has given the field. `external: false` and the like
// are as good as absent; a pointer to false is not.
func given(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Map, reflect.Slice:
		return v.Len() > 0
	}
	return !v.IsZero()
}

// extensions refuses x-remora where it means nothing.
func (e *enforcer) extensions(v reflect.Value, owner reflect.Type, path string) {
	if owner == reflect.TypeFor[types.Project]() || owner == reflect.TypeFor[types.ServiceConfig]() {
		return
	}
	if v.MapIndex(reflect.ValueOf("x-remora")).IsValid() {
		e.app.fail(join(path, "x-remora"), "write it at the top level or in a service", "x-remora means nothing here")
	}
}
