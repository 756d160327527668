// Package policy judges what a host lets a source do: on an app as it was
// loaded, and again on the final create payload just before the engine is
// called. It is default-deny, field by field: a field without a rule is
// denied, so that a new one cannot slip through.
//
// It has no clock and no state, and is pure but for one look: [Judge] follows
// the links in the sources of binds. All functions may be called from any
// goroutine.
package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/remorahq/remora/manifests"
)

// Violation is something that the host's policy forbids.
type Violation struct {
	// Field is the path of the key in the manifest, such as
	// services.web.privileged.
	Field string
	Value string
	// Message says what is forbidden; Setting is the line of the host file
	// that would allow it, empty where nothing would.
	Message string
	Setting string
}

// Remedy says what would allow it.
func (v Violation) Remedy() string {
	if v.Setting == "" {
		return "no setting allows it"
	}
	return "the host allows it with policy." + v.Setting
}

// String returns one line: field, message and remedy.
func (v Violation) String() string {
	return fmt.Sprintf("%s: %s; %s", v.Field, v.Message, v.Remedy())
}

// rules is a policy with its preset applied: in preset strict an empty list
// allows nothing, in preset compose everything; a list that names something
// allows just that in both.
type rules struct {
	manifests.Policy
	open bool
}

func effective(p manifests.Policy) rules {
	return rules{Policy: p, open: p.Preset == manifests.PresetCompose}
}

func (r rules) flag(f *bool) bool {
	if f == nil {
		return r.open
	}
	return *f
}

func (r rules) list(allowed []string, value string, match func(pattern, value string) bool) bool {
	if len(allowed) == 0 {
		return r.open
	}
	return slices.ContainsFunc(allowed, func(p string) bool { return p == "*" || match(p, value) })
}

func equal(pattern, value string) bool { return strings.EqualFold(pattern, value) }

func glob(pattern, value string) bool {
	ok, err := path.Match(pattern, value)
	return err == nil && ok
}

// below says whether value is the folder, file or pattern, or lies in it.
func below(pattern, value string) bool {
	pattern = path.Clean(pattern)
	return pattern == "/" || glob(pattern, value) || strings.HasPrefix(value, pattern+"/")
}

// EnvFile says whether the policy lets a service read an env file of the host.
func EnvFile(p manifests.Policy, file string) bool {
	r := effective(p)
	return r.list(r.EnvFiles, path.Clean(file), below)
}

// Merge returns base with the settings that over gives in place of its own, as
// a source's policy stands over the host's.
func Merge(base manifests.Policy, over *manifests.Policy) manifests.Policy {
	if over == nil {
		return base
	}
	out := base
	mergeStruct(&out, over)
	return out
}

// judge collects violations of one container.
type judge struct {
	rules
	prefix string
	found  []Violation
}

func (j *judge) deny(field, value, setting, format string, args ...any) {
	at := field
	if j.prefix != "" {
		at = j.prefix + "." + field
	}
	j.found = append(j.found, Violation{Field: at, Value: value, Setting: setting, Message: fmt.Sprintf(format, args...)})
}
