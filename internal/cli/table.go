package cli

import "strings"

// column is one column of a table.
type column struct {
	name  string
	right bool
	// gap is the space after it; 0 is two.
	gap int
}

// cell is a text and how it is coloured; paint may be nil.
type cell struct {
	text  string
	paint func(string) string
}

func text(s string) cell { return cell{text: s} }

// table lays rows out under their columns. A row may have fewer cells than
// there are columns. The last column is as wide as it needs; where it does not
// fit the width, or has several lines, it moves below, indented.
type table struct {
	columns []column
	rows    [][]cell
	header  func(string) string
	// noHeader leaves the names of the columns out.
	noHeader bool
}

const (
	indentLast = "  ↳ "
	leastLast  = 24
)

func (t *table) lines(width int) []string {
	widths := t.widths()
	var out []string
	if !t.noHeader {
		names := make([]cell, len(t.columns))
		for i, c := range t.columns {
			names[i] = cell{c.name, t.header}
		}
		out = append(out, t.line(names, widths))
	}
	last := len(t.columns) - 1
	before := 0
	for i := range last {
		before += widths[i] + t.gap(i)
	}
	for _, row := range t.rows {
		if len(row) <= last || row[last].text == "" || (before+visible(row[last].text) <= width && !strings.Contains(row[last].text, "\n")) {
			out = append(out, t.line(row, widths))
			continue
		}
		out = append(out, t.line(row[:last], widths))
		mark := indentLast
		for text := range strings.SplitSeq(row[last].text, "\n") {
			for _, part := range wrap(text, max(width-visible(mark), leastLast)) {
				out = append(out, mark+painted(cell{part, row[last].paint}))
				mark = strings.Repeat(" ", visible(indentLast))
			}
		}
	}
	return out
}

func (t *table) gap(i int) int {
	if g := t.columns[i].gap; g > 0 {
		return g
	}
	return 2
}

func (t *table) widths() []int {
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		if !t.noHeader {
			widths[i] = visible(c.name)
		}
	}
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], visible(c.text))
		}
	}
	return widths
}

func (t *table) line(row []cell, widths []int) string {
	var b strings.Builder
	for i, c := range row {
		pad := strings.Repeat(" ", widths[i]-visible(c.text))
		if t.columns[i].right {
			b.WriteString(pad + painted(c))
		} else {
			b.WriteString(painted(c))
			if i < len(row)-1 {
				b.WriteString(pad)
			}
		}
		if i < len(row)-1 {
			b.WriteString(strings.Repeat(" ", t.gap(i)))
		}
	}
	return strings.TrimRight(b.String(), " ")
}

func painted(c cell) string {
	if c.paint == nil {
		return c.text
	}
	return c.paint(c.text)
}

// wrap breaks a text at spaces into lines of at most width characters; a word
// that is longer stays whole.
func wrap(s string, width int) []string {
	var out []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		switch {
		case line == "":
			line = word
		case visible(line)+1+visible(word) <= width:
			line += " " + word
		default:
			out = append(out, line)
			line = word
		}
	}
	return append(out, line)
}

// oneLine makes a text of several lines fit a table.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
