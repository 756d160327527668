package journal_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/remorahq/remora/internal/journal"
	"github.com/remorahq/remora/internal/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string, opt journal.Options) *journal.Journal {
	t.Helper()
	opt.Logger = slog.New(slog.DiscardHandler)
	j, err := journal.Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func record(j *journal.Journal, from, to int) {
	for i := from; i <= to; i++ {
		j.Record(status.Event{App: fmt.Sprintf("app%d", i%3), Reason: status.Succeeded, Message: fmt.Sprint(i)})
	}
}

// take reads n messages from a subscription.
func take(t *testing.T, events <-chan status.Event, n int) []string {
	t.Helper()
	var got []string
	deadline := time.After(20 * time.Second)
	for len(got) < n {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("closed after %d of %d events", len(got), n)
			}
			got = append(got, e.Message)
		case <-deadline:
			t.Fatalf("got %d of %d events", len(got), n)
		}
	}
	return got
}

func numbers(from, to int) []string {
	var out []string
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

func TestEventsOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, journal.Options{Host: "web-7"})
	record(j, 1, 1000)
	last := j.Last()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, dir, journal.Options{Host: "web-7"})
	e := j.Record(status.Event{Message: "1001"})
	if e.ID != last+1 || e.Host != "web-7" || e.Time.IsZero() || e.Severity != "info" || e.Actor.Kind != "remora" {
		t.Errorf("after a clean end the next event is %+v, want ID %d and its fields filled", e, last+1)
	}
	got := take(t, j.Subscribe(t.Context(), 0, status.EventFilter{}), 1001)
	if diff := cmp.Diff(numbers(1, 1001), got); diff != "" {
		t.Error(diff)
	}
}

func TestSubscribeResumesAndFilters(t *testing.T) {
	j := open(t, t.TempDir(), journal.Options{})
	record(j, 1, 2000)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if diff := cmp.Diff(numbers(501, 2000), take(t, j.Subscribe(ctx, 500, status.EventFilter{}), 1500)); diff != "" {
		t.Error(diff)
	}
	app := j.Subscribe(ctx, 1990, status.EventFilter{App: "app0"})
	record(j, 2001, 2003)
	if diff := cmp.Diff([]string{"1992", "1995", "1998", "2001"}, take(t, app, 4)); diff != "" {
		t.Error(diff)
	}
	future := j.Subscribe(ctx, 1<<60, status.EventFilter{})
	if got := take(t, future, 1); got[0] != "1" {
		t.Errorf("an ID that was never given out resumes at %s, want the beginning", got[0])
	}
	cancel()
	for range future {
		// Drained until the channel is closed.
	}
}

