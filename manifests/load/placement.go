package load

import (
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// hostFacts are what placement is judged by.
type hostFacts struct {
	name   string
	labels map[string]string
}

func (a *app) host() hostFacts { return hostFacts{a.req.Host, a.req.Labels} }

// constraint judges "node.labels.role == web" as Swarm writes it. Every host
// manages itself, so node.role is manager.
func (h hostFacts) constraint(text string) (bool, error) {
	op := "=="
	if strings.Contains(text, "!=") {
		op = "!="
	}
	key, want, ok := strings.Cut(text, op)
	key, want = strings.TrimSpace(key), strings.Trim(strings.TrimSpace(want), `"'`)
	if !ok || want == "" {
		return false, fmt.Errorf("%q is no constraint; write such as node.labels.role == web", text)
	}
	have := ""
	switch {
	case key == "node.hostname":
		have = h.name
	case key == "node.role":
		have = "manager"
	case key == "node.platform.os":
		have = runtime.GOOS
	case key == "node.platform.arch":
		have = architecture(want)
	case strings.HasPrefix(key, "node.labels."):
		have = h.labels[strings.TrimPrefix(key, "node.labels.")]
	default:
		return false, fmt.Errorf("constraint %q is not known here; node.hostname, node.labels.*, node.role and node.platform.* are", key)
	}
	return (have == want) == (op == "=="), nil
}

// architecture returns this machine's, in the spelling that is asked for.
func architecture(want string) string {
	alias := map[string]string{"x86_64": "amd64", "aarch64": "arm64"}
	if alias[want] == runtime.GOARCH {
		return want
	}
	return runtime.GOARCH
}

// oneHost says whether a constraint names one host.
func oneHost(text string) bool {
	return strings.HasPrefix(strings.ReplaceAll(text, " ", ""), "node.hostname==")
}

// expression judges `all`, names, patterns of names, and constraints joined by
// && and ||; && binds tighter.
func (h hostFacts) expression(text string) (bool, error) {
	if !strings.ContainsAny(text, "=&|") {
		return h.named(text), nil
	}
	for either := range strings.SplitSeq(text, "||") {
		all := true
		for term := range strings.SplitSeq(either, "&&") {
			ok, err := h.constraint(strings.TrimSpace(term))
			if err != nil {
				return false, err
			}
			all = all && ok
		}
		if all {
			return true, nil
		}
	}
	return false, nil
}

func (h hostFacts) named(list string) bool {
	for name := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		if ok, err := path.Match(name, h.name); name == "all" || name == h.name || err == nil && ok {
			return true
		}
	}
	return false
}

// singular says whether a placement names exactly one host.
func singular(text string) bool {
	if oneHost(text) {
		return !strings.Contains(text, "||")
	}
	return text != "all" && !strings.ContainsAny(text, "=&|*?[, ")
}

// place decides whether the app runs here; where not, it returns why.
func (a *app) placedHere() *manifests.Diagnostic {
	if a.live() {
		a.single = true
		return nil
	}
	if text, ok := a.env.Apps[a.name]; ok {
		return a.placeBy([]string{text}, a.places["apps."+a.name], "apps."+a.name)
	}
	if v := a.scan.extension(); v != nil {
		return a.placeBy(v.list, v.pos, "x-remora.hosts")
	}
	if done, d := a.placeByConstraints(); done {
		return d
	}
	if a.env.DefaultPlacement == "all" {
		return nil
	}
	return &manifests.Diagnostic{
		Position: manifests.Position{File: a.main}, Reason: status.NotPlaced,
		Message: fmt.Sprintf("%s has no placement; it would run on every host that follows %s", a.name, a.req.Environment),
		Remedy:  "add `x-remora: {hosts: …}`, a placement constraint, `apps:` or `default_placement: all` in environment.yaml",
	}
}

// placeBy judges a list of placements, of which one must hold.
func (a *app) placeBy(list []string, pos manifests.Position, field string) *manifests.Diagnostic {
	here := false
	for _, text := range list {
		ok, err := a.host().expression(text)
		if err != nil {
			a.add(manifests.Diagnostic{Position: pos, Field: field, Value: text, Message: err.Error()})
			return nil
		}
		here = here || ok
	}
	if here {
		a.single = a.single || len(list) == 1 && singular(list[0])
		return nil
	}
	text := strings.Join(list, ", ")
	return &manifests.Diagnostic{
		Position: pos, Reason: status.NotPlaced, Field: field, Value: text,
		Message: fmt.Sprintf("%s is placed on %q, which is not this host", a.name, text),
		Remedy:  fmt.Sprintf("change %s to include %s", field, a.req.Host),
	}
}

// placeByConstraints places an app by the constraints of its services: where
// one of those that have any may run, and those without any go with it.
func (a *app) placeByConstraints() (done bool, _ *manifests.Diagnostic) {
	var first *value
	for _, name := range a.scan.names() {
		list := a.scan.constraints(name)
		if len(list) == 0 {
			continue
		}
		ok := true
		for _, c := range list {
			text := c.text
			if first == nil {
				first = c.value
			}
			here, err := a.host().constraint(text)
			if err != nil {
				return true, nil // reported with its place when the service is converted
			}
			ok = ok && here
		}
		if ok {
			return true, nil
		}
	}
	if first == nil {
		return false, nil
	}
	return true, &manifests.Diagnostic{
		Position: first.pos, Reason: status.NotPlaced, Field: "deploy.placement.constraints",
		Message: fmt.Sprintf("no service of %s may run here by its constraints", a.name),
		Remedy:  "change the constraints, or the labels in the host file",
	}
}

// extension returns the app's x-remora.hosts, interpolated; the last file
// wins.
func (s *scan) extension() *hosts {
	var found *hosts
	for _, file := range s.app.configs {
		for _, doc := range s.docs[file] {
			v := doc.field(extensionKey).field("hosts")
			if v == nil {
				continue
			}
			found = &hosts{pos: v.pos}
			for _, t := range texts(v) {
				found.list = append(found.list, s.text(origin{env: s.app.vars}, t))
			}
		}
	}
	return found
}

type hosts struct {
	pos  manifests.Position
	list []string
}

type constraint struct {
	text  string
	value *value
}

// constraints returns the placement constraints of a service as the files
// write them, those that it extends included.
func (s *scan) constraints(service string) []constraint {
	var out []constraint
	for _, def := range s.written[service] {
		for _, v := range listOf(def.value.field("deploy").field("placement").field("constraints")) {
			out = append(out, constraint{s.text(def.origin, v), v})
		}
	}
	return out
}

// names returns the names of all services, sorted.
func (s *scan) names() []string {
	var names []string
	for name := range s.written {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
