package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/remorahq/remora/e2e/conformance/smuggling"
	"github.com/remorahq/remora/e2e/rig"
)

func TestMain(m *testing.M) { os.Exit(m.Run()) }

// Every stream of the table comes to what the table says, and every answer.
func TestSmuggling(t *testing.T) {
	f := newField(t, rig.Product(t))
	for _, c := range smuggling.Cases() {
		t.Run(c.Rule+"/"+c.Name, func(t *testing.T) {
			o, err := f.backend.Send(f.addr(f.http), c)
			if err != nil {
				t.Fatal(err)
			}
			if wrong := c.Judge(o, "127.0.0.1"); wrong != "" {
				t.Error(wrong)
			}
		})
	}
	for _, a := range smuggling.Answers() {
		t.Run("answer/"+a.Rule+"/"+a.Name, func(t *testing.T) {
			wrong, err := a.Judge(f.addr(f.raw), f.rawListener)
			if err != nil || wrong != "" {
				t.Error(wrong, err)
			}
		})
	}
}

// The judge must be able to fail: with nothing in the proxy's place, the
// backend sees what it must not.
func TestJudgeCanFail(t *testing.T) {
	b, err := smuggling.NewBackend()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	for _, c := range smuggling.Cases() {
		switch c.Name {
		case "fragment", "listed in Connection", "X-Forwarded-For is replaced", "all lines end with LF", "cl twice, the same":
		default:
			continue
		}
		o, err := b.Send(fmt.Sprintf("127.0.0.1:%d", b.Port()), c)
		if err != nil {
			t.Fatal(err)
		}
		o.Ended = true // the backend ends no connection; that is not the point here
		if c.Judge(o, "127.0.0.1") == "" {
			t.Errorf("%s passes without a proxy", c.Name)
		}
	}
}
