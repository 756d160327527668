package load

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// maxChain bounds how many files include or extend each other in a row.
const maxChain = 32

// scan reads the compose files of an app before the library does: where keys
// are written, which variables they need, and where their paths lead.
type scan struct {
	app    *app
	docs   map[string][]*value // by absolute path
	budget int
	// services are the definitions of main and included files by name, later
	// files last.
	services map[string][]definition
	// written are the services with all that they extend, as files write them.
	written map[string][]definition
	// broken says that a file could not be read or parsed.
	broken bool
	// checked are files whose variables were judged.
	checked map[string]bool
}

// definition is a service as one file writes it.
type definition struct {
	origin
	value *value
}

// origin is the context that a file is read in.
type origin struct {
	file string
	// base is where its relative paths start.
	base string
	env  map[string]string
	// main marks the app's own files, whose keys win over included ones.
	main  bool
	chain []string
	// from is the place of the include that led here.
	from manifests.Position
}

func newScan(a *app) *scan {
	a.index = map[string]manifests.Position{}
	return &scan{
		app: a, docs: map[string][]*value{}, budget: 4 * maxValues,
		services: map[string][]definition{}, written: map[string][]definition{}, checked: map[string]bool{},
	}
}

func (s *scan) run() {
	for _, path := range s.app.configs {
		s.file(origin{file: path, base: s.app.workDir, env: s.app.vars, main: true})
	}
	for name, defs := range s.services {
		for _, def := range defs {
			s.extend(name, def, nil)
		}
	}
	if s.budget <= 0 {
		s.app.fail("", "use fewer aliases", "the files have more than %d values once aliases are followed", 4*maxValues)
	}
}

// projectName returns the interpolated top-level `name`.
func (s *scan) projectName() string {
	name := ""
	for _, path := range s.app.configs {
		for _, doc := range s.docs[path] {
			if v := doc.field("name"); v != nil && v.scalar != "" {
				name, _ = substitute(v.scalar, s.app.vars)
			}
		}
	}
	return name
}

// open parses a file once and counts it.
func (s *scan) open(path string, from manifests.Position, field string) []*value {
	if docs, ok := s.docs[path]; ok {
		return docs
	}
	s.docs[path] = nil
	fail := func(pos manifests.Position, message string) {
		s.broken = true
		s.app.add(manifests.Diagnostic{Position: pos, Reason: status.LoadFailed, Field: field, Message: message})
	}
	if len(s.docs) > maxFiles {
		fail(from, fmt.Sprintf("more than %d files belong to the app", maxFiles))
		return nil
	}
	data, err := s.app.read(path)
	if err != nil {
		if from.File == "" {
			from.File = s.app.shown(path)
		}
		fail(from, fmt.Sprintf("file %q %s", s.app.shown(path), why(err)))
		return nil
	}
	docs, err := parse(s.app.shown(path), data)
	if err != nil {
		if p, ok := errors.AsType[*placed](err); ok {
			fail(p.Position, p.message)
		} else {
			fail(manifests.Position{File: s.app.shown(path)}, err.Error())
		}
		return nil
	}
	s.docs[path] = docs
	return docs
}

// file scans a main or included file.
func (s *scan) file(o origin) {
	docs := s.open(o.file, o.from, "")
	s.variables(o, docs)
	for _, doc := range docs {
		if doc.fields == nil {
			if doc.isText || doc.items != nil {
				s.failAt(doc.pos, "", "", "the file is not a mapping of keys")
			}
			continue
		}
		s.keys(doc)
		s.include(o, doc)
		s.record("", doc, o.main)
		s.topPaths(o, doc)
		if pos, given := doc.keyPos[extensionKey]; given && !o.main {
			s.failAt(pos, extensionKey, "write it in the app's own compose file", "x-remora of an included file counts for nothing")
		}
		services := doc.field("services")
		if services == nil {
			continue
		}
		for _, name := range services.keys {
			def := definition{origin: o, value: services.fields[name]}
			s.services[name] = append(s.services[name], def)
			s.written[name] = append(s.written[name], def)
			s.servicePaths(o, "services."+name, def.value)
		}
	}
}

func (s *scan) failAt(pos manifests.Position, field, remedy, format string, args ...any) {
	s.app.add(manifests.Diagnostic{Position: pos, Field: field, Remedy: remedy, Message: fmt.Sprintf(format, args...)})
}

// variables reports all variables of a file that nothing sets.
func (s *scan) variables(o origin, docs []*value) {
	if s.checked[o.file] {
		return
	}
	s.checked[o.file] = true
	for _, doc := range docs {
		doc.walk("", doc.pos, &s.budget, func(path string, _ manifests.Position, v *value) {
			if !strings.Contains(v.scalar, "$") {
				return
			}
			for _, ref := range unset(v.scalar, o.env) {
				s.app.unsetVariable(v.pos, path, ref)
			}
		})
	}
}

