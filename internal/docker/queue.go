package docker

import (
	"container/list"
	"sync"

	"github.com/remorahq/remora/internal/engine"
)

// queue stands between the engine's stream, which must never wait, and its
// reader. Of two waiting events of one container and kind it keeps the later,
// in its place: it is bounded by the number of containers, and no kind of
// event is ever lost.
type queue struct {
	ready chan struct{} // holds a token while there may be events

	mu     sync.Mutex
	events *list.List
	index  map[queueKey]*list.Element
}

type queueKey struct {
	kind      engine.EventKind
	container string
}

func newQueue() *queue {
	return &queue{ready: make(chan struct{}, 1), events: list.New(), index: map[queueKey]*list.Element{}}
}

func (q *queue) push(ev engine.Event) {
	q.mu.Lock()
	key := queueKey{ev.Kind, ev.Container}
	if old, ok := q.index[key]; ok {
		q.events.Remove(old)
	}
	q.index[key] = q.events.PushBack(ev)
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

func (q *queue) pop() (engine.Event, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	front := q.events.Front()
	if front == nil {
		return engine.Event{}, false
	}
	ev := q.events.Remove(front).(engine.Event)
	delete(q.index, queueKey{ev.Kind, ev.Container})
	return ev, true
}
