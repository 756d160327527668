package reconciler

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
)

// inTable is the service's part of the table in force.
func (b *bench) inTable(name string) traffic.Service {
	b.traffic.mu.Lock()
	defer b.traffic.mu.Unlock()
	for _, s := range b.traffic.table.Services {
		if s.Name == name {
			return s
		}
	}
	return traffic.Service{}
}

// Maintenance is in the table, in the status and in the explanation, outlasts
// the agent, lets commits through, and ends by a person or by its time.
func TestMaintenance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "shop")
		stop := b.run(t.Context())
		settled(10 * time.Second)
		do := func(c status.Command) status.Answer {
			t.Helper()
			c.Verb, c.App, c.Actor = "maintenance", "shop", status.Actor{Kind: "user", Name: "ann"}
			a, err := b.Do(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			settled(time.Second)
			return a
		}
		a := do(status.Command{Notice: "Back at noon.", Reason: "upgrade", For: time.Hour})
		if !strings.Contains(a.Ends, "remora maintenance production/shop off") || !strings.Contains(a.Ends, "1h0m0s") {
			t.Errorf("ends %q", a.Ends)
		}
		in := b.inTable("production/shop/web")
		if !in.Maintenance || in.Notice != "Back at noon." || in.Active == "" || time.Until(in.MaintenanceUntil) > time.Hour || len(in.Releases) != 1 || in.Releases[0].State != traffic.Active {
			t.Fatalf("table %+v", in)
		}
		row := b.app("shop").Services[0]
		if row.Reason != status.Maintenance || row.Traffic != 0 || row.Health != status.Healthy || !strings.Contains(row.Message, "ann") || !strings.Contains(row.Message, "upgrade") {
			t.Errorf("row %+v", row)
		}
		e, err := b.Explain(t.Context(), "shop")
		if err != nil || e.Live || e.Gates[len(e.Gates)-1].Reason != status.Maintenance || !strings.Contains(e.Gates[len(e.Gates)-1].Next, "off") {
			t.Errorf("explanation %+v, %v", e, err)
		}

		for _, url := range []string{"http://shop.example.com/", "https://shop.example.com/x"} {
			e, err := b.Explain(t.Context(), url)
			last := e.Gates[len(e.Gates)-1]
			if err != nil || e.Live || last.Reason != status.Maintenance || last.Name != "open" || e.Gates[0].Name != "listener" || e.Route == nil || e.Route.Refused.Status != 503 {
				t.Errorf("explanation %+v, %v", e, err)
			}
		}
		if _, err := b.Explain(t.Context(), "ftp://x/"); !isProblem(err) {
			t.Errorf("ftp: %v", err)
		}

		stop()
		b.make(t)
		stop = b.run(t.Context())
		settled(10 * time.Second)
		if in := b.inTable("production/shop/web"); !in.Maintenance || in.Notice != "Back at noon." {
			t.Fatalf("after a restart: %+v", in)
		}
		b.wants("bbbb", "shop:v2", "shop")
		if _, err := b.Do(t.Context(), status.Command{Verb: "reconcile"}); err != nil {
			t.Fatal(err)
		}
		settled(time.Minute)
		wantReady(t, b, "shop", "v2")
		if in := b.inTable("production/shop/web"); !in.Maintenance {
			t.Fatal("a commit ended it")
		}

		do(status.Command{Off: true})
		if in := b.inTable("production/shop/web"); in.Maintenance || in.Notice != "" {
			t.Fatalf("off: %+v", in)
		}
		if row := b.app("shop").Services[0]; row.Traffic != 100 || row.Reason == status.Maintenance {
			t.Errorf("row %+v", row)
		}

		do(status.Command{For: time.Minute})
		settled(time.Minute)
		if in := b.inTable("production/shop/web"); in.Maintenance {
			t.Fatal("its time did not end it")
		}
		stop()
	})
}

func TestMaintenanceRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, t.TempDir())
		b.wants("aaaa", "shop:v1", "shop")
		stop := b.run(t.Context())
		defer stop()
		settled(10 * time.Second)
		for _, c := range []status.Command{
			{Off: true}, {Service: "nobody"}, {Notice: strings.Repeat("x", maxNotice+1)},
		} {
			c.Verb, c.App = "maintenance", "shop"
			if _, err := b.Do(t.Context(), c); !isProblem(err) {
				t.Errorf("%+v: %v", c, err)
			}
		}
	})
}

func isProblem(err error) bool {
	_, ok := errors.AsType[*status.Error](err)
	return ok
}
