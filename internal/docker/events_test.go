package docker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/docker"
	"github.com/remorahq/remora/internal/engine"
)

// stream reads an adapter's events.
type stream struct {
	t      *testing.T
	events <-chan engine.Event
}

func follow(t *testing.T, d *docker.Engine) *stream {
	t.Helper()
	s := &stream{t: t, events: d.Events(t.Context())}
	if first := s.next(); first.Kind != engine.Resync {
		t.Fatalf("the first event is %s", first.Kind)
	}
	return s
}

func (s *stream) next() engine.Event {
	s.t.Helper()
	select {
	case ev, ok := <-s.events:
		if !ok {
			s.t.Fatal("the stream has ended")
		}
		return ev
	case <-time.After(20 * time.Second):
		s.t.Fatal("no event")
	}
	return engine.Event{}
}

// until reads up to the kind, about the container where one is named, and
// returns what it read, the event of the kind included.
func (s *stream) until(kind engine.EventKind, id string) []engine.Event {
	s.t.Helper()
	var all []engine.Event
	for {
		ev := s.next()
		all = append(all, ev)
		if ev.Kind == kind && (id == "" || ev.Container == id) {
			return all
		}
	}
}

func kinds(all []engine.Event, id string) []engine.EventKind {
	var out []engine.EventKind
	for _, ev := range all {
		if ev.Container == id && ev.Kind != engine.EventOther {
			out = append(out, ev.Kind)
		}
	}
	return out
}

// TestEventsTellAPersonsStopFromACrash: a crash has die alone.
func TestEventsTellAPersonsStopFromACrash(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		a := newApp(t, e, d)
		s := follow(t, d)
		crash := a.run(t, a.create("web", "aaaa", args("-exit-code", "9", "once")))
		all := s.until(engine.EventDie, crash)
		if last := all[len(all)-1]; last.ExitCode != 9 || last.Labels[engine.LabelRelease] != "aaaa" || last.Time.IsZero() {
			t.Errorf("end of the job: %+v", last)
		}
		stopped := a.run(t, a.create("web", "bbbb"))
		e.Call(t, "POST", "/containers/"+stopped+"/pause", nil, nil)
		e.Call(t, "POST", "/containers/"+stopped+"/unpause", nil, nil)
		e.Call(t, "POST", "/containers/"+stopped+"/stop?t=5", nil, nil)
		e.Call(t, "DELETE", "/containers/"+stopped, nil, nil)
		all = append(all, s.until(engine.EventDestroy, stopped)...)
		if got := kinds(all, crash); !slices.Equal(got, []engine.EventKind{engine.EventStart, engine.EventDie}) {
			t.Errorf("events of the crash: %v", got)
		}
		got := kinds(all, stopped)
		if want := []engine.EventKind{engine.EventStart, engine.EventPause, engine.EventUnpause, engine.EventKill}; !slices.Equal(got[:min(4, len(got))], want) {
			t.Errorf("events before the end: %v, not %v", got, want)
		}
		// 20.10 gives die before stop, current engines stop before die.
		slices.Sort(got)
		if want := []engine.EventKind{
			engine.EventDestroy, engine.EventDie, engine.EventKill, engine.EventPause, engine.EventStart, engine.EventStop, engine.EventUnpause,
		}; !slices.Equal(got, want) {
			t.Errorf("events of the stop: %v, not %v", got, want)
		}
	})
}

// TestEventsAfterAGap cuts the connection, not the engine: what happened in
// the gap comes after the Resync, so that a person's stop is still one.
func TestEventsAfterAGap(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		l := newLine(t, e)
		d := open(t, e, l.through)
		a := newApp(t, e, open(t, e))
		s := follow(t, d)
		id := a.run(t, a.create("web", "aaaa"))
		s.until(engine.EventStart, id)
		l.cut()
		s.until(engine.Disconnected, "")
		if _, err := d.Containers(t.Context()); !errors.Is(err, engine.ErrUnavailable) {
			t.Errorf("containers in the gap: %v", err)
		}
		e.Call(t, "POST", "/containers/"+id+"/stop?t=5", nil, nil)
		l.connect(t)
		if all := s.until(engine.Resync, ""); len(kinds(all, id)) > 0 {
			t.Errorf("before the resync: %v", kinds(all, id))
		}
		e.Call(t, "DELETE", "/containers/"+id, nil, nil)
		got := kinds(s.until(engine.EventDestroy, id), id)
		slices.Sort(got)
		if want := []engine.EventKind{engine.EventDestroy, engine.EventDie, engine.EventKill, engine.EventStop}; !slices.Equal(got, want) {
			t.Errorf("after the gap: %v, not %v", got, want)
		}
	})
}

