package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestEveryCommandIsExplained holds each command to a sentence and examples,
// and each example to flags and arguments that the command takes.
func TestEveryCommandIsExplained(t *testing.T) {
	a := &app{out: &bytes.Buffer{}, err: &bytes.Buffer{}}
	a.screen = newScreen(a.out, os.Getenv)
	commands := 0
	for _, c := range a.root().Commands() {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		commands++
		if c.Short == "" || c.GroupID == "" || !strings.Contains(c.Example, "remora "+c.Name()) {
			t.Errorf("%s: its help has no sentence, no group or no example of itself", c.Name())
		}
		for line := range strings.SplitSeq(c.Example, "\n") {
			tryExample(t, c, line)
		}
	}
	if commands < 25 {
		t.Errorf("%d commands are in the help, want at least 25", commands)
	}
}

// tryExample parses the first command of an example's line.
func tryExample(t *testing.T, c *cobra.Command, line string) {
	t.Helper()
	line, _, _ = strings.Cut(line, " && ")
	line, _, _ = strings.Cut(line, " | ")
	line, _, _ = strings.Cut(strings.TrimSpace(line), "   ") // a remark
	_, after, ok := strings.Cut(line, "remora "+c.Name())
	if !ok || strings.Contains(after, "…") {
		return
	}
	fresh := &app{out: &bytes.Buffer{}, err: &bytes.Buffer{}}
	fresh.screen = newScreen(fresh.out, os.Getenv)
	sub, args, err := fresh.root().Find(append([]string{c.Name()}, words(after)...))
	if err == nil {
		err = sub.ParseFlags(args)
	}
	if err == nil && sub.Args != nil {
		err = sub.Args(sub, sub.Flags().Args())
	}
	if err != nil {
		t.Errorf("%s: the example %q: %v", c.Name(), line, err)
	}
}

// words splits as a shell does, as far as the examples need it.
func words(s string) []string {
	var out []string
	for i, part := range strings.Split(s, `"`) {
		if i%2 == 1 {
			out = append(out, part)
			continue
		}
		out = append(out, strings.Fields(part)...)
	}
	return out
}
