package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// screen is where the story is told: plain text, and on a terminal with
// emphasis and a status that lives.
type screen struct {
	w        io.Writer
	terminal bool
	steps    int
	shown    int // lines of the live status on the screen
}

func newScreen(f *os.File) *screen {
	return &screen{w: f, terminal: term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (s *screen) style(code, text string) string {
	if !s.terminal {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) bold(text string) string  { return s.style("1", text) }
func (s *screen) faint(text string) string { return s.style("2", text) }
func (s *screen) green(text string) string { return s.style("32", text) }

// say prints a line.
func (s *screen) say(text string) {
	s.live(nil)
	fmt.Fprintln(s.w, text)
}

// step begins a scene.
func (s *screen) step(title string, more ...string) {
	s.steps++
	s.say("")
	s.say(s.bold(fmt.Sprintf("%d  %s", s.steps, title)))
	for _, line := range more {
		s.say("   " + line)
	}
}

// done says how a scene ended.
func (s *screen) done(format string, args ...any) {
	s.say("   " + s.green("✔ ") + s.bold(fmt.Sprintf(format, args...)))
}

// print prints a page that stays.
func (s *screen) print(lines []string) {
	s.live(nil)
	for _, line := range lines {
		fmt.Fprintln(s.w, "   "+s.faint("│ ")+cut(line, s.width()-6))
	}
}

// paper is the width of what is no terminal.
const paper = 160

func (s *screen) width() int {
	if !s.terminal {
		return paper
	}
	if w, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil && w > 20 {
		return w
	}
	return paper
}

// live replaces the page at the bottom of a terminal; nil takes it away.
func (s *screen) live(lines []string) {
	if !s.terminal {
		return
	}
	var b strings.Builder
	if s.shown > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", s.shown)
	}
	for _, line := range lines {
		fmt.Fprintf(&b, "   %s%s\n", s.faint("│ "), cut(line, s.width()-6))
	}
	s.shown = len(lines)
	_, _ = io.WriteString(s.w, b.String()) // a terminal that is gone needs no picture
}

// cut keeps a line on one row of the terminal.
func cut(line string, width int) string {
	if r := []rune(line); len(r) > width {
		return string(r[:max(0, width-1)]) + "…"
	}
	return line
}
