package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/atomicfile"
	"github.com/remorahq/remora/internal/status"
)

const (
	evidenceDir = "evidence"
	// evidenceEach is how many failures are kept of one service.
	evidenceEach = 5
	// longestOutput is how much of a container's output is kept.
	longestOutput = 256 << 10
)

// Keep stores the evidence of a failed container, durably, and drops the
// oldest: the last five of a service are kept, and no more than MaxEvidence
// bytes of all.
func (j *Journal) Keep(ev status.Evidence) error {
	if ev.Time.IsZero() {
		ev.Time = time.Now()
	}
	ev.Time = ev.Time.UTC().Round(0)
	if over := len(ev.Output) - longestOutput; over > 0 {
		ev.Output = ev.Output[over:]
	}
	data, err := json.Marshal(ev)
	if err != nil {
		return fmt.Errorf("encode evidence of %s/%s: %w", ev.App, ev.Service, err)
	}
	j.evidenceMu.Lock()
	defer j.evidenceMu.Unlock()
	dir := filepath.Join(j.dir, evidenceDir, serviceDir(ev.Environment, ev.App, ev.Service))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep evidence of %s/%s: %w", ev.App, ev.Service, err)
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, evidenceName(ev)), data, 0o600); err != nil {
		return fmt.Errorf("keep evidence of %s/%s: %w", ev.App, ev.Service, err)
	}
	return errors.Join(dropOldest(dir), j.boundEvidence())
}

// serviceDir is one folder name for a service, with nothing in it that a path
// could be made of.
func serviceDir(environment, app, service string) string {
	clean := func(s string) string {
		return strings.ReplaceAll(strings.ReplaceAll(url.PathEscape(s), ".", "%2E"), ",", "%2C")
	}
	return clean(environment) + "," + clean(app) + "," + clean(service)
}

// evidenceName sorts by time.
func evidenceName(ev status.Evidence) string {
	id := url.PathEscape(ev.Container)
	if len(id) > 12 {
		id = id[:12]
	}
	return fmt.Sprintf("v1-%020d-%s.json", ev.Time.UnixNano(), id)
}

func dropOldest(dir string) error {
	files, err := evidenceFiles(dir)
	if err != nil {
		return err
	}
	for len(files) > evidenceEach {
		if err := os.Remove(files[0]); err != nil {
			return err
		}
		files = files[1:]
	}
	return nil
}

// evidenceFiles lists the files below dir, oldest first by name.
func evidenceFiles(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "v1-*.json"))
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	return files, err
}

func (j *Journal) boundEvidence() error {
	files, err := evidenceFiles(filepath.Join(j.dir, evidenceDir, "*"))
	if err != nil {
		return err
	}
	sizes := make([]int64, len(files))
	var total int64
	for i, f := range files {
		if info, err := os.Stat(f); err == nil {
			sizes[i] = info.Size()
			total += sizes[i]
		}
	}
	for i := 0; total > j.opt.MaxEvidence && i+1 < len(files); i++ {
		if err := os.Remove(files[i]); err != nil {
			return err
		}
		total -= sizes[i]
	}
	return nil
}

// Failed returns the evidence kept of an app's failed containers, newest
// first. App is "env/app" or "app"; an empty service or release is any, and a
// release is its name or what a person calls it.
func (j *Journal) Failed(app, service, release string) ([]status.Evidence, error) {
	files, err := evidenceFiles(filepath.Join(j.dir, evidenceDir, "*"))
	if err != nil {
		return nil, err
	}
	slices.Reverse(files)
	var found []status.Evidence
	for _, path := range files {
		ev, err := readEvidence(path)
		if err != nil {
			j.log.Warn("evidence passed over", "error", err)
			continue
		}
		if status.MatchApp(app, ev.Environment, ev.App) && (service == "" || service == ev.Service) && ofRelease(ev, release) {
			found = append(found, ev)
		}
	}
	return found, nil
}

func ofRelease(ev status.Evidence, release string) bool {
	return release == "" || release == ev.Tag || (len(release) >= 4 && strings.HasPrefix(ev.Release, release))
}

func readEvidence(path string) (status.Evidence, error) {
	var ev status.Evidence
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ev, nil // dropped meanwhile
	}
	if err != nil {
		return ev, fmt.Errorf("read evidence: %w", err)
	}
	if err := json.Unmarshal(data, &ev); err != nil {
		return status.Evidence{}, fmt.Errorf("read evidence %s: %w", path, err)
	}
	return ev, nil
}
