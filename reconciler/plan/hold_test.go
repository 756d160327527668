package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// TestFailedBefore: what failed without a quarantine is not tried for ever.
func TestFailedBefore(t *testing.T) {
	app := parseApp(t, "web app:v1 port=80:3000")
	wanted := Wanted(app, input(app, ledger.App{}).Images)
	other := map[string]string{"web": "v1:other"}
	for _, tt := range []struct {
		name  string
		last  *ledger.Outcome
		seen  string
		held  bool
		again time.Time
	}{
		{name: "first"},
		{name: "failed", last: &ledger.Outcome{Reason: status.HealthCheckFailed, Wanted: wanted}, seen: "x", held: true},
		{name: "same_revision", last: &ledger.Outcome{Reason: status.HealthCheckFailed, Revision: "main@sha1:1"}, seen: "x", held: true},
		{name: "retried_by_a_person", last: &ledger.Outcome{Reason: status.HealthCheckFailed, Wanted: wanted}},
		{name: "another_release", last: &ledger.Outcome{Reason: status.HealthCheckFailed, Wanted: other}, seen: "x"},
		{name: "succeeded", last: &ledger.Outcome{Reason: status.Succeeded, Wanted: wanted}, seen: "x"},
		{name: "superseded", last: &ledger.Outcome{Reason: status.Superseded, Wanted: wanted}, seen: "x"},
		{name: "waits", last: &ledger.Outcome{Reason: status.RegistryUnavailable, Wanted: wanted, Retry: noon.Add(time.Minute)}, held: true, again: noon.Add(time.Minute)},
		{name: "due", last: &ledger.Outcome{Reason: status.RegistryUnavailable, Wanted: wanted, Retry: noon}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Plan(input(app, ledger.App{Last: tt.last, Seen: tt.seen}))
			if held := r.Hold != nil; held != tt.held || held && r.Hold.Reason != tt.last.Reason {
				t.Errorf("held %v, want %v", r.Hold, tt.held)
			}
			if !r.Again.Equal(tt.again) {
				t.Errorf("again at %v, want %v", r.Again, tt.again)
			}
		})
	}
}

// TestPin: a pin holds until the desired release of a pinned service changes.
func TestPin(t *testing.T) {
	v1 := parseApp(t, "web app:v1 port=80:3000\ncache redis:7")
	in := input(v1, ledger.App{})
	l := succeed(in, Plan(in))
	v2 := parseApp(t, "web app:v2 port=80:3000\ncache redis:7")
	wanted := map[string]string{"web": Wanted(v2, input(v2, l).Images)["web"]}
	for _, tt := range []struct {
		name  string
		app   manifests.App
		until time.Time
		held  bool
		ended bool
	}{
		{name: "same", app: v2, held: true},
		{name: "unrelated_change", app: parseApp(t, "web app:v2 port=80:3000\ncache redis:8"), held: true},
		{name: "next_release", app: parseApp(t, "web app:v3 port=80:3000\ncache redis:7"), ended: true},
		{name: "reverted", app: v1, ended: true},
		{name: "until", app: v2, until: noon.Add(time.Hour), held: true},
		{name: "expired", app: v2, until: noon, ended: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.Pin = &ledger.Override{By: status.Actor{Name: "ann"}, Wanted: wanted, Until: tt.until, Reason: "checkout 500"}
			r := Plan(input(tt.app, l))
			if held := r.Hold != nil; held != tt.held || held && (r.Hold.Reason != status.Pinned || !strings.Contains(r.Hold.String(), "ann")) {
				t.Errorf("held: %v, want %v", r.Hold, tt.held)
			}
			if r.PinEnded != tt.ended {
				t.Errorf("pin ended: %v, want %v", r.PinEnded, tt.ended)
			}
			if tt.held && !r.Again.Equal(tt.until) {
				t.Errorf("again at %v, want %v", r.Again, tt.until)
			}
		})
	}
}

