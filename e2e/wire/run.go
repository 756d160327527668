package wire

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/remorahq/remora/e2e/load"
	"github.com/remorahq/remora/e2e/rig"
)

// Incident is one time that something happened: it began at the earliest at
// Begin, and was over at the latest at End.
type Incident struct {
	What       Event
	Begin, End time.Time
	// Instances are those that it struck, by the names that they answer with;
	// empty is all.
	Instances []string `json:",omitempty"`
	// Version gets Share of ten thousand requests from a canary's step on, until
	// the next incident.
	Version string `json:",omitempty"`
	Share   int    `json:",omitempty"`
}

// Run is one event under load.
type Run struct {
	Event     Event
	Records   []load.Record
	Entries   []rig.Entry
	Incidents []Incident
	// Control is the log of clients that ask a program directly: what the
	// machine does to everybody.
	Control []load.Record
}

// Elapsed is how long clients sent.
func (r Run) Elapsed() time.Duration {
	var first, last time.Time
	for _, rec := range r.Records {
		if rec.Outcome != load.Sent {
			continue
		}
		if first.IsZero() || rec.At.Before(first) {
			first = rec.At
		}
		if rec.At.After(last) {
			last = rec.At
		}
	}
	return last.Sub(first)
}

// The files of a run's folder.
const (
	eventFile    = "event"
	ClientsFile  = "clients.log" // as package load writes it
	ControlFile  = "control.log" // the same
	backendsFile = "backends.jsonl"
	incidentFile = "incidents.jsonl"
)

// Save writes what the backends and the driver said beside the logs that the
// clients wrote into the folder.
func Save(dir string, e Event, entries []rig.Entry, incidents []Incident) error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, eventFile), []byte(e), 0o644),
		writeLines(filepath.Join(dir, backendsFile), entries),
		writeLines(filepath.Join(dir, incidentFile), incidents))
}

// Load reads a run's folder.
func Load(dir string) (Run, error) {
	e, err := os.ReadFile(filepath.Join(dir, eventFile))
	if err != nil {
		return Run{}, fmt.Errorf("read run: %w", err)
	}
	r := Run{Event: Event(e)}
	var errs [4]error
	r.Records, errs[0] = load.Read(filepath.Join(dir, ClientsFile))
	r.Control, errs[1] = load.Read(filepath.Join(dir, ControlFile))
	r.Entries, errs[2] = readLines[rig.Entry](filepath.Join(dir, backendsFile))
	r.Incidents, errs[3] = readLines[Incident](filepath.Join(dir, incidentFile))
	return r, errors.Join(errs[:]...)
}

func writeLines[T any](path string, list []T) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	lines := json.NewEncoder(w)
	for i := range list {
		if err := lines.Encode(list[i]); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(w.Flush(), f.Close())
}

func readLines[T any](path string) ([]T, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	var list []T
	lines := json.NewDecoder(bufio.NewReader(f))
	for {
		var v T
		err := lines.Decode(&v)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		list = append(list, v)
	}
}
