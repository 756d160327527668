package manifests

import (
	"fmt"
	"strings"

	"github.com/remorahq/remora/internal/status"
)

// Diagnostic is an error or a warning about a place in a file: what is wrong,
// the value, and what to do.
type Diagnostic struct {
	Position
	// Reason is LoadFailed, PolicyDenied, NotInThisVersion, ….
	Reason status.Reason `json:"reason"`
	// Warning says that it does not stop the app.
	Warning bool `json:"warning,omitempty"`
	// Field is the path of the key, such as services.web.ports[0].
	Field   string `json:"field,omitempty"`
	Value   string `json:"value,omitempty"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}

// String returns file:line:column: field: message (remedy).
func (d Diagnostic) String() string {
	var b strings.Builder
	if d.File != "" {
		b.WriteString(d.Position.String() + ": ")
	}
	if d.Field != "" {
		b.WriteString(d.Field + ": ")
	}
	b.WriteString(d.Message)
	if d.Remedy != "" {
		b.WriteString("; " + d.Remedy)
	}
	return b.String()
}

// String returns file:line:column, leaving out what is not known.
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Diagnostics is an error that holds all that is wrong at once.
type Diagnostics []Diagnostic

// Error returns one line per diagnostic.
func (ds Diagnostics) Error() string {
	lines := make([]string, len(ds))
	for i, d := range ds {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

// Errors returns those that are not warnings.
func (ds Diagnostics) Errors() Diagnostics {
	var out Diagnostics
	for _, d := range ds {
		if !d.Warning {
			out = append(out, d)
		}
	}
	return out
}
