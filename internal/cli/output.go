package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"go.yaml.in/yaml/v4"

	"github.com/remorahq/remora/internal/printable"
)

// structured prints v as JSON or YAML where the user asked for it, and says
// whether it did.
func (a *app) structured(v any) (bool, error) {
	switch a.output {
	case "json":
		return true, writeJSON(a.out, v)
	case "yaml":
		return true, writeYAML(a.out, v)
	}
	return false, nil
}

// foreign is where a container's own output goes, and what ends it. On a
// terminal nothing but its colours has an effect; a pipe gets it as it is.
func (a *app) foreign() (out io.Writer, end func() error) {
	if a.screen.fd < 0 {
		return a.out, func() error { return nil }
	}
	w := printable.NewWriter(a.out)
	return w, w.Close
}

// wide says whether more columns are wanted.
func (a *app) wide() bool { return a.output == "wide" }

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// writeYAML writes what writeJSON does, with the same keys in the same order.
func writeYAML(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("write yaml: %w", err)
	}
	plain(&doc)
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(&doc); err != nil {
		return fmt.Errorf("write yaml: %w", err)
	}
	return e.Close()
}

// plain takes the look of JSON off.
func plain(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!str" {
		n.Style = 0
	}
	for _, child := range n.Content {
		plain(child)
	}
}

// jsonLine prints v as one line, for what goes on.
func (a *app) jsonLine(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
