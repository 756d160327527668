package systemd_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/load"
	"github.com/remorahq/remora/e2e/rig"
)

// outcome is what a load came to.
type outcome struct {
	sent, answered, lost int
	refused              int           // connections that nobody took
	ended                int           // WebSockets that were said goodbye to
	gap                  time.Duration // the longest between two answers
}

func (o outcome) String() string {
	return fmt.Sprintf("sent=%d answered=%d lost=%d refused=%d websockets_ended=%d gap_ms=%d",
		o.sent, o.answered, o.lost, o.refused, o.ended, o.gap.Milliseconds())
}

// under does something to the machine while 64 clients keep connections and 8
// WebSockets talk; it returns what they met.
func (m *machine) under(t *testing.T, what func()) outcome {
	t.Helper()
	log := filepath.Join(t.TempDir(), "clients.log")
	l := load.Start(t, m.e.DialContext, log,
		load.Group{Kind: load.Get, Addr: m.addr, Conns: 40, Rate: 400, MayClose: true},
		load.Group{Kind: load.Post, Addr: m.addr, Conns: 24, Rate: 240, MayClose: true},
		load.Group{Kind: load.WebSocket, Addr: m.addr, Conns: 8, Rate: 80},
	)
	goOn := func() {
		_, mark, _, _ := l.Totals()
		rig.Eventually(t, 30*time.Second, "traffic", func() error {
			if _, n, _, _ := l.Totals(); n < mark+300 {
				return fmt.Errorf("%d answers more", n-mark)
			}
			return nil
		})
	}
	goOn()
	what()
	goOn()
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
	records, err := load.Read(log)
	if err != nil {
		t.Fatal(err)
	}
	o := judge(records)
	t.Log(o)
	for _, r := range records {
		if r.Outcome == load.Failed {
			t.Logf("the first that was lost: %s", r)
			break
		}
	}
	return o
}

func judge(records []load.Record) outcome {
	var o outcome
	var answers []time.Time
	for _, r := range records {
		switch r.Outcome {
		case load.Sent:
			o.sent++
		case load.Answered:
			o.answered++
			answers = append(answers, r.At)
		case load.Ended:
			o.ended++
		case load.Cut:
			o.ended++
			o.sent--
		case load.Failed:
			o.lost++
			if r.Cause == load.Refused {
				o.refused++
			}
		}
	}
	slices.SortFunc(answers, time.Time.Compare)
	for i := 1; i < len(answers); i++ {
		o.gap = max(o.gap, answers[i].Sub(answers[i-1]))
	}
	return o
}

// lossless fails the test unless nothing at all was noticed.
func (o outcome) lossless(t *testing.T) {
	t.Helper()
	if o.lost != 0 || o.refused != 0 || o.ended != 0 || o.sent != o.answered {
		t.Errorf("something was lost: %s", o)
	}
}

// refusedNobody fails the test if a connection was refused, or nobody was
// served for longer than the limit.
func (o outcome) refusedNobody(t *testing.T, limit time.Duration) {
	t.Helper()
	if o.refused != 0 {
		t.Errorf("%d connections were refused", o.refused)
	}
	if o.gap > limit {
		t.Errorf("nobody was served for %s, at most %s are promised", o.gap, limit)
	}
}
