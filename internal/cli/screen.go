package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// style colours text for one writer; off, it leaves it as it is.
type style struct{ on bool }

// newStyle colours for terminals, and not where NO_COLOR is set (no-color.org)
// or the terminal is dumb.
func newStyle(w io.Writer, getenv func(string) string) style {
	return style{on: isTerminal(w) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (s style) code(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) bold(text string) string  { return s.code("1", text) }
func (s style) faint(text string) string { return s.code("2", text) }
func (s style) bad(text string) string   { return s.code("1;31", text) }
func (s style) good(text string) string  { return s.code("32", text) }
func (s style) busy(text string) string  { return s.code("33", text) }

// screen is where tables go. On a terminal it can draw over what it drew.
type screen struct {
	style
	w io.Writer
	// live says that drawing over is possible.
	live  bool
	fd    int
	drawn int
}

func newScreen(w io.Writer, getenv func(string) string) *screen {
	s := &screen{w: w, style: newStyle(w, getenv), fd: -1}
	if f, ok := w.(*os.File); ok && isTerminal(w) {
		s.fd, s.live = int(f.Fd()), getenv("TERM") != "dumb"
	}
	return s
}

// unbounded is the width and height of what is no terminal.
const unbounded = 1 << 20

// size returns columns and lines; what is no terminal has no bounds.
func (s *screen) size() (columns, lines int) {
	if s.fd < 0 {
		return unbounded, unbounded
	}
	columns, lines, err := term.GetSize(s.fd)
	if err != nil || columns < 20 || lines < 4 {
		return 80, 24
	}
	return columns, lines
}

// print writes lines below each other.
func (s *screen) print(lines []string) {
	for _, line := range lines {
		fmt.Fprintln(s.w, line)
	}
}

// draw replaces what it drew last, in one write, so that nothing flickers.
// What does not fit is counted in the last line.
func (s *screen) draw(lines []string) {
	columns, rows := s.size()
	if over := len(lines) - (rows - 1); over > 0 {
		lines = append(lines[:rows-2:rows-2], s.faint(fmt.Sprintf("… %d more lines", over+1)))
	}
	var b bytes.Buffer
	b.WriteString("\x1b[?25l\r")
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	for _, line := range lines {
		b.WriteString(clip(line, columns-1) + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	s.drawn = len(lines)
	_, _ = s.w.Write(b.Bytes())
}

// above prints lines for good, above what is drawn.
func (s *screen) above(lines []string) {
	if s.drawn > 0 {
		fmt.Fprintf(s.w, "\r\x1b[%dA\x1b[J", s.drawn)
		s.drawn = 0
	}
	s.print(lines)
}

// end leaves what is drawn and shows the cursor again.
func (s *screen) end() {
	if s.drawn > 0 {
		fmt.Fprint(s.w, "\x1b[?25h")
		s.drawn = 0
	}
}

// clip cuts a line at a width, counting characters and not what colours them.
func clip(line string, width int) string {
	if visible(line) <= width {
		return line
	}
	var b strings.Builder
	n := 0
	for i := 0; i < len(line); {
		if end := escape(line[i:]); end > 0 {
			b.WriteString(line[i : i+end])
			i += end
			continue
		}
		_, size := utf8.DecodeRuneInString(line[i:])
		if n++; n < width {
			b.WriteString(line[i : i+size])
		} else if n == width {
			b.WriteString("…")
		}
		i += size
	}
	return b.String()
}

// escape is the length of the colour sequence that s begins with.
func escape(s string) int {
	if !strings.HasPrefix(s, "\x1b[") {
		return 0
	}
	return strings.IndexByte(s, 'm') + 1
}

// visible is the number of characters that a line shows.
func visible(line string) int {
	n := utf8.RuneCountInString(line)
	for i := strings.Index(line, "\x1b["); i >= 0; {
		end := escape(line[i:])
		n -= end
		next := strings.Index(line[i+end:], "\x1b[")
		if next < 0 {
			break
		}
		i += end + next
	}
	return n
}
