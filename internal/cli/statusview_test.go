package cli

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/internal/status"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestStatusTables(t *testing.T) {
	now := time.Date(2026, 11, 20, 14, 5, 3, 0, time.UTC)
	two := rolledBack(now)
	two.Apps[0].Environment = "staging"
	for name, tc := range map[string]struct {
		host  status.Host
		width int
		wide  bool
	}{
		"rolled-back":       {rolledBack(now), unbounded, false},
		"rolled-back-80":    {rolledBack(now), 80, false},
		"rolled-back-wide":  {rolledBack(now), unbounded, true},
		"rolling-80":        {rolling(now), 80, false},
		"unreadable-80":     {unreadable(now), 80, false},
		"unreadable":        {unreadable(now), unbounded, false},
		"two-environments":  {two, 120, false},
		"nothing":           {status.Host{Name: "web-8"}, 80, false},
		"nothing-yet-known": {status.Host{Name: "web-8", AgentVersion: "1", Engine: status.EngineState{Connected: true}, Ambassador: status.Ambassador{Connected: true}, Sources: []status.Source{{Environment: "production"}}}, 80, false},
	} {
		t.Run(name, func(t *testing.T) {
			v := statusView{now: now, width: tc.width, wide: tc.wide}
			golden(t, "status-"+name+".txt", strings.Join(v.lines(tc.host), "\n")+"\n")
		})
	}
}

// TestStatusIsAsTheDesignShows holds the table to the letter of DESIGN §9.
func TestStatusIsAsTheDesignShows(t *testing.T) {
	now := time.Now()
	h := rolledBack(now)
	h.Apps = h.Apps[1:]
	h.Apps[0].Services = h.Apps[0].Services[1:3]
	got := statusView{now: now, width: unbounded}.lines(h)
	want := []string{
		"web-7  production  main@67e2c98a  fetched 12s ago  agent 1.3.0     2 need you",
		"APP/SERVICE    RUNNING  WANTED  TRAFFIC  STATE      BACK     SINCE  WHY",
		"shop/web       v43      v44        100%  RolledBack instant  4m     v44 failed: GET /up 500 x6 → remora logs shop/web --failed",
		"shop/postgres  16.4     16.4       100%  Healthy    never    9d",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestEveryReasonHasARow shows each reason in the table and in explain: none
// may come out empty, without a colour, or as a bare name with no sentence.
func TestEveryReasonHasARow(t *testing.T) {
	on := style{on: true}
	for _, e := range status.Reasons() {
		h := rolledBack(time.Now())
		h.Apps = h.Apps[1:]
		h.Apps[0].Reason, h.Apps[0].Message = e.Reason, ""
		for i := range h.Apps[0].Services {
			h.Apps[0].Services[i].Reason, h.Apps[0].Services[i].Message = e.Reason, ""
		}
		text := strings.Join(statusView{style: on, now: time.Now(), width: unbounded}.lines(h), "\n")
		if !e.Reason.Open() && !strings.Contains(text, "m"+string(e.Reason)) {
			t.Errorf("%s is not in the table:\n%s", e.Reason, text)
		}
		if e.NeedsPerson && !strings.Contains(text, "→ remora ") {
			t.Errorf("%s needs a person and the table names no command:\n%s", e.Reason, text)
		}
		gates, live := status.Chain(status.Gate{Reason: e.Reason})
		lines := explainLines(status.Explanation{Live: live, Gates: gates}, on, time.Now())
		last := strings.Join(lines[max(0, len(lines)-3):], "\n")
		if live != strings.Contains(last, "live") || (!live && !strings.Contains(last, e.Remedy)) {
			t.Errorf("%s: explain ends with\n%s", e.Reason, last)
		}
	}
}

func TestClipCountsWhatIsSeen(t *testing.T) {
	red := style{on: true}.bad("RolledBack") + " ✗ now"
	if n := visible(red); n != 16 {
		t.Errorf("visible = %d, want 16", n)
	}
	if got := clip(red, 13); visible(got) != 13 || !strings.HasSuffix(got, "…") {
		t.Errorf("clip = %q", got)
	}
	if got := clip("short", 13); got != "short" {
		t.Errorf("clip = %q", got)
	}
}
