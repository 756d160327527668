package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/status"
)

// A segment's name holds the version of its form and the ID of its first
// event, so that names sort as events do.
const (
	partPrefix = "events-v1-"
	partSuffix = ".jsonl"
	// longestLine bounds one line; a longer one is not ours.
	longestLine = 1 << 20
)

// part is one segment on disk.
type part struct {
	path   string
	first  uint64
	bytes  int64
	events int
}

func partPath(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s%020d%s", partPrefix, first, partSuffix))
}

// findParts lists the segments of dir, oldest first, with their sizes.
func findParts(dir string) ([]part, error) {
	paths, err := filepath.Glob(filepath.Join(dir, partPrefix+"*"+partSuffix))
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	var parts []part
	for _, path := range paths {
		p := part{path: path}
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), partPrefix), partSuffix)
		if _, err := fmt.Sscanf(name, "%020d", &p.first); err != nil {
			continue
		}
		if p.bytes, p.events, err = measure(path); err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// measure returns a segment's size up to its last whole line, and its lines.
func measure(path string) (size int64, lines int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	buf := make([]byte, 64<<10)
	var offset int64
	for {
		n, err := f.Read(buf)
		lines += bytes.Count(buf[:n], []byte{'\n'})
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			size = offset + int64(i) + 1
		}
		offset += int64(n)
		if errors.Is(err, io.EOF) {
			return size, lines, nil
		}
		if err != nil {
			return 0, 0, err
		}
	}
}

// repair cuts torn last lines off and returns the highest ID found.
func repair(parts []part, log *slog.Logger) (last uint64, err error) {
	for _, p := range parts {
		info, err := os.Stat(p.path)
		if err != nil {
			return 0, err
		}
		if torn := info.Size() - p.bytes; torn > 0 {
			log.Warn("cut a torn line off the journal", "file", p.path, "bytes", torn)
			if err := os.Truncate(p.path, p.bytes); err != nil {
				return 0, err
			}
		}
	}
	for i := len(parts) - 1; i >= 0 && last == 0; i-- {
		if err := readPart(parts[i].path, func(e status.Event) bool {
			last = max(last, e.ID)
			return true
		}); err != nil {
			return 0, err
		}
	}
	return last, nil
}

// readPart calls yield for each event of a segment until it returns false.
// Lines that are no event, as a power cut may leave, are passed over; a segment
// that was dropped meanwhile has no events.
func readPart(path string, yield func(status.Event) bool) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 0, 64<<10), longestLine)
	for lines.Scan() {
		var e status.Event
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.ID == 0 {
			continue
		}
		if !yield(e) {
			return nil
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("read journal %s: %w", path, err)
	}
	return nil
}