// TestEngineRestart restarts an engine under a connected adapter.
func TestEngineRestart(t *testing.T) {
	for _, which := range rig.Lines() {
		t.Run(string(which), func(t *testing.T) {
			e := rig.StartEngine(t, which)
			d := open(t, e)
			a := newApp(t, e, d)
			s := follow(t, d)
			n := a.network(t, "default", "10.80.0.0/24")
			keep := a.make(t, a.create("web", "aaaa", func(c *engine.Create) { c.Networks = []engine.Endpoint{{Network: n.Name}} }))
			must(t, d.Start(t.Context(), keep))
			must(t, d.SetRestart(t.Context(), keep, "unless-stopped"))
			before, err := d.Info(t.Context())
			must(t, err)
			if again, err := d.Info(t.Context()); err != nil || again != before {
				t.Errorf("info changed by itself: %+v, %+v, %v", before, again, err)
			}
			if fresh, err := open(t, e).Info(t.Context()); err != nil || fresh.Start != before.Start {
				t.Errorf("another agent sees start %q, not %q (%v)", fresh.Start, before.Start, err)
			}
			restarted := time.Now()
			proxied, err := open(t, e, newLine(t, e).through).Info(t.Context())
			must(t, err)
			e.Restart(t)
			if after, err := open(t, e, newLine(t, e).through).Info(t.Context()); err != nil || after.Start == proxied.Start {
				t.Errorf("behind a proxy: start %q before the restart, %q after it (%v)", proxied.Start, after.Start, err)
			}
			s.until(engine.Disconnected, "")
			s.until(engine.Resync, "")
			after, err := d.Info(t.Context())
			must(t, err)
			if after.ID != before.ID || after.Start == before.Start {
				t.Errorf("before the restart %+v, after it %+v", before, after)
			}
			rig.Eventually(t, 10*time.Second, "wait for the container", func() error {
				all, err := d.Containers(t.Context())
				if err != nil {
					return err
				}
				i := slices.IndexFunc(all, func(c engine.Container) bool { return c.ID == keep })
				if i < 0 || all[i].State != engine.Running || !all[i].Started.After(restarted) {
					return fmt.Errorf("containers: %+v", all)
				}
				return nil
			})
		})
	}
}

// TestContainersCostNothingWhileNothingChanges counts what is asked.
func TestContainersCostNothingWhileNothingChanges(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		l := newLine(t, e)
		d := open(t, e, l.through)
		a := newApp(t, e, open(t, e))
		s := follow(t, d)
		id := a.run(t, a.create("web", "aaaa"))
		s.until(engine.EventStart, id)
		state := func() engine.State {
			t.Helper()
			all, err := d.Containers(t.Context())
			must(t, err)
			for _, c := range all {
				if c.ID == id {
					return c.State
				}
			}
			return ""
		}
		if got := state(); got != engine.Running {
			t.Fatalf("state is %q", got)
		}
		look := func() {
			state()
			_, err := d.Networks(t.Context())
			must(t, err)
			_, err = d.Info(t.Context())
			must(t, err)
		}
		look()
		sent := l.sent.Load()
		for range 100 {
			look()
		}
		if more := l.sent.Load() - sent; more > 0 {
			t.Errorf("100 readings without a change sent %d bytes", more)
		}
		e.Call(t, "POST", "/containers/"+id+"/pause", nil, nil)
		s.until(engine.EventPause, id)
		if got := state(); got != engine.Paused {
			t.Errorf("after the event: %s", got)
		}
		must(t, d.Unpause(t.Context(), id))
		if got := state(); got != engine.Running {
			t.Errorf("after our own call: %s", got)
		}
		e.Call(t, "DELETE", "/containers/"+id+"?force=1", nil, nil)
		s.until(engine.EventDestroy, id)
		if got := state(); got != "" {
			t.Errorf("after the removal: %s", got)
		}
	})
}

// TestAnotherEngineAtTheSameAddress is an upgrade of the engine, and a step
// back, under a running agent.
func TestAnotherEngineAtTheSameAddress(t *testing.T) {
	old, current := engines.Get(t, rig.Debian), engines.Get(t, rig.Current)
	l := newLine(t, old)
	d := open(t, old, l.through)
	s := follow(t, d)
	for _, step := range []struct {
		engine *rig.Engine
		api    string
	}{{old, "1.41"}, {current, "1.51"}, {old, "1.41"}} {
		l.cut()
		l.engine = step.engine.Socket()
		l.connect(t)
		s.until(engine.Resync, "")
		info, err := d.Info(t.Context())
		must(t, err)
		if info.APIVersion != step.api {
			t.Errorf("%s engine: API %s, not %s", step.engine.Line, info.APIVersion, step.api)
		}
		a := newApp(t, step.engine, d)
		a.run(t, a.create("web", "aaaa"))
	}
}

func TestEventsEndWithContextAndAdapter(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	d := open(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	first, other := d.Events(ctx), d.Events(t.Context())
	cancel()
	for range first {
	}
	must(t, d.Close())
	for range other {
	}
	must(t, d.Close())
	if _, ok := <-d.Events(t.Context()); ok {
		t.Error("a closed adapter gives events")
	}
}
