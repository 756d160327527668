package cli

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// This file edits a .env file in place: only the bytes of one value change;
// comments, order, quotes and line ends stay. The form is Compose's: lines
// NAME=value or NAME: value, `export` before it, # comments, and values in
// single or double quotes, which may go over several lines.

// variableName is what a variable may be called.
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// assignment is where a variable's value stands in a file.
type assignment struct {
	name       string
	start, end int // of the value, quotes included
	quote      byte
	// broken says that the value begins with a quote that never ends.
	broken bool
}

// assignments finds every assignment, in order.
func assignments(data []byte) []assignment {
	var out []assignment
	for i := 0; i < len(data); {
		a, next := scanLine(data, i)
		if a.name != "" {
			out = append(out, a)
		}
		i = next
	}
	return out
}

// scanLine reads one line, or more where a quoted value goes on, from i. It
// returns an assignment without a name for a line that has none.
func scanLine(data []byte, i int) (a assignment, next int) {
	i = skipBlank(data, i)
	if rest := data[i:]; bytes.HasPrefix(rest, []byte("export ")) || bytes.HasPrefix(rest, []byte("export\t")) {
		i = skipBlank(data, i+len("export"))
	}
	start := i
	for i < len(data) && isNameByte(data[i]) {
		i++
	}
	name := string(data[start:i])
	i = skipBlank(data, i)
	if name == "" || i >= len(data) || (data[i] != '=' && data[i] != ':') {
		return a, lineEnd(data, i)
	}
	i = skipBlank(data, i+1)
	a = assignment{name: name, start: i}
	if i < len(data) && (data[i] == '"' || data[i] == '\'') {
		if end := closing(data, i); end > 0 {
			a.quote, a.end = data[i], end
			return a, lineEnd(data, end)
		}
		a.broken = true
	}
	a.end = plainEnd(data, i)
	return a, lineEnd(data, a.end)
}

func skipBlank(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t') {
		i++
	}
	return i
}

func isNameByte(c byte) bool {
	return c == '_' || c == '.' || c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// lineEnd is where the next line begins.
func lineEnd(data []byte, i int) int {
	if n := bytes.IndexByte(data[i:], '\n'); n >= 0 {
		return i + n + 1
	}
	return len(data)
}

// closing is the end of the quoted value that begins at i, 0 where it never
// ends.
func closing(data []byte, i int) int {
	quote := data[i]
	for j := i + 1; j < len(data); j++ {
		switch {
		case data[j] == '\\' && quote == '"':
			j++
		case data[j] == quote:
			return j + 1
		}
	}
	return 0
}

// plainEnd is the end of an unquoted value: before a comment and the blanks in
// front of it.
func plainEnd(data []byte, i int) int {
	line := data[i:lineEnd(data, i)]
	if len(line) > 0 && line[0] == '#' {
		return i
	}
	for _, mark := range []string{" #", "\t#"} {
		if n := bytes.Index(line, []byte(mark)); n >= 0 {
			line = line[:n]
		}
	}
	return i + len(bytes.TrimRight(line, " \t\r\n"))
}

// variable returns the value of a variable in a .env file; of several
// assignments the last counts.
func variable(data []byte, name string) (value string, ok bool) {
	for _, a := range assignments(data) {
		if a.name == name {
			value, ok = unquote(string(data[a.start:a.end]), a.quote), true
		}
	}
	return value, ok
}

func unquote(s string, quote byte) string {
	switch quote {
	case '\'':
		return s[1 : len(s)-1]
	case '"':
		return strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\$`, `$`).Replace(s[1 : len(s)-1])
	}
	return s
}

// setVariable returns data with a variable's last assignment changed, or with
// a new one at the end.
func setVariable(data []byte, name, value string) ([]byte, error) {
	if strings.ContainsAny(value, "\r\n\x00") {
		return nil, fmt.Errorf("the value of %s has a line break", name)
	}
	var last *assignment
	for _, a := range assignments(data) {
		if a.broken {
			line := 1 + bytes.Count(data[:a.start], []byte{'\n'})
			return nil, fmt.Errorf("line %d: the value of %s begins with a quote that never ends", line, a.name)
		}
		if a.name == name {
			last = &a
		}
	}
	if last == nil {
		return appendVariable(data, name, value), nil
	}
	var out []byte
	out = append(out, data[:last.start]...)
	out = append(out, quoted(value, last.quote)...)
	if last.start == last.end && last.end < len(data) && data[last.end] == '#' {
		out = append(out, ' ') // an empty value before a comment
	}
	return append(out, data[last.end:]...), nil
}

func appendVariable(data []byte, name, value string) []byte {
	end := "\n"
	if bytes.Contains(data, []byte("\r\n")) {
		end = "\r\n"
	}
	out := bytes.Clone(data)
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, end...)
	}
	return append(out, name+"="+quoted(value, 0)+end...)
}

// quoted writes a value in the quotes that it had, or in those that it needs.
func quoted(value string, quote byte) string {
	switch {
	case quote == 0 && isPlain(value):
		return value
	case quote != '"' && !strings.Contains(value, "'"):
		return "'" + value + "'"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`).Replace(value) + `"`
}

// isPlain says that a value reads the same without quotes.
func isPlain(value string) bool {
	for i := range len(value) {
		if c := value[i]; !isNameByte(c) && !strings.ContainsRune("/:@+,%=", rune(c)) {
			return false
		}
	}
	return true
}
