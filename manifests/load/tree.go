package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v4"

	"github.com/remorahq/remora/manifests"
)

// Bounds of one file: how deep it nests and how many values it has once
// aliases and merge keys are followed.
const (
	maxDepth  = 100
	maxValues = 500_000
)

// value is a value of a source file with its place; aliases and merge keys are
// followed.
type value struct {
	pos    manifests.Position
	scalar string
	isText bool // a scalar that is not null
	keys   []string
	fields map[string]*value
	keyPos map[string]manifests.Position
	items  []*value
}

// field returns the value at key of a mapping, or nil.
func (v *value) field(key string) *value {
	if v == nil {
		return nil
	}
	return v.fields[key]
}

// parse reads the documents of a file.
func parse(file string, data []byte) ([]*value, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var docs []*value
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, syntaxError(file, err)
		}
		b := builder{file: file, done: map[*yaml.Node]*value{}, open: map[*yaml.Node]bool{}}
		if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
			continue
		}
		root := doc.Content[0]
		if root.Tag == "!reset" || root.Tag == "!override" {
			return nil, b.fail(root, root.Tag+" on the whole document: there is nothing that it could apply to")
		}
		v, err := b.build(root, 0)
		if err != nil {
			return nil, err
		}
		docs = append(docs, v)
	}
}

// placed is an error with the place that it is about.
type placed struct {
	manifests.Position
	message string
}

func (e *placed) Error() string { return e.String() + ": " + e.message }

func syntaxError(file string, err error) error {
	if one, ok := errors.AsType[*yaml.LoadError](err); ok {
		return &placed{manifests.Position{File: file, Line: one.Mark.Line, Column: one.Mark.Column}, one.Message}
	}
	return &placed{manifests.Position{File: file}, err.Error()}
}

type builder struct {
	file  string
	count int
	done  map[*yaml.Node]*value
	open  map[*yaml.Node]bool
}

func (b *builder) fail(n *yaml.Node, message string) error {
	return &placed{b.pos(n), message}
}

func (b *builder) pos(n *yaml.Node) manifests.Position {
	return manifests.Position{File: b.file, Line: n.Line, Column: n.Column}
}

func (b *builder) build(n *yaml.Node, depth int) (*value, error) {
	b.count++
	switch {
	case b.count > maxValues:
		return nil, b.fail(n, fmt.Sprintf("the file has more than %d values", maxValues))
	case depth > maxDepth:
		return nil, b.fail(n, fmt.Sprintf("nested more than %d levels deep", maxDepth))
	case n.Kind == yaml.AliasNode:
		return b.build(n.Alias, depth+1)
	case b.open[n]:
		return nil, b.fail(n, "an alias leads back to the value that it is part of")
	}
	if v := b.done[n]; v != nil {
		return v, nil
	}
	if !knownTag(n.ShortTag()) {
		return nil, b.fail(n, fmt.Sprintf("the tag %s means nothing in a compose file", n.ShortTag()))
	}
	b.open[n] = true
	defer delete(b.open, n)
	v := &value{pos: b.pos(n)}
	var err error
	switch n.Kind {
	case yaml.ScalarNode:
		v.scalar, v.isText = n.Value, n.Tag != "!!null"
	case yaml.SequenceNode:
		err = b.sequence(v, n, depth)
	case yaml.MappingNode:
		err = b.mapping(v, n, depth)
	}
	if err != nil {
		return nil, err
	}
	b.done[n] = v
	return v, nil
}

// knownTag says whether a value's tag leaves its text as it is written. Others,
// such as !!binary, would let a file say one thing to this scan and another to
// the library.
func knownTag(tag string) bool {
	switch tag {
	case "", "!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!merge", "!!map", "!!seq", "!reset", "!override":
		return true
	}
	return false
}

func (b *builder) sequence(v *value, n *yaml.Node, depth int) error {
	for _, item := range n.Content {
		child, err := b.build(item, depth+1)
		if err != nil {
			return err
		}
		v.items = append(v.items, child)
	}
	return nil
}

func (b *builder) mapping(v *value, n *yaml.Node, depth int) error {
	v.fields, v.keyPos = map[string]*value{}, map[string]manifests.Position{}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, item := n.Content[i], n.Content[i+1]
		if !knownTag(key.ShortTag()) || key.Kind != yaml.ScalarNode {
			return b.fail(key, "a key is a plain text")
		}
		if key.Value == "<<" && key.Tag == "!!merge" {
			merges = append(merges, item)
			continue
		}
		if _, twice := v.fields[key.Value]; twice {
			return b.fail(key, fmt.Sprintf("the key %q is written twice", key.Value))
		}
		child, err := b.build(item, depth+1)
		if err != nil {
			return err
		}
		v.put(key.Value, child, b.pos(key))
	}
	for _, m := range merges {
		if err := b.merge(v, m, depth); err != nil {
			return err
		}
	}
	return nil
}

// merge adds the keys of `<<` that v does not have itself.
func (b *builder) merge(v *value, n *yaml.Node, depth int) error {
	from, err := b.build(n, depth+1)
	if err != nil {
		return err
	}
	sources := from.items
	if from.fields != nil {
		sources = []*value{from}
	}
	if len(sources) == 0 {
		return b.fail(n, "a merge key needs a mapping or a list of mappings")
	}
	for _, s := range sources {
		for _, key := range s.keys {
			if _, own := v.fields[key]; !own {
				v.put(key, s.fields[key], s.keyPos[key])
			}
		}
	}
	return nil
}

func (v *value) put(key string, child *value, pos manifests.Position) {
	v.keys = append(v.keys, key)
	v.fields[key] = child
	v.keyPos[key] = pos
}

// walk calls visit for every value below v with its dotted path and the place
// of its key; it stops after budget values.
func (v *value) walk(path string, pos manifests.Position, budget *int, visit func(path string, pos manifests.Position, v *value)) {
	if v == nil || *budget <= 0 {
		return
	}
	*budget--
	visit(path, pos, v)
	for _, key := range v.keys {
		v.fields[key].walk(join(path, key), v.keyPos[key], budget, visit)
	}
	for i, item := range v.items {
		item.walk(fmt.Sprintf("%s[%d]", path, i), item.pos, budget, visit)
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
