package api_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/remorahq/remora/internal/status"
)

// TestTextsOfStrangersAreShown: what a commit or a manifest says never reaches
// a terminal as control characters, by whichever call it comes.
func TestTextsOfStrangersAreShown(t *testing.T) {
	const bad = "\x1b[2Jv1\u202e\u009b1A"
	r := start(t, nil)
	r.journal.Record(status.Event{App: "shop", Message: bad})
	r.backend.set(status.Host{Name: bad, Apps: []status.App{{Name: "shop", Message: bad}}})
	r.backend.err = nil
	texts := map[string]string{}
	host, err := r.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	texts["status"], texts["app"] = host.Name, host.Apps[0].Message
	events, err := r.client.Events(t.Context(), status.EventFilter{}, 1)
	if err != nil || len(events) != 1 {
		t.Fatal(events, err)
	}
	texts["events"] = events[0].Message
	zero := uint64(0)
	err = r.client.FollowEvents(t.Context(), &zero, status.EventFilter{}, func(e status.Event) error {
		texts["followed events"] = e.Message
		return errEnough
	}, func(error) {})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	err = r.client.FollowStatus(t.Context(), func(h status.Host) error {
		texts["followed status"] = h.Name
		return errEnough
	}, func(error) {})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	r.backend.err = &status.Error{Kind: status.NotFound, Message: bad, Remedy: bad}
	_, err = r.client.Explain(t.Context(), "x")
	problem, ok := errors.AsType[*status.Error](err)
	if !ok {
		t.Fatal(err)
	}
	texts["error"], texts["remedy"] = problem.Message, problem.Remedy
	for what, text := range texts {
		if text == "" || strings.ContainsAny(text, "\x1b\u202e\u009b") || !strings.Contains(text, "^[[2Jv1") {
			t.Errorf("%s: %q", what, text)
		}
	}
}
