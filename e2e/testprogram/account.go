package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// account is the program's own record of what it received: one line per
// request, written before the answer, so that a killed program loses none.
//
//	<unix ns> <kind> <id> <version> <instance> <what>
//
// Safe for concurrent use.
type account struct {
	version, instance string

	mu     sync.Mutex
	counts map[string]int // by id
	sinks  []io.WriteCloser
}

func openAccount(s settings) (*account, error) {
	a := &account{version: s.Version, instance: s.Instance, counts: map[string]int{}}
	for where := range strings.SplitSeq(s.Record, ",") {
		if where == "" {
			continue
		}
		sink, err := openSink(where, s)
		if err != nil {
			a.Close()
			return nil, fmt.Errorf("open record %s: %w", where, err)
		}
		a.sinks = append(a.sinks, sink)
	}
	return a, nil
}

func openSink(where string, s settings) (io.WriteCloser, error) {
	kind, rest, _ := strings.Cut(where, ":")
	const appending = os.O_CREATE | os.O_WRONLY | os.O_APPEND
	switch kind {
	case "-":
		return standardOut{}, nil
	case "file":
		return os.OpenFile(rest, appending, 0o666)
	case "dir":
		name := fmt.Sprintf("%s-%s-%d.log", s.Version, s.Instance, time.Now().UnixNano())
		return os.OpenFile(filepath.Join(rest, name), appending, 0o666)
	case "tcp":
		return net.DialTimeout("tcp", rest, 10*time.Second)
	}
	return nil, fmt.Errorf("neither -, file:PATH, dir:PATH nor tcp:HOST:PORT")
}

// standardOut is stdout that Close leaves open.
type standardOut struct{}

func (standardOut) Write(p []byte) (int, error) { return os.Stdout.Write(p) }
func (standardOut) Close() error                { return nil }

// Note enters one line. An account that cannot be kept ends the program: a
// test that counts must not count too little in silence.
func (a *account) Note(kind, id, what string) {
	if id == "" {
		id = "-"
	}
	line := fmt.Sprintf("%d %s %s %s %s %s\n", time.Now().UnixNano(), kind, id, a.version, a.instance, what)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts[id]++
	for _, sink := range a.sinks {
		if _, err := io.WriteString(sink, line); err != nil {
			fmt.Fprintln(os.Stderr, "testprogram: write record:", err)
			os.Exit(70)
		}
	}
}

// Counts is a copy of the number of requests by ID.
func (a *account) Counts() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.counts)
}

// Close closes the sinks; calling it again does nothing.
func (a *account) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, sink := range a.sinks {
		_ = sink.Close()
	}
	a.sinks = nil
}

// appendRow adds one line to a file and syncs it.
func appendRow(path, row string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o666)
	if err != nil {
		return fmt.Errorf("open rows: %w", err)
	}
	defer f.Close() //nolint:errcheck // Sync has said how it went
	if _, err := fmt.Fprintln(f, row); err != nil {
		return fmt.Errorf("append row: %w", err)
	}
	return f.Sync()
}

// readRows are the lines of a file; none when it does not exist.
func readRows(path string) ([]string, error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open rows: %w", err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	var rows []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		rows = append(rows, lines.Text())
	}
	return rows, lines.Err()
}
