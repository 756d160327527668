// Package yamlfile decodes remora's own YAML files strictly: an unknown key, a
// key written twice and a value of the wrong type are each an error with file,
// line and column, and all of them are reported at once.
//
// It holds no state; every function may be called from any goroutine.
package yamlfile

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// maxSize bounds a file of ours; a larger one is an error.
const maxSize = 1 << 20

// maxDepth bounds the nesting of a file of ours.
const maxDepth = 50

// Positions are the places of the keys of a file, by dotted path.
type Positions map[string]manifests.Position

// Decode decodes data into target, a pointer to a struct whose fields carry
// yaml tags. file is the name that diagnostics carry. An empty file leaves
// target as it is.
func Decode(file string, data []byte, target any) (Positions, manifests.Diagnostics) {
	d := decoder{file: file, positions: Positions{}}
	if len(data) > maxSize {
		d.add(nil, "", fmt.Sprintf("the file has %d bytes", len(data)), "at most 1 MiB is read")
		return d.positions, d.diags
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		d.loadErrors(err)
		return d.positions, d.diags
	}
	if doc.Kind == 0 || len(doc.Content) == 0 {
		return d.positions, nil
	}
	root := doc.Content[0]
	d.check(root, reflect.TypeOf(target).Elem(), "", 0)
	if len(d.diags) > 0 {
		return d.positions, d.diags
	}
	if err := root.Decode(target); err != nil {
		d.loadErrors(err)
	}
	return d.positions, d.diags
}

type decoder struct {
	file      string
	positions Positions
	diags     manifests.Diagnostics
}

func (d *decoder) add(n *yaml.Node, field, message, remedy string) {
	p := manifests.Position{File: d.file}
	if n != nil {
		p.Line, p.Column = n.Line, n.Column
	}
	d.diags = append(d.diags, manifests.Diagnostic{
		Position: p, Reason: status.LoadFailed, Field: field, Message: message, Remedy: remedy,
	})
}

// check compares the keys of n with the fields of t.
func (d *decoder) check(n *yaml.Node, t reflect.Type, path string, depth int) {
	if depth > maxDepth {
		d.add(n, path, "nested too deeply", "")
		return
	}
	if n.Kind == yaml.AliasNode {
		d.add(n, path, "aliases are not used in this file", "write the value out")
		return
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch n.Kind {
	case yaml.MappingNode:
		d.checkMapping(n, t, path, depth)
	case yaml.SequenceNode:
		for i, item := range n.Content {
			at := fmt.Sprintf("%s[%d]", path, i)
			d.positions[at] = manifests.Position{File: d.file, Line: item.Line, Column: item.Column}
			switch t.Kind() {
			case reflect.Slice:
				d.check(item, t.Elem(), at, depth+1)
			case reflect.Interface:
				d.check(item, t, at, depth+1)
			}
		}
		if t.Kind() != reflect.Slice && t.Kind() != reflect.Interface {
			d.add(n, path, "a list where "+kindOf(t)+" belongs", "")
		}
	case yaml.ScalarNode:
		d.checkScalar(n, t, path)
	}
}

// checkScalar says what is wrong with a single value in the words of a file,
// where the library would name a type of Go.
func (d *decoder) checkScalar(n *yaml.Node, t reflect.Type, path string) {
	if n.ShortTag() == "!!null" {
		return
	}
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](reflect.New(t)); ok {
		if err := u.UnmarshalText([]byte(n.Value)); err != nil {
			d.add(n, path, err.Error(), "")
		}
		return
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Struct, reflect.Map:
		d.add(n, path, fmt.Sprintf("%q where %s belongs", n.Value, kindOf(t)), "")
	case reflect.Bool, reflect.Int, reflect.Int64, reflect.Uint16, reflect.Uint64, reflect.Float64:
		if n.Decode(reflect.New(t).Interface()) != nil {
			d.add(n, path, fmt.Sprintf("%q where %s belongs", n.Value, kindOf(t)), "")
		}
	}
}

// kindOf is what people call the values of a type.
func kindOf(t reflect.Type) string {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return "a single value"
	}
	switch t.Kind() {
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "a mapping"
	case reflect.Bool:
		return "true or false"
	case reflect.Uint16:
		return "a number from 0 to 65535"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return "a single value"
}

func (d *decoder) checkMapping(n *yaml.Node, t reflect.Type, path string, depth int) {
	if t.Kind() != reflect.Struct && t.Kind() != reflect.Map && t.Kind() != reflect.Interface {
		d.add(n, path, "a mapping where a single value or a list belongs", "")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := join(path, key.Value)
		if seen[key.Value] {
			d.add(key, at, "the key is written twice", "remove one of the two")
			continue
		}
		seen[key.Value] = true
		d.positions[at] = manifests.Position{File: d.file, Line: key.Line, Column: key.Column}
		switch t.Kind() {
		case reflect.Struct:
			d.checkField(key, value, t, at, depth)
		case reflect.Map:
			d.check(value, t.Elem(), at, depth+1)
		case reflect.Interface:
			d.check(value, t, at, depth+1)
		}
	}
}

func (d *decoder) checkField(key, value *yaml.Node, t reflect.Type, at string, depth int) {
	var known []string
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if name == key.Value {
			d.check(value, field.Type, at, depth+1)
			return
		}
		if name != "" && name != "-" {
			known = append(known, name)
		}
	}
	slices.Sort(known)
	d.add(key, at, "unknown key", "known here: "+strings.Join(known, ", "))
}

// loadErrors takes over what the YAML library reports.
func (d *decoder) loadErrors(err error) {
	var many *yaml.LoadErrors
	var one *yaml.LoadError
	switch {
	case errors.As(err, &many):
		for _, e := range many.Errors {
			d.loadError(e)
		}
	case errors.As(err, &one):
		d.loadError(one)
	default:
		d.add(nil, "", err.Error(), "")
	}
}

func (d *decoder) loadError(e *yaml.LoadError) {
	message := e.Message
	if message == "" {
		message = e.Error()
	}
	d.diags = append(d.diags, manifests.Diagnostic{
		Position: manifests.Position{File: d.file, Line: e.Mark.Line, Column: max(e.Mark.Column, 0)},
		Reason:   status.LoadFailed, Message: message,
	})
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