// TestUnresolvedImage: without an image there is no release, and no plan.
func TestUnresolvedImage(t *testing.T) {
	in := input(parseApp(t, "web app:v1 port=80:3000"), ledger.App{})
	in.Images = nil
	if r := Plan(in); r.Hold == nil || r.Hold.Service != "web" || r.Hold.Remedy == "" {
		t.Errorf("held: %+v", r.Hold)
	}
}

// TestReachedDirectly: where the engine's own name leads to a service, its
// releases never run side by side, whatever the default is.
func TestReachedDirectly(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		direct     bool
		want       manifests.Order
	}{
		{"proxied", "web app:v1 expose=80\nother app:v1", false, manifests.StartFirst},
		{"direct", "web app:v1 expose=80\nother app:v1", true, manifests.StopFirst},
		{"alone", "web app:v1 expose=80", true, manifests.StartFirst},
		{"written", "web app:v1 expose=80 order=start-first\nother app:v1", true, manifests.StartFirst},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(parseApp(t, tt.file), ledger.App{})
			in.Direct = tt.direct
			to := Plan(in).Changes["web"].To
			if to.Service.Order != tt.want {
				t.Errorf("order %s, want %s", to.Service.Order, tt.want)
			}
		})
	}
}

// TestShow: what `remora plan` prints names the reason.
func TestShow(t *testing.T) {
	app := parseApp(t, "web app:v1 port=80:3000")
	in := input(app, ledger.App{})
	first := Plan(in)
	for _, tt := range []struct {
		r    Result
		want status.Reason
	}{
		{first, status.Progressing},
		{Plan(input(app, succeed(in, first))), status.NoChange},
		{Result{Kind: ledger.Return}, status.Returning},
		{Result{Hold: &Held{Reason: status.Foreign}}, status.Foreign},
	} {
		if got := tt.r.Show(app.ID()); got.Reason != tt.want || got.App != app.ID() {
			t.Errorf("Show = %+v, want %s", got, tt.want)
		}
	}
}

// TestUnreachable: a routed service needs a network that the ambassador can
// reach.
func TestUnreachable(t *testing.T) {
	for _, tt := range []struct {
		name, file, mode, driver string
		held                     bool
	}{
		{name: "bridge", file: "web app:v1 port=80:3000"},
		{name: "macvlan", file: "web app:v1 port=80:3000", driver: "macvlan", held: true},
		{name: "macvlan_without_route", file: "web app:v1 expose=3000", driver: "macvlan"},
		{name: "none", file: "web app:v1 route=a.example.com:/", mode: "none", held: true},
		{name: "host", file: "web app:v1 port=80:3000", mode: "host", driver: "macvlan"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			app := parseApp(t, tt.file)
			app.Networks[0].Driver, app.Services[0].Container.NetworkMode = tt.driver, tt.mode
			r := Plan(input(app, ledger.App{}))
			if held := r.Hold != nil; held != tt.held || held && !strings.Contains(r.Hold.Message, "web has a published port") {
				t.Errorf("held %v, want %v", r.Hold, tt.held)
			}
		})
	}
}

// TestChosenPort: a port that remora chose for another app is taken too.
func TestChosenPort(t *testing.T) {
	in := input(parseApp(t, "web app:v1 port=30100:3000\nany app:v1 port=:9000"), ledger.App{})
	in.Host.Ports = map[string]uint16{"production/shop/any/9000": 30100}
	if r := Plan(in); r.Hold != nil {
		t.Errorf("its own port is taken: %s", r.Hold)
	}
	in.Host.Ports = map[string]uint16{"production/blog/any/9000": 30100}
	if r := Plan(in); r.Hold == nil || r.Hold.Reason != status.PortConflict || !strings.Contains(r.Hold.Message, "service production/blog/any") {
		t.Errorf("held: %v", r.Hold)
	}
}
