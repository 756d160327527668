package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/remorahq/remora/internal/status"
)

// frame is a piece of news to draw: a status, an event, or why there is none.
type frame struct {
	host  *status.Host
	event *status.Event
	lost  error
}

// watchScreen draws the table over, at every change and every second, since
// ages grow.
func (s *statusRun) watchScreen(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	frames := make(chan frame)
	send := func(f frame) {
		select {
		case frames <- f:
		case <-ctx.Done():
		}
	}
	var done sync.WaitGroup
	var failed error
	done.Go(func() {
		defer cancel()
		failed = s.followStatus(ctx, func(h status.Host) { send(frame{host: &h}) }, func(err error) { send(frame{lost: err}) })
	})
	if s.events > 0 {
		done.Go(func() { _ = s.followEvents(ctx, func(e status.Event) { send(frame{event: &e}) }) })
	}
	s.draw(ctx, frames)
	done.Wait()
	return failed
}

func (s *statusRun) followStatus(ctx context.Context, show func(status.Host), lost func(error)) error {
	return s.client.FollowStatus(ctx, func(h status.Host) error {
		if err := s.narrow(&h); err != nil {
			return err
		}
		show(h)
		return nil
	}, lost)
}

// followEvents gives the last events, too.
func (s *statusRun) followEvents(ctx context.Context, show func(status.Event)) error {
	recent, err := s.client.Events(ctx, status.EventFilter{}, max(s.events, 1))
	if err != nil {
		return err
	}
	var last uint64
	for _, e := range recent {
		last = e.ID
		show(e)
	}
	return s.client.FollowEvents(ctx, &last, status.EventFilter{}, func(e status.Event) error {
		show(e)
		return nil
	}, func(error) {})
}

func (s *statusRun) draw(ctx context.Context, frames <-chan frame) {
	defer s.screen.end()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var p picture
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-frames:
			p.take(f, s.events)
			if f.host != nil && s.ports {
				p.ports = s.portLines(ctx)
			}
		case <-tick.C:
		}
		s.screen.draw(s.lines(p))
	}
}

// picture is what there is to draw at one moment.
type picture struct {
	host   *status.Host
	lost   error
	events []status.Event
	ports  []string
}

func (p *picture) take(f frame, keep int) {
	switch {
	case f.event != nil:
		p.events = append(p.events, *f.event)
		p.events = p.events[max(0, len(p.events)-keep):]
	case f.host != nil:
		p.host, p.lost = f.host, nil
	default:
		p.lost = f.lost
	}
}

func (s *statusRun) lines(p picture) []string {
	var lines []string
	if p.host != nil {
		lines = append(lines, s.view(time.Now()).lines(*p.host)...)
	}
	if len(p.ports) > 0 {
		lines = append(append(lines, ""), p.ports...)
	}
	if len(p.events) > 0 {
		lines = append(lines, "")
	}
	width, _ := s.screen.size()
	for _, e := range p.events {
		lines = append(lines, eventLines(e, s.screen.style, time.Now(), width-1)...)
	}
	if p.lost != nil {
		lines = append(lines, s.screen.bad("! ")+p.lost.Error()+"; trying again")
	}
	return lines
}

// portLines say where to connect.
func (s *statusRun) portLines(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	rows, err := s.client.Routes(ctx)
	if err != nil {
		return nil
	}
	var out []string
	for _, r := range rows {
		if strings.Contains(r.Listen, "/") {
			continue // an address inside a network
		}
		where := strings.TrimPrefix(r.Listen, ":")
		if !strings.Contains(where, ":") {
			where = orElse(r.Host, "localhost") + ":" + where
		}
		line := fmt.Sprintf("%s → %s:%d  %s", s.screen.bold(where+r.Path), r.Service, r.Port, s.screen.faint(r.State))
		if !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return out
}

// watchBoth prints rows as they change and events as they come, below each
// other.
func (s *statusRun) watchBoth(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var done sync.WaitGroup
	done.Go(func() {
		_ = s.followEvents(ctx, func(e status.Event) {
			mu.Lock()
			defer mu.Unlock()
			_ = s.event(e)
		})
	})
	shown := map[string]string{}
	err := s.followStatus(ctx, func(h status.Host) {
		mu.Lock()
		defer mu.Unlock()
		s.printChanges(h, shown)
	}, func(error) {})
	cancel()
	done.Wait()
	return err
}
