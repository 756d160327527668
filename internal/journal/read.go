package journal

import (
	"context"
	"slices"

	"github.com/remorahq/remora/internal/status"
)

// Subscribe gives every event after the one called after that the filter
// selects, first those on record, then each as it happens. With an ID that was
// never given out it begins with the oldest event kept. The channel is closed
// when ctx ends or the journal closes.
func (j *Journal) Subscribe(ctx context.Context, after uint64, f status.EventFilter) <-chan status.Event {
	out := make(chan status.Event)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		close(out)
		return out
	}
	if after > j.lastLocked() {
		after = 0
	}
	j.done.Go(func() {
		defer close(out)
		j.follow(ctx, after, f, out)
	})
	return out
}

func (j *Journal) follow(ctx context.Context, cursor uint64, f status.EventFilter, out chan<- status.Event) {
	send := func(e status.Event) bool {
		cursor = e.ID
		if !f.Match(e) {
			return true
		}
		select {
		case out <- e:
			return true
		case <-ctx.Done():
		case <-j.stop:
		}
		return false
	}
	for {
		v := j.look(cursor)
		if cursor < v.base {
			if !j.replay(v.parts, cursor, v.base, send) {
				return
			}
			cursor = max(cursor, v.base)
			continue
		}
		for _, e := range v.recent {
			if !send(e) {
				return
			}
		}
		if len(v.recent) > 0 {
			continue
		}
		select {
		case <-v.changed:
		case <-ctx.Done():
			return
		case <-j.stop:
			return
		}
	}
}

// view is what a reader sees of the journal at one moment.
type view struct {
	base    uint64
	recent  []status.Event // those after the reader's cursor
	parts   []part
	changed <-chan struct{}
}

func (j *Journal) look(cursor uint64) view {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := view{base: j.base, parts: slices.Clone(j.parts), changed: j.changed}
	for i, e := range j.recent {
		if e.ID > cursor {
			v.recent = slices.Clone(j.recent[i:])
			break
		}
	}
	return v
}

// replay reads the events after cursor, up to and with last, from disk. It
// returns false when send does.
func (j *Journal) replay(parts []part, cursor, last uint64, send func(status.Event) bool) bool {
	for i, p := range parts {
		if i+1 < len(parts) && parts[i+1].first <= cursor+1 {
			continue
		}
		more := true
		err := readPart(p.path, func(e status.Event) bool {
			if e.ID > last {
				return false
			}
			if e.ID > cursor {
				more = send(e)
			}
			return more
		})
		if err != nil {
			j.log.Warn("read the journal", "error", err)
		}
		if !more {
			return false
		}
	}
	return true
}

// Recent returns the newest events that the filter selects, oldest first, at
// most limit of them.
func (j *Journal) Recent(ctx context.Context, f status.EventFilter, limit int) ([]status.Event, error) {
	v := j.look(0)
	found := selected(v.recent, f)
	for i := len(v.parts) - 1; i >= 0 && len(found) < limit; i-- {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var older []status.Event
		err := readPart(v.parts[i].path, func(e status.Event) bool {
			if e.ID > v.base {
				return false
			}
			if f.Match(e) {
				older = append(older, e)
			}
			return true
		})
		if err != nil {
			return nil, err
		}
		found = append(older, found...)
	}
	if over := len(found) - limit; over > 0 {
		found = found[over:]
	}
	return found, nil
}

func selected(events []status.Event, f status.EventFilter) []status.Event {
	var out []status.Event
	for _, e := range events {
		if f.Match(e) {
			out = append(out, e)
		}
	}
	return out
}
