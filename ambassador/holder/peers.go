package holder

import (
	"errors"

	"github.com/remorahq/remora/ambassador/handoff"
)

// Workers that live at the same time speak to each other, since a release is
// drained only when it is on all of them. That a worker is no more is the
// holder's word: a connection may break for other reasons, such as a worker
// without descriptors left, and is made again.

// link connects a worker with an older one.
func (h *holder) link(young, old *worker) {
	a, b, err := handoff.Streams()
	if err != nil {
		h.log.Error("link workers", "err", err)
		return
	}
	h.send(young, handoff.Message{Op: handoff.Peer, Worker: old.number, Older: true}, a)
	h.send(old, handoff.Message{Op: handoff.Peer, Worker: young.number}, b)
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		h.log.Error("close handed connection", "err", err)
	}
}

// lost notes that a worker lost the connection to a predecessor.
func (h *holder) lost(w *worker, number int) {
	old := h.workers[number]
	if old == nil {
		h.send(w, handoff.Message{Op: handoff.Gone, Worker: number}, nil)
		return
	}
	old.lostBy = w
}

// relink connects again who lost each other and both still live.
func (h *holder) relink() {
	for _, old := range h.workers {
		if w := old.lostBy; w != nil {
			old.lostBy = nil
			h.log.Warn("connect workers again", "worker", w.number, "former", old.number)
			h.link(w, old)
		}
	}
}

// tellGone tells a worker's successors that it has ended.
func (h *holder) tellGone(w *worker) {
	for _, p := range h.workers {
		if p.lostBy == w {
			p.lostBy = nil
		}
		if p.number > w.number {
			h.send(p, handoff.Message{Op: handoff.Gone, Worker: w.number}, nil)
		}
	}
}
