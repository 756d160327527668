package ambassador

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/remorahq/remora/ambassador/handoff"
)

// What the holder sends to who does not wait any more is closed at once.
func TestLateAnswerIsClosed(t *testing.T) {
	near, child, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	holder, err := handoff.FromFile(child)
	if err != nil {
		t.Fatal(err)
	}
	l := newLink(near)
	go l.receive(func(handoff.Message, *os.File) {})
	defer func() { _, _ = holder.Close(), near.Close(); <-l.gone }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := l.Sockets(ctx, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	m, _, err := holder.Receive()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if err := errors.Join(holder.Send(handoff.Message{Op: handoff.Answer, ID: m.ID}, w), w.Close()); err != nil {
		t.Fatal(err)
	}
	_ = r.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := r.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the descriptor stays open")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) != 0 {
		t.Errorf("%d answers are waited for", len(l.waiting))
	}
}

// Only a missing right is final: a holder that is short of descriptors is asked
// again.
func TestSocketsRefusal(t *testing.T) {
	near, child, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	holder, err := handoff.FromFile(child)
	if err != nil {
		t.Fatal(err)
	}
	l := newLink(near)
	go l.receive(func(handoff.Message, *os.File) {})
	defer func() { _, _ = holder.Close(), near.Close(); <-l.gone }()
	for _, denied := range []bool{false, true} {
		go func() {
			if m, _, err := holder.Receive(); err == nil {
				_ = holder.Send(handoff.Message{Op: handoff.Answer, ID: m.ID, Error: "no", Denied: denied}, nil)
			}
		}()
		_, err := l.Sockets(t.Context(), false)
		if _, final := errors.AsType[*NotAllowed](err); err == nil || final != denied {
			t.Errorf("denied %v: %v, final %v", denied, err, final)
		}
	}
}
