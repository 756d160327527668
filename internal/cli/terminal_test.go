package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal: the end that a program has, and what it showed.
func terminal(t *testing.T) (*os.File, func() string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("this machine has no pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return slave, func() string {
		_ = slave.Close()
		var b bytes.Buffer
		_, _ = io.Copy(&b, master) // ends with EIO, as a terminal's does
		return b.String()
	}
}

// TestOutputOnATerminal: a container's output colours a terminal and does
// nothing else to it; a pipe gets it as it is.
func TestOutputOnATerminal(t *testing.T) {
	const said = "\x1b[31mred\x1b[0m\x1b[2J\x1b]52;c;ZXZpbA==\adone\n"
	slave, shown := terminal(t)
	a := &app{out: slave, screen: newScreen(slave, func(string) string { return "" })}
	out, end := a.foreign()
	if _, err := io.WriteString(out, said); err != nil {
		t.Fatal(err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if got, want := shown(), "\x1b[31mred\x1b[0m^[[2J^[]52;c;ZXZpbA==^Gdone\r\n\x1b[0m"; got != want {
		t.Errorf("the terminal got %q, want %q", got, want)
	}
	var pipe strings.Builder
	a = &app{out: &pipe, screen: newScreen(&pipe, func(string) string { return "" })}
	out, end = a.foreign()
	_, _ = io.WriteString(out, said)
	if err := end(); err != nil || pipe.String() != said {
		t.Errorf("the pipe got %q, %v", pipe.String(), err)
	}
}
