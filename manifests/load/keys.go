package load

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// keys reports every key of a file that the Compose specification does not
// know, by the library's own types: its schema names one at a time only.
func (s *scan) keys(doc *value) {
	for _, key := range doc.keys {
		if key != "include" && key != "version" {
			continue
		}
		doc = &value{pos: doc.pos, fields: doc.fields, keyPos: doc.keyPos, keys: slices.DeleteFunc(
			slices.Clone(doc.keys), func(k string) bool { return k == "include" || k == "version" })}
	}
	s.knownKeys(doc, reflect.TypeFor[types.Project](), "")
}

func (s *scan) knownKeys(v *value, t reflect.Type, path string) {
	if v == nil || s.budget <= 0 {
		return
	}
	s.budget--
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case v.fields != nil && t.Kind() == reflect.Struct:
		fields := yamlFields(t)
		for _, key := range v.keys {
			f, known := fields[key]
			switch {
			case known:
				s.knownKeys(v.fields[key], f, join(path, key))
			case !strings.HasPrefix(key, "x-"):
				s.failAt(v.keyPos[key], join(path, key), nearest(key, fields), "unknown key %q", key)
			}
		}
	case v.fields != nil && t.Kind() == reflect.Map:
		for _, key := range v.keys {
			s.knownKeys(v.fields[key], t.Elem(), join(path, key))
		}
	case t.Kind() == reflect.Slice:
		for _, item := range v.items {
			s.knownKeys(item, t.Elem(), path+"[]")
		}
	}
}

// yamlFields returns the types of a struct's keys, inline structs included.
func yamlFields(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, ok := yamlName(f)
		switch {
		case !ok || f.Type == reflect.TypeFor[types.Extensions]():
		case name != "":
			fields[name] = f.Type
		default:
			maps.Copy(fields, yamlFields(f.Type))
		}
	}
	return fields
}

// nearest suggests the known key that differs least.
func nearest(key string, fields map[string]reflect.Type) string {
	best, distance := "", 3
	for known := range fields {
		if d := edits(key, known); d < distance || d == distance && known < best {
			best, distance = known, d
		}
	}
	if best == "" {
		return "remove it, or give it a name that begins with x-"
	}
	return "did you mean `" + best + "`?"
}

// edits returns how many letters must change, come or go to turn a into b.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
