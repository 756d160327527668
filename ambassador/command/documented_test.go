package command

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"
)

// TestDocumented: the help and README.md have every flag, with its default.
func TestDocumented(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var o options
	flags(&o).VisitAll(func(f *flag.Flag) {
		if f.Name == "holder-uid" {
			return // the holder's own word to its worker
		}
		name := "--" + f.Name
		if len(f.Name) == 1 {
			name = "-" + f.Name
		}
		if !strings.Contains(help, "\n  "+name+" ") {
			t.Errorf("the help does not have %s", name)
		}
		_, row, ok := strings.Cut(string(readme), "\n| `"+name+"` |")
		row, _, _ = strings.Cut(row, "\n")
		_, def, _ := strings.Cut(row, "|")
		if !ok || !strings.Contains(def, shownDefault(f.DefValue)) {
			t.Errorf("README.md has no row of %s with the default %s", name, f.DefValue)
		}
	})
}

// shownDefault is a default as the table writes it.
func shownDefault(text string) string {
	if text == "false" {
		return "off"
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 && strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(strings.TrimSuffix(text, "0s"), "0m")
	}
	return "`" + text + "`"
}
