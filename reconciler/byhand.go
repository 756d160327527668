package reconciler

import (
	"context"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/reconciler/ledger"
)

// signalGrace is how long the end of an active container that got a signal
// waits for the event that tells a person's `docker stop` from a kill: engines
// before 23 send it after the end, newer ones before it. An end without a signal
// is a crash, and waits for nothing.
const signalGrace = time.Second

// dying holds the ends of active containers until it is known whether a person
// wanted them. It belongs to the goroutine that follows the engine.
type dying struct {
	signalled map[string]time.Time
	due       map[string]time.Time
	timer     *time.Timer
}

func newDying() *dying {
	return &dying{signalled: map[string]time.Time{}, due: map[string]time.Time{}, timer: stopped()}
}

// stopped is a timer that fires only after a Reset.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// hears takes what an event says of an active container's end, and says
// whether the event is to wait.
func (d *dying) hears(e engine.Event, active func(container string) bool, now time.Time) (waits bool) {
	switch e.Kind {
	case engine.EventKill:
		if active(e.Container) {
			d.signalled[e.Container] = now
		}
		return true // changes nothing yet, and to look would see the end too early
	case engine.EventStop, engine.EventStart, engine.EventDestroy:
		delete(d.signalled, e.Container)
		delete(d.due, e.Container)
	case engine.EventDie:
		if _, signalled := d.signalled[e.Container]; !signalled {
			return false
		}
		delete(d.signalled, e.Container)
		d.due[e.Container] = now.Add(signalGrace)
		d.timer.Reset(signalGrace)
		return true
	}
	_, waits = d.due[e.Container] // such as its networks, which it leaves
	return waits
}

// take returns those that waited long enough.
func (d *dying) take(now time.Time) []string {
	var out []string
	for id, at := range d.due {
		if !now.Before(at) {
			out = append(out, id)
			delete(d.due, id)
		}
	}
	if len(d.due) > 0 {
		d.timer.Reset(signalGrace / 10)
	}
	return out
}

// isActive says whether a container belongs to an active release.
func (r *Reconciler) isActive(container string) bool {
	c, err := r.world.container(container)
	if err != nil || !c.Ours() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.views[c.AppID()].Services {
		for _, i := range s.Instances {
			if i.ID == container && i.Role == "active" {
				return true
			}
		}
	}
	return false
}

// byHand tells the worker of a container that somebody stopped, paused or
// unpaused it.
func (r *Reconciler) byHand(ctx context.Context, e engine.Event) {
	c, err := r.world.container(e.Container)
	if err != nil || !c.Ours() {
		return
	}
	r.mu.Lock()
	w := r.workers[c.AppID()]
	r.mu.Unlock()
	if w == nil {
		return
	}
	// An error says that the agent ends.
	_ = w.post(ctx, func(context.Context) {
		if e.Kind == engine.EventUnpause {
			w.unpaused(c)
		} else {
			w.byHand(e, c)
		}
	})
}

// byHand honours a person's stop of a container of an active release, unless
// it was remora's own.
func (w *worker) byHand(e engine.Event, c engine.Container) {
	name := c.Labels[engine.LabelService]
	s := w.app.Services[name]
	if w.isOwn(e) || s == nil || s.Active == nil || s.Stopped != nil {
		return
	}
	if ro := w.app.Rollout; ro != nil && ro.Changes[name] != nil || !has(s.Active, e.Container) {
		return
	}
	app := w.app.Clone()
	now := w.r.now()
	app.Services[name].Stopped = &ledger.Override{By: status.Actor{Kind: "user", Name: "docker " + string(e.Kind)}, At: now, Until: now.Add(time.Duration(w.r.cfg.Host.StopRespect))}
	w.app, w.saved = app, false
	w.record(status.Event{
		Reason: status.StoppedByHand, Severity: "warning", Service: name, Actor: status.Actor{Kind: "user", Name: "docker " + string(e.Kind)},
		Message: name + " was stopped with `docker " + string(e.Kind) + "`; it is repaired at " + app.Services[name].Stopped.Until.Format("15:04") + ", `remora start " + w.id + "/" + name + "` does it now",
	})
}

// isOwn says that an event is of remora's own stop or pause. It goes by when
// the event happened: it may be heard of much later.
func (w *worker) isOwn(e engine.Event) bool {
	at := e.Time
	if at.IsZero() {
		at = w.r.now()
	}
	return w.own[e.Container] > 0 || !at.After(w.ownEnded[e.Container].Add(time.Second))
}

// resumed ends the respect for a person's stop once the person, or the engine
// at its own start, started all of it again.
func (w *worker) resumed(containers containerSet) {
	for name, s := range w.app.Services {
		if s.Stopped == nil || s.Stopped.Enforced || s.Active == nil || !runsSince(s.Active, s.Stopped.At, containers) {
			continue
		}
		w.startedByHand(name)
	}
}

// unpaused ends the respect for a person's pause.
func (w *worker) unpaused(c engine.Container) {
	name := c.Labels[engine.LabelService]
	if s := w.app.Services[name]; s != nil && s.Stopped != nil && s.Stopped.By.Name == "docker "+string(engine.EventPause) && s.Active != nil && has(s.Active, c.ID) {
		w.startedByHand(name)
	}
}

func (w *worker) startedByHand(name string) {
	app := w.app.Clone()
	app.Services[name].Stopped = nil
	w.app, w.saved = app, false
	w.record(status.Event{Reason: status.Succeeded, Service: name, Message: name + " runs again: it was started by hand or by the engine"})
}

// runsSince says that all containers of d run, and that one of them was
// started after a moment.
func runsSince(d *ledger.Deployed, at time.Time, containers containerSet) bool {
	later := false
	for _, i := range d.Instances {
		c, ok := containers[i.Container]
		if !ok || c.State != engine.Running {
			return false
		}
		later = later || c.Started.After(at)
	}
	return later
}

func has(d *ledger.Deployed, container string) bool {
	for _, i := range d.Instances {
		if i.Container == container {
			return true
		}
	}
	return false
}
