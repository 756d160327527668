package rig_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/rig"
)

func TestRun(t *testing.T) {
	var order []string
	var dir string
	note := func(what string) func() { return func() { order = append(order, what) } }
	tests := map[string]struct {
		main func(rig.TB)
		code int
		want string
	}{
		"good":  {func(tb rig.TB) { tb.Cleanup(note("first")); tb.Cleanup(note("second")) }, 0, "second first"},
		"fatal": {func(tb rig.TB) { tb.Cleanup(note("first")); tb.Fatalf("no"); note("after")() }, 1, "first"},
		"panic": {func(tb rig.TB) { tb.Cleanup(note("first")); panic("no") }, 1, "first"},
		"fatal cleanup": {func(tb rig.TB) {
			tb.Cleanup(note("first"))
			tb.Cleanup(func() { tb.Fatalf("no") })
		}, 1, "first"},
		"folder": {func(tb rig.TB) { dir = tb.TempDir() }, 0, ""},
	}
	for name, test := range tests {
		order = nil
		var out strings.Builder
		if code := rig.Run(name, &out, test.main); code != test.code {
			t.Errorf("%s: exit code %d, want %d:\n%s", name, code, test.code, out.String())
		}
		if got := strings.Join(order, " "); got != test.want {
			t.Errorf("%s: cleanups ran as %q, want %q", name, got, test.want)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the temporary folder is left: %v", err)
	}
}

func TestPoll(t *testing.T) {
	notYet := errors.New("not yet")
	tries := 0
	err := rig.Poll(t.Context(), time.Minute, func() error {
		if tries++; tries < 3 {
			return notYet
		}
		return nil
	})
	if err != nil || tries != 3 {
		t.Errorf("got %v after %d tries", err, tries)
	}
	if err := rig.Poll(t.Context(), 30*time.Millisecond, func() error { return notYet }); !errors.Is(err, notYet) {
		t.Errorf("got %v, want the last error of the condition", err)
	}
}
