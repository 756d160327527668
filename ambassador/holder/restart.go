package holder

import (
	"fmt"
	"time"
)

// gone cleans up after a worker's end, and replaces it when it led.
func (h *holder) gone(w *worker, err error) {
	delete(h.workers, w.number)
	_ = w.link.Close()
	if h.stop {
		return
	}
	h.tellGone(w)
	h.log.Warn("worker ended", "worker", w.number, "lived", time.Since(w.started).Round(time.Millisecond), "cause", err)
	switch {
	case w == h.next:
		h.next = nil
		h.upgradeFailed(fmt.Sprintf("the new worker ended before it led: %v", err))
		if w.ready { // the present one was told to drain and serves no more
			h.restart = time.After(h.backOff(time.Since(w.started)))
		}
	case w == h.current && h.next != nil && h.next.ready:
		h.lead(h.next)
	case w == h.current && h.next != nil:
		h.current, h.next = h.next, nil
	case w == h.current:
		h.restart = time.After(h.backOff(time.Since(w.started)))
	}
}

// backOff is nothing for a crash, and grows for a loop of them.
func (h *holder) backOff(lived time.Duration) time.Duration {
	if lived > settled {
		h.crashes = 0
	}
	h.crashes++
	if h.crashes <= 2 {
		return 0
	}
	return min(50*time.Millisecond<<min(h.crashes-3, 10), 5*time.Second)
}

func (h *holder) replaceCurrent() {
	w, err := h.start()
	if err != nil {
		h.log.Error("start worker", "err", err)
		h.restart = time.After(time.Second)
		return
	}
	if h.workers[h.current.number] == h.current {
		h.next = w
		return
	}
	h.current = w
}
