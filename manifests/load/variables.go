package load

import (
	"strings"

	"github.com/compose-spec/compose-go/v2/template"
)

// unsetRef is a variable that a text needs and that is not set.
type unsetRef struct {
	name string
	// message is what `${NAME:?message}` says.
	message string
	// required marks the `?` forms, for which no default helps.
	required bool
}

// unset returns the variables in text that have neither a value nor a default,
// in order. The forms are those of the Compose specification.
func unset(text string, env map[string]string) []unsetRef {
	var refs []unsetRef
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			continue
		}
		switch next := text[i+1]; {
		case next == '$':
			i++
		case next == '{':
			end := closing(text, i+1)
			if end < 0 {
				return refs
			}
			refs = append(refs, unsetBraced(text[i+2:end], env)...)
			i = end
		case isNameStart(next):
			n := nameLength(text[i+1:])
			if name := text[i+1 : i+1+n]; !has(env, name) {
				refs = append(refs, unsetRef{name: name})
			}
			i += n
		}
	}
	return refs
}

// unsetBraced judges the inside of ${…}.
func unsetBraced(inside string, env map[string]string) []unsetRef {
	n := nameLength(inside)
	if n == 0 {
		return nil
	}
	name, rest := inside[:n], inside[n:]
	val, ok := env[name]
	colon := strings.HasPrefix(rest, ":")
	rest = strings.TrimPrefix(rest, ":")
	missing := !ok || colon && val == ""
	switch {
	case rest == "":
		if !ok {
			return []unsetRef{{name: name}}
		}
	case rest[0] == '-' && missing, rest[0] == '+' && !missing:
		return unset(rest[1:], env)
	case rest[0] == '?' && missing:
		return []unsetRef{{name: name, message: rest[1:], required: true}}
	}
	return nil
}

// closing returns the index of the brace that closes the one at open, or -1.
func closing(s string, open int) int {
	depth := 0
	for i := open; i < len(s); i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func isNameStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func nameLength(s string) int {
	if s == "" || !isNameStart(s[0]) {
		return 0
	}
	n := 1
	for n < len(s) && (isNameStart(s[n]) || s[n] >= '0' && s[n] <= '9') {
		n++
	}
	return n
}

func has(env map[string]string, name string) bool {
	_, ok := env[name]
	return ok
}

// substitute interpolates text with env and with nothing else. It does not
// log; unset variables were reported before.
func substitute(text string, env map[string]string) (string, error) {
	return substituteFrom(text, func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	})
}

func substituteFrom(text string, lookup template.Mapping) (string, error) {
	return template.SubstituteWithOptions(text, lookup, template.WithoutLogging)
}
