package accesslog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// Reading is what [Read] shows and how.
type Reading struct {
	// Dir is the folder of the file.
	Dir string
	// Last is how many of the last lines are shown; negative is all of the file.
	Last int
	// Follow goes on with new lines, over renames, until the context ends.
	Follow bool
	// Format is how lines are shown; [Off] leaves them as they are.
	Format Format
}

// ErrNotJSON says that lines were not written as JSON, from which alone
// another format can be made.
var ErrNotJSON = errors.New("the line is not JSON: the log is written in another format, which cannot be converted")

// followEvery is how often a followed file is looked at.
const followEvery = 200 * time.Millisecond

// Read shows the access log's lines. It reads only.
func Read(ctx context.Context, r Reading, w io.Writer) error {
	f, err := os.Open(filepath.Join(r.Dir, FileName))
	if err != nil {
		return fmt.Errorf("open the access log: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := seekLast(f, r.Last); err != nil {
		return fmt.Errorf("read the access log: %w", err)
	}
	lines := bufio.NewReader(f)
	var part []byte
	for {
		part, err = r.copyLines(lines, part, w)
		if err != nil || !r.Follow {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followEvery):
		}
		if next := r.renamed(f); next != nil {
			// What was written to the old one before its rename comes first.
			_, err := r.copyLines(lines, part, w)
			_ = f.Close()
			if f, part = next, nil; err != nil {
				return err
			}
			lines.Reset(f)
		}
	}
}

// renamed opens the present file when f is another one.
func (r Reading) renamed(f *os.File) *os.File {
	next, err := os.Open(filepath.Join(r.Dir, FileName))
	if err != nil {
		return nil
	}
	a, err := f.Stat()
	b, berr := next.Stat()
	if err != nil || berr != nil || os.SameFile(a, b) {
		_ = next.Close()
		return nil
	}
	return next
}

// copyLines shows whole lines up to the end and returns the beginning of one
// that is not whole yet.
func (r Reading) copyLines(lines *bufio.Reader, part []byte, w io.Writer) ([]byte, error) {
	for {
		line, err := lines.ReadBytes('\n')
		part = append(part, line...)
		switch {
		case errors.Is(err, io.EOF):
			return part, nil
		case err != nil:
			return part, fmt.Errorf("read the access log: %w", err)
		}
		if err := r.show(part, w); err != nil {
			return part, err
		}
		part = part[:0]
	}
}

// show writes one line in the format that is asked for. A torn line, of a disk
// that was full, is left out.
func (r Reading) show(line []byte, w io.Writer) error {
	isJSON := line[0] == '{'
	switch {
	case len(bytes.TrimSpace(line)) == 0:
		return nil
	case r.Format == JSON && !isJSON:
		return ErrNotJSON
	case r.Format == Combined && isJSON:
		e, err := parse(line)
		if err != nil {
			return nil // torn
		}
		line = appendCombined(nil, new(stamp), &e)
	}
	if _, err := w.Write(line); err != nil {
		return fmt.Errorf("show the access log: %w", err)
	}
	return nil
}

// parse reads a line of JSON as far as the combined format needs it.
func parse(line []byte) (Entry, error) {
	var l struct {
		Time      time.Time  `json:"time"`
		Client    netip.Addr `json:"client"`
		Port      uint16     `json:"port"`
		Protocol  string     `json:"protocol"`
		Method    string     `json:"method"`
		Path      string     `json:"path"`
		Status    int        `json:"status"`
		Out       uint64     `json:"out"`
		Referer   string     `json:"referer"`
		UserAgent string     `json:"user_agent"`
	}
	if err := json.Unmarshal(line, &l); err != nil {
		return Entry{}, err
	}
	return Entry{
		Time: l.Time, Client: l.Client, Port: l.Port, Protocol: l.Protocol, Method: l.Method, Path: []byte(l.Path),
		Status: l.Status, Out: l.Out, Referer: []byte(l.Referer), UserAgent: []byte(l.UserAgent),
	}, nil
}

// seekLast goes to where the last n lines begin.
func seekLast(f *os.File, n int) error {
	if n < 0 {
		return nil
	}
	pos, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for found := 0; pos > 0; {
		size := min(int64(len(buf)), pos)
		if _, err := f.ReadAt(buf[:size], pos-size); err != nil {
			return err
		}
		for i := size - 1; i >= 0; i-- {
			if buf[i] != '\n' {
				continue
			}
			if found++; found > n {
				_, err := f.Seek(pos-size+i+1, io.SeekStart)
				return err
			}
		}
		pos -= size
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}