// record notes where the keys of v are written. Keys of the app's own files
// win over what they include, later files over former ones.
func (s *scan) record(prefix string, v *value, win bool) {
	v.walk(prefix, v.pos, &s.budget, func(path string, pos manifests.Position, _ *value) {
		if _, known := s.app.index[path]; path != "" && (win || !known) {
			s.app.index[path] = pos
		}
	})
}

// include follows the include entries of a file.
func (s *scan) include(o origin, doc *value) {
	list := doc.field("include")
	if list == nil {
		return
	}
	if len(o.chain) > maxChain || slices.Contains(o.chain, o.file) {
		s.failAt(doc.keyPos["include"], "include", "", "the files include each other in a circle")
		return
	}
	for i, item := range list.items {
		s.includeEntry(o, item, fmt.Sprintf("include[%d]", i))
	}
}

func (s *scan) includeEntry(o origin, item *value, field string) {
	paths := texts(item)
	if item.fields != nil {
		paths = texts(item.field("path"))
	}
	next := origin{env: o.env, chain: append(slices.Clone(o.chain), o.file), from: item.pos}
	for i, v := range paths {
		path, ok := s.inside(o, v, field)
		if !ok {
			return
		}
		if i == 0 {
			next.base = filepath.Dir(path)
			if dir := item.field("project_directory"); dir != nil {
				if next.base, ok = s.inside(o, dir, field+".project_directory"); !ok {
					return
				}
			}
			next.env = s.includeEnv(o, item, next.base, field)
		}
		next.file = path
		s.file(next)
	}
}

// includeEnv returns the variables of an included file: those of its own .env
// or env_file do not override what is set already.
func (s *scan) includeEnv(o origin, item *value, base, field string) map[string]string {
	var files []string
	if list := item.field("env_file"); list != nil {
		for _, v := range texts(list) {
			if path, ok := s.inside(o, v, field+".env_file"); ok {
				files = append(files, path)
			}
		}
	} else if path := filepath.Join(base, ".env"); s.exists(path) {
		files = []string{path}
	}
	env := map[string]string{}
	for _, path := range files {
		data, err := s.app.read(path)
		if err != nil {
			s.failAt(item.pos, field, "", "file %q %s", s.app.shown(path), why(err))
			continue
		}
		vars, err := dotenv.UnmarshalBytesWithLookup(data, func(name string) (string, bool) {
			v, ok := o.env[name]
			return v, ok
		})
		if err != nil {
			s.failAt(item.pos, field, "", "read variables of %q: %v", s.app.shown(path), err)
		}
		maps.Copy(env, vars)
	}
	maps.Copy(env, o.env)
	return env
}

func (s *scan) exists(path string) bool {
	_, exists, err := s.app.repo.resolve(path)
	if !exists && err == nil {
		if rel, ok := s.app.repo.rel(path); ok {
			s.app.note(manifests.Input{Path: rel, Kind: manifests.InputAbsent})
		}
	}
	// A link that leads out counts as existing, so that reading it fails.
	return exists || err != nil
}

// extend follows `extends` of a service, through other files.
func (s *scan) extend(name string, def definition, chain []string) {
	decl := def.value.field("extends")
	if decl == nil {
		return
	}
	ref := s.text(def.origin, decl)
	if decl.fields != nil {
		ref = s.text(def.origin, decl.field("service"))
	}
	next := def.origin
	next.main = false
	field := "services." + name + ".extends"
	if file := decl.field("file"); file != nil {
		path, ok := s.inside(def.origin, file, field+".file")
		if !ok {
			return
		}
		next.file, next.base = path, filepath.Dir(path)
	}
	link := next.file + "#" + ref
	if len(chain) > maxChain || slices.Contains(chain, link) {
		s.failAt(decl.pos, field, "", "the services extend each other in a circle")
		return
	}
	base := s.base(next, ref, decl.pos, field, decl.field("file") != nil)
	if base == nil {
		return
	}
	s.record("services."+name, base, false)
	s.servicePaths(next, "services."+name, base)
	def = definition{origin: next, value: base}
	s.written[name] = append(s.written[name], def)
	s.extend(name, def, append(chain, link))
}

// base finds the service that is extended.
func (s *scan) base(o origin, ref string, pos manifests.Position, field string, other bool) *value {
	docs := s.open(o.file, pos, field)
	if other && !s.checked[o.file] {
		s.variables(o, docs)
		for _, doc := range docs {
			if doc.fields != nil {
				s.keys(doc)
			}
		}
	}
	for _, doc := range docs {
		if v := doc.field("services").field(ref); v != nil {
			return v
		}
	}
	if defs := s.services[ref]; !other && len(defs) > 0 {
		return defs[0].value
	}
	return nil
}

// texts returns v itself, or its items, where they are texts.
func texts(v *value) []*value {
	if v == nil {
		return nil
	}
	if v.items == nil && v.fields == nil {
		return []*value{v}
	}
	return v.items
}

func (s *scan) text(o origin, v *value) string {
	if v == nil {
		return ""
	}
	text, _ := substitute(v.scalar, o.env)
	return text
}
