package docker

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"

	"github.com/remorahq/remora/internal/engine"
)

// How often a quiet stream is checked, and how long the engine may take to
// answer before it counts as away.
const (
	pingEvery   = 15 * time.Second
	pingTimeout = 10 * time.Second
)

// actions are the events that are asked for. The engine's checks run as
// execs: their events, several a second on a full host, are left out.
var actions = []events.Action{
	events.ActionCreate, events.ActionStart, events.ActionRestart, events.ActionStop, events.ActionPause,
	events.ActionUnPause, events.ActionUpdate, events.ActionRename, events.ActionKill, events.ActionDie,
	events.ActionOOM, events.ActionDestroy, events.ActionRemove, events.ActionHealthStatus,
	events.ActionConnect, events.ActionDisconnect,
}

// Events is the engine's stream of events about containers. It begins with a
// Resync and gives one after every gap, followed by what the engine still
// remembers of the gap; Disconnected says that the engine went away. Labels of
// an event are the engine's attributes: the container's labels and a few
// more. A slow reader holds nothing up: of waiting events of one container and
// kind the last is kept. The channel is closed when ctx or the adapter ends.
func (e *Engine) Events(ctx context.Context) <-chan engine.Event {
	out := make(chan engine.Event)
	q := newQueue()
	ok := e.background(ctx, func(ctx context.Context) {
		defer close(out)
		var work sync.WaitGroup
		defer work.Wait()
		work.Go(func() { e.follow(ctx, q) })
		pump(ctx, q, out)
	})
	if !ok {
		close(out)
	}
	return out
}

// pump hands the queue's events to the reader until ctx ends.
func pump(ctx context.Context, q *queue, out chan<- engine.Event) {
	for {
		select {
		case <-q.ready:
		case <-ctx.Done():
			return
		}
		for ev, ok := q.pop(); ok; ev, ok = q.pop() {
			select {
			case out <- ev:
			case <-ctx.Done():
				return
			}
		}
	}
}

// follow keeps a stream connected until ctx ends.
func (e *Engine) follow(ctx context.Context, q *queue) {
	wait := &backoff.ExponentialBackOff{
		InitialInterval: 50 * time.Millisecond, RandomizationFactor: 0.2, Multiplier: 2, MaxInterval: 5 * time.Second,
	}
	wait.Reset()
	s := stream{engine: e, queue: q}
	for {
		connected, err := s.run(ctx)
		if ctx.Err() != nil {
			return
		}
		q.push(engine.Event{Kind: engine.Disconnected, Time: time.Now()})
		if connected {
			wait.Reset()
		}
		next := wait.NextBackOff()
		e.log.Debug("the engine's event stream is away", "err", err, "retry", next)
		select {
		case <-time.After(next):
		case <-ctx.Done():
			return
		}
	}
}

// stream is what is kept from one connection to the next.
type stream struct {
	engine *Engine
	queue  *queue
	last   int64 // the engine's time of the last event, in ns
	lastID string
}

// run connects and passes events on until the connection ends.
func (s *stream) run(ctx context.Context) (connected bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := s.prepare(ctx); err != nil {
		return false, err
	}
	e, c := s.engine, s.engine.client()
	messages, failed := c.Events(ctx, s.options())
	select {
	case err := <-failed:
		return false, fmt.Errorf("read events: %w", err)
	default:
	}
	e.cache.connected()
	defer e.cache.disconnected()
	e.facts.forget()
	s.queue.push(engine.Event{Kind: engine.Resync, Time: time.Now()})
	pings := make(chan struct{})
	go func() {
		defer close(pings)
		watch(ctx, c, cancel)
	}()
	defer func() { cancel(); <-pings }()
	for {
		select {
		case m := <-messages:
			s.pass(m)
		case err := <-failed:
			return true, fmt.Errorf("read events: %w", err)
		}
	}
}

// prepare makes sure that the engine answers, in a version that we speak, and
// learns its time.
func (s *stream) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := s.engine.renegotiate(ctx); err != nil {
		return err
	}
	if s.last != 0 {
		return nil
	}
	info, err := s.engine.client().Info(ctx)
	if err != nil {
		return classify(err)
	}
	s.last = parseTime(info.SystemTime).UnixNano()
	return nil
}

func (s *stream) options() events.ListOptions {
	args := []filters.KeyValuePair{
		filters.Arg("type", string(events.ContainerEventType)), filters.Arg("type", string(events.NetworkEventType)),
	}
	for _, a := range actions {
		args = append(args, filters.Arg("event", string(a)))
	}
	return events.ListOptions{
		Since:   fmt.Sprintf("%d.%09d", s.last/1e9, s.last%1e9),
		Filters: filters.NewArgs(args...),
	}
}

// watch ends the connection when the engine stops answering without closing it.
func watch(ctx context.Context, c *client.Client, giveUp context.CancelFunc) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ping, cancel := context.WithTimeout(ctx, pingTimeout)
		_, err := c.Ping(ping)
		cancel()
		if err != nil {
			giveUp()
			return
		}
	}
}

// pass invalidates what the event is about and queues it. The engine begins
// with the last event that it was told we know: that one is left out.
func (s *stream) pass(m events.Message) {
	id := m.Actor.ID + string(m.Action)
	if m.TimeNano == s.last && id == s.lastID {
		return
	}
	s.last, s.lastID = m.TimeNano, id
	ev := engine.Event{Kind: kindOf(m.Action), Container: m.Actor.ID, Labels: m.Actor.Attributes, Time: time.Unix(0, m.TimeNano)}
	if m.Type == events.NetworkEventType {
		s.engine.cache.touchNetworks()
		ev.Kind, ev.Container = engine.EventOther, m.Actor.Attributes["container"]
		ev.Labels = maps.Clone(m.Actor.Attributes)
	}
	if ev.Kind == engine.EventDie {
		if code, err := strconv.Atoi(m.Actor.Attributes["exitCode"]); err == nil {
			ev.ExitCode = code
		}
	}
	s.engine.cache.touch(ev.Container)
	s.queue.push(ev)
}

func kindOf(a events.Action) engine.EventKind {
	switch a {
	case events.ActionStart:
		return engine.EventStart
	case events.ActionDie:
		return engine.EventDie
	case events.ActionStop:
		return engine.EventStop
	case events.ActionKill:
		return engine.EventKill
	case events.ActionOOM:
		return engine.EventOOM
	case events.ActionPause:
		return engine.EventPause
	case events.ActionUnPause:
		return engine.EventUnpause
	case events.ActionDestroy:
		return engine.EventDestroy
	}
	if strings.HasPrefix(string(a), string(events.ActionHealthStatus)) {
		return engine.EventHealth
	}
	return engine.EventOther
}
