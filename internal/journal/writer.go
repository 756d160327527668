package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/remorahq/remora/internal/atomicfile"
	"github.com/remorahq/remora/internal/status"
)

// parts of MaxBytes and MaxEvents that one segment may fill.
const partShare = 8

// writer is the one goroutine that writes events. Its fields are its own; what
// it shares is behind the journal's mutex, which it never holds over I/O.
type writer struct {
	journal *Journal
	file    *os.File
	size    int64 // of the file, up to its last whole line
	events  int
	unsaved bool // written but not synced
}

func (w *writer) run() {
	sync := time.NewTicker(syncInterval)
	defer sync.Stop()
	retry := time.NewTicker(retryPause)
	defer retry.Stop()
	for {
		select {
		case <-w.journal.wake:
			if w.journal.Trouble() == "" {
				w.flush()
			}
		case <-retry.C:
			w.flush()
		case <-sync.C:
			w.sync()
		case <-w.journal.stop:
			w.flush()
			w.close()
			return
		}
	}
}

// flush writes all events that are not on disk yet.
func (w *writer) flush() {
	batch := w.journal.unwritten()
	if len(batch) == 0 {
		return
	}
	n, err := w.write(batch)
	if n > 0 {
		w.journal.wrote(batch[n-1].ID)
	}
	if err != nil {
		w.journal.fail(err)
		return
	}
	if w.journal.Trouble() != "" {
		if err := w.file.Sync(); err != nil {
			return
		}
	}
	w.journal.recovered()
	w.bound()
}

func (w *writer) write(batch []status.Event) (n int, err error) {
	for n = 0; n < len(batch); {
		if err := w.ready(batch[n].ID); err != nil {
			return n, err
		}
		var data []byte
		room, space := w.room()
		from := n
		for n < len(batch) && n-from < room && int64(len(data)) < space {
			line, err := json.Marshal(batch[n])
			if err != nil {
				return from, fmt.Errorf("encode event %d: %w", batch[n].ID, err)
			}
			data = append(append(data, line...), '\n')
			n++
		}
		if err := w.append(data, n-from); err != nil {
			return from, err
		}
	}
	return n, nil
}

// room is how many more events and bytes the present segment takes; at least
// one event.
func (w *writer) room() (events int, bytes int64) {
	opt := w.journal.opt
	return max(1, opt.MaxEvents/partShare-w.events), max(1, opt.MaxBytes/partShare-w.size)
}

// ready opens a segment that has room for an event.
func (w *writer) ready(first uint64) error {
	opt := w.journal.opt
	if w.file != nil && w.size < opt.MaxBytes/partShare && w.events < max(1, opt.MaxEvents/partShare) {
		return nil
	}
	w.close()
	path := partPath(w.journal.dir, first)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		f, err = os.OpenFile(path, os.O_TRUNC|os.O_WRONLY, 0o600)
	}
	if err != nil {
		return err
	}
	if err := atomicfile.SyncDir(w.journal.dir); err != nil {
		return errors.Join(err, f.Close(), os.Remove(path))
	}
	w.file, w.size, w.events = f, 0, 0
	w.journal.addPart(part{path: path, first: first})
	return nil
}

// append writes whole lines at the segment's end, or takes back what it wrote
// of them.
func (w *writer) append(data []byte, events int) error {
	if _, err := w.file.WriteAt(data, w.size); err != nil {
		if terr := w.file.Truncate(w.size); terr != nil {
			err = errors.Join(err, terr, w.file.Close())
			w.file = nil
		}
		return err
	}
	w.size += int64(len(data))
	w.events += events
	w.unsaved = true
	w.journal.grewPart(w.size, w.events)
	return nil
}

func (w *writer) sync() {
	if w.file == nil || !w.unsaved {
		return
	}
	if err := w.file.Sync(); err != nil {
		w.journal.fail(err)
		return
	}
	w.unsaved = false
}

func (w *writer) close() {
	if w.file == nil {
		return
	}
	w.sync()
	if err := w.file.Close(); err != nil {
		w.journal.fail(err)
	}
	w.file = nil
}

// bound removes the oldest segments while there is too much.
func (w *writer) bound() {
	for {
		path, over := w.journal.oldestOver()
		if !over {
			return
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.journal.log.Warn("remove an old segment of the journal", "error", err)
			return
		}
	}
}

func (j *Journal) unwritten() []status.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, e := range j.recent {
		if e.ID > j.written {
			return append([]status.Event(nil), j.recent[i:]...)
		}
	}
	return nil
}

func (j *Journal) wrote(id uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.written = id
	j.trimLocked()
}

// fail notes that the disk refuses, and says so once.
func (j *Journal) fail(err error) {
	j.mu.Lock()
	first := j.trouble == ""
	j.trouble = "events cannot be saved: " + err.Error()
	j.mu.Unlock()
	if !first {
		return
	}
	j.log.Error("events cannot be saved; they are kept in memory", "error", err)
	j.Record(status.Event{
		Reason: status.DiskLow, Severity: "error",
		Message: fmt.Sprintf("events cannot be saved (%v); they are kept in memory until they can", err),
	})
}

func (j *Journal) recovered() {
	j.mu.Lock()
	was, lost := j.trouble != "", j.dropped
	j.trouble, j.dropped = "", 0
	j.mu.Unlock()
	if !was {
		return
	}
	j.log.Info("events are saved again", "lost", lost)
	j.Record(status.Event{
		Reason: status.Succeeded, Severity: "info",
		Message: fmt.Sprintf("events are saved again; %d were lost meanwhile", lost),
	})
}

func (j *Journal) addPart(p part) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.parts = append(j.parts, p)
}

func (j *Journal) grewPart(bytes int64, events int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	p := &j.parts[len(j.parts)-1]
	p.bytes, p.events = bytes, events
}

// oldestOver takes the oldest segment off the list while the bounds are passed.
func (j *Journal) oldestOver() (path string, over bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var bytes int64
	var events int
	for _, p := range j.parts {
		bytes += p.bytes
		events += p.events
	}
	if len(j.parts) < 2 || (bytes <= j.opt.MaxBytes && events <= j.opt.MaxEvents) {
		return "", false
	}
	path = j.parts[0].path
	j.parts = append([]part(nil), j.parts[1:]...)
	return path, true
}
