// Package journal keeps what happened on this host: events as lines of JSON in
// segments, and the evidence of failed containers, both bounded on disk.
//
// It must never hold the reconciler up. [Journal.Record] assigns an ID, hands
// the event to subscribers and returns; one goroutine writes. While the disk
// refuses, events stay in memory, bounded too, and are written when there is
// room again. A subscriber reads at its own pace, from memory while it is
// close to the end and from disk when it is behind, and so slows nobody.
//
// All methods may be called from any goroutine. Close returns after the
// journal's goroutines have exited.
package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/remorahq/remora/internal/atomicfile"
	"github.com/remorahq/remora/internal/status"
)

// Limits of what is kept in memory and of one event.
const (
	memoryTail   = 256    // events kept in memory once they are on disk
	memoryMost   = 8192   // events kept in memory while the disk refuses
	uncleanSkip  = 10_000 // IDs left out after a crash, so that none repeats
	longestText  = 8 << 10
	syncInterval = time.Second
	retryPause   = 5 * time.Second
)

// Options are the settings of a journal.
type Options struct {
	// Host is written into events that name none.
	Host string
	// MaxBytes bounds the events on disk; default 64 MiB. MaxEvents bounds
	// their number; default 100,000. The oldest segment goes first.
	MaxBytes  int64
	MaxEvents int
	// MaxEvidence bounds the evidence on disk in bytes; default 64 MiB.
	MaxEvidence int64
	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

// Journal is an open journal. Make one with [Open].
type Journal struct {
	dir string
	opt Options
	log *slog.Logger

	mu   sync.Mutex
	next uint64
	// recent holds the events after base, in order; those up to written are on
	// disk as well.
	recent  []status.Event
	base    uint64
	written uint64
	dropped int
	changed chan struct{} // closed and replaced at every event
	trouble string
	closed  bool
	parts   []part // the segments on disk, oldest first

	evidenceMu sync.Mutex

	wake chan struct{}
	stop chan struct{}
	done sync.WaitGroup
}

// Open opens the journal in dir, which it makes where it is missing, and
// repairs what a crash left. Only one journal may be open in a folder.
func Open(dir string, opt Options) (*Journal, error) {
	if opt.MaxBytes <= 0 {
		opt.MaxBytes = 64 << 20
	}
	if opt.MaxEvents <= 0 {
		opt.MaxEvents = 100_000
	}
	if opt.MaxEvidence <= 0 {
		opt.MaxEvidence = 64 << 20
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	j := &Journal{
		dir: dir, opt: opt, log: opt.Logger,
		changed: make(chan struct{}), wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	if err := os.MkdirAll(filepath.Join(dir, evidenceDir), 0o700); err != nil {
		return nil, fmt.Errorf("make journal folder: %w", err)
	}
	if err := j.recover(); err != nil {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	w := &writer{journal: j}
	j.done.Go(w.run)
	return j, nil
}

// recover finds the segments, cuts a torn last line off and decides the next
// ID.
func (j *Journal) recover() error {
	if err := atomicfile.Clean(j.dir); err != nil {
		return err
	}
	parts, err := findParts(j.dir)
	if err != nil {
		return err
	}
	last, err := repair(parts, j.log)
	if err != nil {
		return err
	}
	j.parts, j.base, j.written = parts, last, last
	j.next = last + 1
	if !takeCleanMark(j.dir, &j.next) && last > 0 {
		j.next += uncleanSkip
	}
	return nil
}

func cleanMark(dir string) string { return filepath.Join(dir, "clean-v1") }

// takeCleanMark reads and removes the mark that Close left. Without one, events
// may have been published whose lines never reached the disk.
func takeCleanMark(dir string, next *uint64) bool {
	data, err := os.ReadFile(cleanMark(dir))
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	if err != nil || n < *next {
		n = *next
	}
	if os.Remove(cleanMark(dir)) != nil || atomicfile.SyncDir(dir) != nil {
		return false
	}
	*next = n
	return true
}

// Record gives e its ID, and its time and host where it has none, publishes it
// and has it written. It returns the event as recorded and never waits for the
// disk or a subscriber. On a closed journal the event is only returned.
func (j *Journal) Record(e status.Event) status.Event {
	e = j.complete(e)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return e
	}
	e.ID = j.next
	j.next++
	j.recent = append(j.recent, e)
	j.trimLocked()
	close(j.changed)
	j.changed = make(chan struct{})
	select {
	case j.wake <- struct{}{}:
	default:
	}
	return e
}

func (j *Journal) complete(e status.Event) status.Event {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = e.Time.UTC().Round(0)
	if e.Host == "" {
		e.Host = j.opt.Host
	}
	if e.Severity == "" {
		e.Severity = "info"
	}
	if e.Actor.Kind == "" {
		e.Actor.Kind = "remora"
	}
	e.Message = shorten(e.Message)
	return e
}

// shorten bounds a message without cutting a character in two.
func shorten(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= longestText {
		return s
	}
	cut := longestText
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// trimLocked drops from memory what is on disk, and the oldest of what is not
// when there is too much of it.
func (j *Journal) trimLocked() {
	n := 0
	for len(j.recent)-n > memoryTail && j.recent[n].ID <= j.written {
		n++
	}
	for len(j.recent)-n > memoryMost {
		j.dropped++
		n++
	}
	if n == 0 {
		return
	}
	j.base = j.recent[n-1].ID
	j.recent = append(j.recent[:0:0], j.recent[n:]...)
}

// Last returns the ID of the newest event, 0 where there is none.
func (j *Journal) Last() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lastLocked()
}

func (j *Journal) lastLocked() uint64 {
	if n := len(j.recent); n > 0 {
		return j.recent[n-1].ID
	}
	return j.base
}

// Trouble says why events cannot be written just now; empty is well.
func (j *Journal) Trouble() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.trouble
}

// Close writes what is left, ends all subscriptions and waits for both. A
// second call returns nil at once.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	next := j.next
	close(j.stop)
	j.mu.Unlock()
	j.done.Wait()
	if t := j.Trouble(); t != "" {
		return errors.New(t)
	}
	if err := atomicfile.WriteFile(cleanMark(j.dir), []byte(strconv.FormatUint(next, 10)+"\n"), 0o600); err != nil {
		return fmt.Errorf("mark the journal closed: %w", err)
	}
	return nil
}
