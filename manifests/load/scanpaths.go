package load

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/remorahq/remora/internal/policy"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// inside resolves a path that must lie in the repository.
func (s *scan) inside(o origin, v *value, field string) (string, bool) {
	text := s.text(o, v)
	if home(text) {
		s.homePath(v, field, text)
		return "", false
	}
	if strings.Contains(text, "://") || strings.HasPrefix(text, "git@") {
		s.failAt(v.pos, field, "copy the file into the repository", "%q is not a file; nothing is fetched from elsewhere", text)
		return "", false
	}
	path := text
	if !filepath.IsAbs(path) {
		path = filepath.Join(o.base, text)
	}
	if _, _, err := s.app.repo.resolve(path); err != nil {
		s.failAt(v.pos, field, "keep the file inside the repository", "path %q %s", text, why(err))
		return "", false
	}
	return path, true
}

// relative checks a path that may also be an absolute one of the host, which
// policy judges later.
func (s *scan) relative(o origin, v *value, field, text string) {
	switch {
	case home(text):
		s.homePath(v, field, text)
	case filepath.IsAbs(text), text == "":
	default:
		if _, _, err := s.app.repo.resolve(filepath.Join(o.base, text)); err != nil {
			s.failAt(v.pos, field, "keep it inside the repository, or write an absolute path that the host allows",
				"path %q %s", text, why(err))
		}
	}
}

func home(text string) bool { return strings.HasPrefix(text, "~") }

func (s *scan) homePath(v *value, field, text string) {
	s.failAt(v.pos, field, "write a path relative to the file, or an absolute one",
		"path %q names a person's home; remora has none", text)
}

// topPaths checks the paths of configs, secrets and volumes.
func (s *scan) topPaths(o origin, doc *value) {
	for _, kind := range []string{"configs", "secrets"} {
		list := doc.field(kind)
		if list == nil {
			continue
		}
		for _, name := range list.keys {
			if file := list.fields[name].field("file"); file != nil {
				s.relative(o, file, kind+"."+name+".file", s.text(o, file))
			}
		}
	}
	volumes := doc.field("volumes")
	if volumes == nil {
		return
	}
	for _, name := range volumes.keys {
		opts := volumes.fields[name].field("driver_opts")
		if device := opts.field("device"); device != nil && strings.Contains(s.text(o, opts.field("o")), "bind") {
			s.relative(o, device, "volumes."+name+".driver_opts.device", s.text(o, device))
		}
	}
}

// servicePaths checks the paths of a service.
func (s *scan) servicePaths(o origin, prefix string, svc *value) {
	if svc == nil {
		return
	}
	s.portBombs(o, prefix, svc)
	s.passThrough(o, prefix+".environment", svc.field("environment"))
	for i, v := range listOf(svc.field("volumes")) {
		s.volumePath(o, v, fmt.Sprintf("%s.volumes[%d]", prefix, i))
	}
	for _, v := range envFiles(svc.field("env_file")) {
		s.envFilePath(o, v, prefix+".env_file")
	}
	for _, v := range texts(svc.field("label_file")) {
		s.inside(o, v, prefix+".label_file")
	}
	if build := svc.field("build"); build != nil {
		context := build
		if build.fields != nil {
			context = build.field("context")
		}
		if text := s.text(o, context); !strings.Contains(text, "://") && !strings.HasPrefix(text, "git@") {
			s.relative(o, context, prefix+".build", text)
		}
	}
}

// passThrough reports variables that a container would take from a shell.
func (s *scan) passThrough(o origin, field string, env *value) {
	report := func(name string, v *value) {
		if !has(o.env, name) {
			s.app.unsetVariable(v.pos, field, unsetRef{name: name})
		}
	}
	for _, v := range listOf(env) {
		if text := s.text(o, v); text != "" && !strings.Contains(text, "=") {
			report(text, v)
		}
	}
	if env == nil {
		return
	}
	for _, name := range env.keys {
		if v := env.fields[name]; v.fields == nil && v.items == nil && !v.isText {
			report(name, v)
		}
	}
}

func listOf(v *value) []*value {
	if v == nil {
		return nil
	}
	return v.items
}

func envFiles(v *value) []*value {
	var files []*value
	for _, item := range texts(v) {
		if item.fields != nil {
			item = item.field("path")
		}
		if item != nil {
			files = append(files, item)
		}
	}
	return files
}

func (s *scan) envFilePath(o origin, v *value, field string) {
	text := s.text(o, v)
	if filepath.IsAbs(text) {
		if _, ok := s.app.repo.rel(text); !ok {
			s.app.hostEnvAllowed(v.pos, field, text)
			return
		}
	}
	s.inside(o, v, field)
}

// hostEnvAllowed reports an env file of the host that its policy does not
// name.
func (a *app) hostEnvAllowed(pos manifests.Position, field, path string) bool {
	if policy.EnvFile(a.req.Policy, path) {
		return true
	}
	for _, d := range a.diags {
		if d.Value == path && d.Reason == status.PolicyDenied {
			return false // reported where the file writes it
		}
	}
	a.add(manifests.Diagnostic{
		Position: pos, Field: field, Value: path, Reason: status.PolicyDenied,
		Message: fmt.Sprintf("env file %q lies on the host", path),
		Remedy:  fmt.Sprintf("the host allows it with policy.env_files: [%q]", path),
	})
	return false
}

// volumePath checks the source of a bind.
func (s *scan) volumePath(o origin, v *value, field string) {
	if v.fields != nil {
		if s.text(o, v.field("type")) == "bind" && v.field("source") != nil {
			s.relative(o, v.field("source"), field+".source", s.text(o, v.field("source")))
		}
		return
	}
	text := s.text(o, v)
	source, _, mount := strings.Cut(text, ":")
	if !mount || !strings.HasPrefix(source, ".") && !home(source) {
		return
	}
	s.relative(o, v, field, source)
}
