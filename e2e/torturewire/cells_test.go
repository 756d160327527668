package main

import (
	"context"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/load"
	"github.com/remorahq/remora/e2e/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A selection of the matrix, with a light load and no bound on times: `make
// torture-wire` is the whole of it.
func TestCells(t *testing.T) {
	bin := host.Bin(t)
	for _, e := range []wire.Event{wire.Switch, wire.Rollback, wire.Canary, wire.Deadline, wire.Kill, wire.Fall, wire.Reuse, wire.Upgrade, wire.Crash} {
		t.Run(slug(e), func(t *testing.T) {
			dir := t.TempDir()
			web := webFor(e)
			web.tempers = slices.DeleteFunc(web.tempers, func(t string) bool { return t == shortKeepAlive }) // it needs a core in time
			st := newStage(t, bin, dir, web)
			clients := slices.DeleteFunc(groups(wire.Kinds(), st.ports), func(g load.Group) bool { return g.Own == slowAnswer })
			for i := range clients {
				clients[i].Rate = max(1, clients[i].Rate/4)
			}
			st.torture(e, clients, 2*time.Second, func(ctx context.Context) { st.happen(ctx, e) })
			if len(st.incidents) == 0 {
				t.Errorf("nothing happened")
			}
			cells, _ := judge(t, dir, 3)
			if len(cells) != len(wire.Kinds()) {
				t.Errorf("%d kinds were judged, want %d", len(cells), len(wire.Kinds()))
			}
			for _, c := range cells {
				if broken := c.Broken() - c.Slow; broken > 0 || c.Answered == 0 || c.Sent != c.Answered {
					t.Errorf("%s\n%s", c, c.Explain())
				}
			}
		})
	}
}

func TestChooser(t *testing.T) {
	var got []wire.Event
	choose := chooser(wire.Events(), &got)
	if err := choose("switch,IP-reuse"); err != nil || len(got) != 2 || got[1] != wire.Reuse {
		t.Errorf("chose %v: %v", got, err)
	}
	if err := choose("earthquake"); err == nil {
		t.Error("an unknown row is no error")
	}
}
