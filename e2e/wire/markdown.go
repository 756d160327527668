package wire

import (
	"fmt"
	"strings"
)

// Words is the legend as a table.
func Words() string {
	b := strings.Builder{}
	b.WriteString("| word | promises |\n|---|---|\n")
	for _, l := range Legend() {
		fmt.Fprintf(&b, "| *%s* | %s |\n", l[0], l[1])
	}
	return b.String()
}

// Matrix is the cells as a table: what was promised and what was counted.
func Matrix(cells []*Cell) string {
	var b strings.Builder
	at := map[Event]map[Kind]*Cell{}
	for _, c := range cells {
		if at[c.Event] == nil {
			at[c.Event] = map[Kind]*Cell{}
		}
		at[c.Event][c.Kind] = c
	}
	b.WriteString("|")
	for _, k := range Kinds() {
		fmt.Fprintf(&b, " | %s", k)
	}
	b.WriteString(" |\n|---|" + strings.Repeat("---|", len(Kinds())) + "\n")
	for _, e := range Events() {
		if at[e] == nil {
			continue
		}
		fmt.Fprintf(&b, "| **%s**", e)
		for _, k := range Kinds() {
			fmt.Fprintf(&b, " | %s", markdownCell(at[e][k]))
		}
		b.WriteString(" |\n")
	}
	return b.String()
}

func markdownCell(c *Cell) string {
	if c == nil {
		return "–"
	}
	s := fmt.Sprintf("*%s* %d", c.Promise.Word, c.Answered)
	if other := c.otherwise(); other != "" {
		s += ", " + other
	}
	if n := c.Broken() - c.Slow; n > 0 {
		s += fmt.Sprintf(", **broken %d**", n)
	}
	if c.Slow > 0 {
		s += fmt.Sprintf(", slow %d", c.Slow)
	}
	return s
}
