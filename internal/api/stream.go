package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/status"
)

// writeDeadline is how long one write of a stream may take before the reader
// counts as gone.
const writeDeadline = 30 * time.Second

// stream writes server-sent events, as the HTML standard defines them, or
// plain output.
type stream struct {
	w    http.ResponseWriter
	ctl  *http.ResponseController
	sent bool
}

func newStream(w http.ResponseWriter, contentType string) *stream {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	return &stream{w: w, ctl: http.NewResponseController(w)}
}

// Write writes p through to the reader at once.
func (s *stream) Write(p []byte) (int, error) {
	s.sent = true
	if err := s.ctl.SetWriteDeadline(time.Now().Add(writeDeadline)); err != nil {
		return 0, err
	}
	n, err := s.w.Write(p)
	if err != nil {
		return n, err
	}
	return n, s.ctl.Flush()
}

func (s *stream) event(id uint64, name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if id > 0 {
		fmt.Fprintf(&b, "id: %d\n", id)
	}
	fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", name, data)
	_, err = s.Write(b.Bytes())
	return err
}

func (s *stream) beat() error {
	_, err := io.WriteString(s, ": alive\n\n")
	return err
}

// events answers with the newest events, or follows them where the caller
// takes an event stream.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	f := status.EventFilter{App: r.FormValue("app"), Service: r.FormValue("service"), Reason: status.Reason(r.FormValue("reason"))}
	var err error
	if f.Since, err = moment(r, "since"); err != nil {
		return err
	}
	if strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		return s.followEvents(w, r, f)
	}
	limit, err := number(r, "limit", 50)
	if err != nil {
		return err
	}
	events, err := s.opt.Events.Recent(r.Context(), f, min(max(limit, 1), 100_000))
	return answer(w, events, err)
}

// followEvents begins after Last-Event-ID or the parameter `after`; without
// either, with what comes next.
func (s *Server) followEvents(w http.ResponseWriter, r *http.Request, f status.EventFilter) error {
	after, err := number(r, "after", s.opt.Events.Last())
	if err != nil {
		return err
	}
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		if _, err := fmt.Sscan(id, &after); err != nil {
			return &status.Error{Kind: status.Invalid, Message: fmt.Sprintf("Last-Event-ID: %q is no event's ID", id)}
		}
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	events := s.opt.Events.Subscribe(ctx, after, f)
	out := newStream(w, "text/event-stream")
	if err := out.beat(); err != nil {
		return nil // the reader is gone
	}
	beat := time.NewTicker(s.opt.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case e, ok := <-events:
			if !ok || out.event(e.ID, "event", e) != nil {
				return nil
			}
		case <-beat.C:
			if out.beat() != nil {
				return nil
			}
		}
	}
}

// statusStream sends the host's status at once and after every change of it.
func (s *Server) statusStream(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	host, err := s.opt.Backend.Status(ctx)
	if err != nil {
		return err
	}
	news := s.opt.Events.Subscribe(ctx, s.opt.Events.Last(), status.EventFilter{})
	out := newStream(w, "text/event-stream")
	poll := time.NewTicker(s.opt.Poll)
	defer poll.Stop()
	last := s.sendChanged(out, host, nil)
	for quiet := time.Now(); last != nil; {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-news:
			if !ok {
				return nil
			}
		case <-poll.C:
		}
		if host, err = s.opt.Backend.Status(ctx); err != nil {
			return nil // the answer has begun: its end is the error
		}
		now := s.sendChanged(out, host, last)
		if !bytes.Equal(now, last) {
			quiet = time.Now()
		} else if time.Since(quiet) > s.opt.Heartbeat {
			quiet = time.Now()
			if out.beat() != nil {
				return nil
			}
		}
		last = now
	}
	return nil
}

// sendChanged sends host unless, but for its time, it is what was sent last.
// It returns what it compared, nil when the reader is gone.
func (s *Server) sendChanged(out *stream, host status.Host, last []byte) []byte {
	at := host.Time
	host.Time = time.Time{}
	now, err := json.Marshal(host)
	if err != nil {
		s.log.Error("encode the status", "error", err)
		return nil
	}
	if bytes.Equal(now, last) {
		return last
	}
	host.Time = at
	if out.event(0, "status", host) != nil {
		return nil
	}
	return now
}

// logs streams the output of containers. An error after the first line cannot
// be an answer any more; it is told in the stream's last line.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) error {
	req := status.LogRequest{
		App: r.FormValue("app"), Service: r.FormValue("service"), Release: r.FormValue("release"),
		Follow: r.FormValue("follow") == "true",
	}
	var err error
	if req.Tail, err = number(r, "tail", -1); err != nil {
		return err
	}
	if req.Since, err = moment(r, "since"); err != nil {
		return err
	}
	out := newStream(w, "text/plain; charset=utf-8")
	err = s.opt.Backend.Logs(r.Context(), req, out)
	if err != nil && out.sent && r.Context().Err() == nil {
		fmt.Fprintf(out, "remora: %v\n", err)
		return nil
	}
	return err
}
