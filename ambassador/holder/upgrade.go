package holder

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/remorahq/remora/ambassador/handoff"
)

const (
	// DefaultDrainLimit is longer than the ten minutes that a release's tunnels
	// get by default: a release that waits costs a container, a worker that
	// waits a few megabytes, and nobody asked its clients to move.
	DefaultDrainLimit = time.Hour
	// DefaultMaxDraining is the present worker's former selves that may live.
	DefaultMaxDraining = 4
	// ending is how long a worker may take after [handoff.End]: its tunnels and
	// requests are ended within a minute, and a kept connection closes by its
	// own time-out, never at once, since its client may be about to send.
	ending = 3 * time.Minute
)

// maxAsked bounds the upgrades that wait for their answer: a worker's word is not
// trusted.
const maxAsked = 64

// request is an Upgrade that waits for its answer.
type request struct {
	w  *worker
	id uint64
}

// upgrade starts a successor from the program's file as it is now. A second
// upgrade meanwhile follows the first: the file may have changed between them.
func (h *holder) upgrade(r request) {
	if r.w != nil && len(h.asked) >= maxAsked {
		h.send(r.w, handoff.Message{Op: handoff.Answer, ID: r.id, Error: "too many upgrades are asked for"}, nil)
		return
	}
	if r.w != nil {
		h.asked = append(h.asked, r)
	}
	switch {
	case h.stop:
	case h.renewing:
		h.upgrades = true
	case h.next != nil:
	case h.current == nil || !h.current.ready:
		h.upgradeFailed("the present worker has not started yet")
	default:
		h.startNext()
	}
}

func (h *holder) startNext() {
	h.sd.reloading()
	w, err := h.start()
	if err != nil {
		h.log.Error("start successor", "err", err)
		h.upgradeFailed(err.Error())
		return
	}
	h.next = w
}

func (h *holder) upgradeFailed(why string) {
	if h.current != nil && h.current.ready {
		h.sd.notify("READY=1") // the present worker goes on
	}
	h.answerUpgrades(why)
}

func (h *holder) answerUpgrades(failure string) {
	for _, r := range h.asked {
		h.send(r.w, handoff.Message{Op: handoff.Answer, ID: r.id, Error: failure}, nil)
	}
	h.asked = nil
}

// ready links a worker that serves with those that still live, and makes it
// lead, at once or when its predecessor is quiet.
func (h *holder) ready(w *worker) {
	if w.ready {
		return // it is told once: others would get a connection each time
	}
	w.ready = true
	h.log.Debug("worker is ready", "worker", w.number)
	for _, p := range h.workers {
		if p != w && p.ready {
			h.link(w, p)
		}
	}
	switch w {
	case h.current:
		h.lead(w)
	case h.next:
		h.send(h.current, handoff.Message{Op: handoff.Drain}, nil)
		h.handover = time.After(starting)
	}
}

func (h *holder) lead(w *worker) {
	if w == h.next {
		h.current.draining = time.Now()
		h.next, h.handover = nil, nil
	}
	h.current = w
	h.send(w, handoff.Message{Op: handoff.Lead}, h.files.control)
	h.sd.notify("READY=1")
	h.answerUpgrades("")
	h.log.Info("worker leads", "worker", w.number, "pid", w.process.Pid)
	h.endOld(time.Now())
	h.renew()
}

// killDeaf kills a worker that was told to drain and has not answered.
func (h *holder) killDeaf() {
	if h.next != nil && h.next.ready {
		h.log.Error("the former worker does not hand over, kill it", "worker", h.current.number)
		_ = h.current.process.Kill()
	}
}

// endOld ends predecessors that drain for too long or are too many: by word,
// and later by force.
func (h *holder) endOld(now time.Time) {
	old := slices.SortedFunc(maps.Values(h.workers), func(a, b *worker) int { return cmp.Compare(a.number, b.number) })
	old = slices.DeleteFunc(old, func(w *worker) bool { return w.draining.IsZero() })
	over := len(old) - cmp.Or(h.cfg.MaxDraining, DefaultMaxDraining)
	limit := cmp.Or(h.cfg.DrainLimit, DefaultDrainLimit)
	for i, w := range old {
		switch {
		case w.ending.IsZero() && (i < over || now.Sub(w.draining) > limit):
			h.log.Info("end a former worker", "worker", w.number, "drained_for", now.Sub(w.draining).Round(time.Second), "former", len(old))
			w.ending = now
			h.send(w, handoff.Message{Op: handoff.End}, nil)
		case !w.ending.IsZero() && now.Sub(w.ending) > ending:
			h.log.Error("a former worker does not end, kill it", "worker", w.number)
			_ = w.process.Kill()
		}
	}
}