func TestSlowSubscriberHoldsNobodyUpAndMissesNothing(t *testing.T) {
	j := open(t, t.TempDir(), journal.Options{})
	slow := j.Subscribe(t.Context(), 0, status.EventFilter{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		record(j, 1, 20_000)
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("Record waits for a subscriber that does not read")
	}
	if diff := cmp.Diff(numbers(1, 20_000), take(t, slow, 20_000)); diff != "" {
		t.Error(diff)
	}
}

func TestTornLineIsCutAndIDsNeverRepeat(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, journal.Options{})
	record(j, 1, 10)
	last := j.Last()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	// What a power cut leaves: no mark of a clean end, garbage, half a line.
	if err := os.Remove(filepath.Join(dir, "clean-v1")); err != nil {
		t.Fatal(err)
	}
	segments, _ := filepath.Glob(filepath.Join(dir, "events-*"))
	f, err := os.OpenFile(segments[len(segments)-1], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "%s\n{\"id\":11,\"mess", strings.Repeat("\x00", 64))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	j = open(t, dir, journal.Options{})
	e := j.Record(status.Event{Message: "next"})
	if e.ID <= last+5000 {
		t.Errorf("after a crash at %d the next ID is %d; IDs that were published but not saved may repeat", last, e.ID)
	}
	got := take(t, j.Subscribe(t.Context(), 0, status.EventFilter{}), 11)
	if diff := cmp.Diff(append(numbers(1, 10), "next"), got); diff != "" {
		t.Error(diff)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	recent, err := open(t, dir, journal.Options{}).Recent(t.Context(), status.EventFilter{}, 2)
	if err != nil || len(recent) != 2 || recent[1].Message != "next" {
		t.Errorf("Recent = %v, %v", recent, err)
	}
}

func TestDiskUseIsBounded(t *testing.T) {
	dir := t.TempDir()
	const most = 256 << 10
	j := open(t, dir, journal.Options{MaxBytes: most, MaxEvents: 1000})
	text := strings.Repeat("x", 500)
	for i := range 5000 {
		j.Record(status.Event{Message: fmt.Sprint(i, text)})
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	var size int64
	segments, _ := filepath.Glob(filepath.Join(dir, "events-*"))
	for _, s := range segments {
		info, err := os.Stat(s)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > most || size < most/2 {
		t.Errorf("the segments hold %d bytes, want just below %d", size, most)
	}
	j = open(t, dir, journal.Options{MaxBytes: most, MaxEvents: 1000})
	recent, err := j.Recent(t.Context(), status.EventFilter{}, 10_000)
	if err != nil || len(recent) < 100 || len(recent) > 1000 || recent[len(recent)-1].ID != 5000 {
		t.Errorf("%d events are left (%v), want the newest few hundred up to ID 5000", len(recent), err)
	}
}

// TestDiskThatRefuses fills a real file system, or where that is not permitted
// takes the right to write away, and gives it back.
func TestDiskThatRefuses(t *testing.T) {
	dir, fill, free := smallDisk(t)
	var log bytes.Buffer
	j, err := journal.Open(dir, journal.Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), MaxEvents: 80})
	if err != nil {
		t.Fatal(err)
	}
	fill()
	record(j, 1, 200)
	waitFor(t, "the trouble to be noticed", func() bool { return j.Trouble() != "" })
	sub := j.Subscribe(t.Context(), 0, status.EventFilter{App: "app0"})
	if got := take(t, sub, 66); got[65] != "198" {
		t.Errorf("subscribers got %v, want every event although none can be saved", got)
	}
	free()
	waitFor(t, "the events to be saved", func() bool { return j.Trouble() == "" })
	recent, err := j.Recent(t.Context(), status.EventFilter{Reason: status.DiskLow}, 10)
	if err != nil || len(recent) != 1 {
		t.Errorf("events that say so: %v, %v; want one", recent, err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "cannot be saved") {
		t.Errorf("the log does not say so:\n%s", log.String())
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited 20 s for %s", what)
		}
	}
}

func TestEvidenceIsKeptAndBounded(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, journal.Options{MaxEvidence: 2 << 20})
	at := time.Now().Add(-time.Hour)
	keep := func(env, app, service, tag string, n int, size int) {
		t.Helper()
		err := j.Keep(status.Evidence{
			Time: at.Add(time.Duration(n) * time.Second), Environment: env, App: app, Service: service,
			Release: "9f3c1a2b" + tag, Tag: tag, Container: "c0ffee", Output: bytes.Repeat([]byte("x"), size), Message: fmt.Sprint(n),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := range 8 {
		keep("production", "shop", "web", fmt.Sprintf("v%d", n), n, 300<<10)
	}
	keep("staging", "../shop", "web", "v1", 1, 10)

	got, err := j.Failed("shop", "web", "")
	if err != nil || len(got) != 5 || got[0].Message != "7" || got[4].Message != "3" {
		t.Fatalf("Failed = %d entries, %v; want the last five, newest first", len(got), err)
	}
	if n := len(got[0].Output); n != 256<<10 {
		t.Errorf("%d bytes of output kept, want the last 256 KiB", n)
	}
	if got, _ := j.Failed("production/shop", "", "v6"); len(got) != 1 || got[0].Tag != "v6" {
		t.Errorf("by release: %v", got)
	}
	if outside, _ := filepath.Glob(filepath.Join(dir, "shop*")); len(outside) != 0 {
		t.Errorf("a name with dots and slashes left the evidence folder: %v", outside)
	}
	for n := range 30 {
		keep("production", "big", fmt.Sprintf("s%d", n), "v1", 100+n, 200<<10)
	}
	if got, _ := j.Failed("big", "", ""); len(got) > 8 || len(got) < 6 || got[0].Message != "129" {
		t.Errorf("%d entries of 270 kB are left of a bound of 2 MiB", len(got))
	}
}
