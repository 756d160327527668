package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/remorahq/remora/internal/printable"
	"github.com/remorahq/remora/internal/status"
)

// longestEvent bounds one server-sent event; a status of 1,000 services is
// some 600 kB.
const longestEvent = 64 << 20

// FollowEvents calls yield for each event after the one called after that the
// filter selects, as it happens; a nil after begins with what comes next. When
// the agent goes away it calls lost with the cause and tries again, from the
// last event it had, until ctx ends or yield returns an error.
func (c *Client) FollowEvents(ctx context.Context, after *uint64, f status.EventFilter, yield func(status.Event) error, lost func(error)) error {
	query := filterQuery(f)
	if after != nil {
		query.Set("after", strconv.FormatUint(*after, 10))
	}
	return c.follow(ctx, "/v1/events", query, func(data []byte) error {
		var e status.Event
		if err := json.Unmarshal(data, &e); err != nil {
			return fmt.Errorf("read an event: %w", err)
		}
		printable.Deep(&e)
		return yield(e)
	}, lost)
}

// FollowStatus calls yield with the host's status now and after every change.
// When the agent goes away it calls lost with the cause and tries again until
// ctx ends or yield returns an error.
func (c *Client) FollowStatus(ctx context.Context, yield func(status.Host) error, lost func(error)) error {
	return c.follow(ctx, "/v1/status/stream", url.Values{}, func(data []byte) error {
		var h status.Host
		if err := json.Unmarshal(data, &h); err != nil {
			return fmt.Errorf("read the status: %w", err)
		}
		printable.Deep(&h)
		return yield(h)
	}, lost)
}

// stopError is an error of a caller's yield: the end of following, not a cause
// to try again.
type stopError struct{ error }

func (c *Client) follow(ctx context.Context, path string, query url.Values, yield func([]byte) error, lost func(error)) error {
	last, pause := "", 100*time.Millisecond
	for {
		err := c.readStream(ctx, path, query, &last, func(data []byte) error {
			pause = 100 * time.Millisecond
			if err := yield(data); err != nil {
				return stopError{err}
			}
			return nil
		})
		if stop, ok := errors.AsType[stopError](err); ok {
			return stop.error
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if problem, ok := errors.AsType[*status.Error](err); ok && problem.Kind != status.Unavailable {
			return err
		}
		if err == nil {
			err = &UnreachableError{Socket: c.socket, Err: errors.New("it closed the connection")}
		}
		lost(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// readStream reads one connection's events until it ends.
func (c *Client) readStream(ctx context.Context, path string, query url.Values, last *string, yield func([]byte) error) error {
	header := http.Header{"Accept": {"text/event-stream"}}
	if *last != "" {
		header.Set("Last-Event-ID", *last)
	}
	resp, err := c.do(ctx, http.MethodGet, path, query, nil, header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 64<<10), longestEvent)
	var data []byte
	id := *last
	for lines.Scan() {
		line := lines.Bytes()
		switch {
		case len(line) == 0 && len(data) > 0:
			if err := yield(data); err != nil {
				return err
			}
			*last, data = id, data[:0]
		case bytes.HasPrefix(line, []byte("data: ")):
			data = append(data, line[len("data: "):]...)
		case bytes.HasPrefix(line, []byte("id: ")):
			id = string(line[len("id: "):])
		}
	}
	return lines.Err()
}
