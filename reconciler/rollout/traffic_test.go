package rollout

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

func TestProbes(t *testing.T) {
	hc := &manifests.Healthcheck{Test: []string{"CMD", "ok"}}
	tests := []struct {
		name    string
		release ledger.Release
		want    []traffic.Probe
	}{
		{"worker", ledger.Release{Service: manifests.Service{Kind: manifests.KindWorker, Expose: []uint16{80}}}, nil},
		{"image_expose_gates_nothing", ledger.Release{Service: manifests.Service{Kind: manifests.KindEndpoint}, Exposed: []uint16{80}}, nil},
		{
			"guess",
			ledger.Release{Service: manifests.Service{Kind: manifests.KindEndpoint, Expose: []uint16{80}}},
			[]traffic.Probe{{Port: 80, Guess: true, Interval: time.Second, Timeout: 5 * time.Second, Rise: 2, Fall: 3}},
		},
		{
			"guess_once_beside_a_healthcheck",
			ledger.Release{Service: manifests.Service{Kind: manifests.KindEndpoint, Expose: []uint16{80}}, Healthcheck: hc},
			[]traffic.Probe{{Port: 80, Guess: true, Once: true, Interval: time.Second, Timeout: 5 * time.Second, Rise: 2, Fall: 3}},
		},
		{
			"tcp_connects_once",
			ledger.Release{Service: manifests.Service{Kind: manifests.KindEndpoint, Expose: []uint16{5432}, Ports: []manifests.Port{{Target: 5432, App: "tcp"}}}},
			[]traffic.Probe{{Port: 5432, Once: true, Interval: time.Second, Timeout: 5 * time.Second, Rise: 2, Fall: 3}},
		},
		{
			"written",
			ledger.Release{Service: manifests.Service{
				Kind: manifests.KindEndpoint, Expose: []uint16{80, 443}, Ports: []manifests.Port{{Target: 443}},
				Probe: &manifests.Probe{HTTP: "/up", Interval: 2 * time.Second, Timeout: time.Second, Rise: 1, Fall: 2},
			}, Healthcheck: hc},
			[]traffic.Probe{{Port: 443, HTTP: "/up", Interval: 2 * time.Second, Timeout: time.Second, Rise: 1, Fall: 2}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, probes(&tt.release)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWarmingDeadlineIsNeverShorterThanTheHealthcheck(t *testing.T) {
	r := ledger.Release{
		Service:     manifests.Service{Kind: manifests.KindEndpoint, Expose: []uint16{80}},
		Healthcheck: &manifests.Healthcheck{Test: []string{"CMD", "ok"}, Interval: 30 * time.Second, Timeout: 10 * time.Second, StartPeriod: 2 * time.Minute, Retries: 5},
	}
	least := 2*time.Minute + 5*(30*time.Second+10*time.Second)
	if got := WarmingDeadline(&r); got < least {
		t.Errorf("deadline %s, want at least %s", got, least)
	}
	r.Healthcheck.StartPeriod = 0
	if got := WarmingDeadline(&r); got < least-2*time.Minute {
		t.Errorf("deadline without a start period %s", got)
	}
}

// unit is an app whose web has its own address, whose side joins web's network
// and whose host uses the host's.
func unit() (ledger.App, map[string]engine.Container) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	one := func(name, unitOf, mode string) *ledger.Service {
		return &ledger.Service{Name: name, Active: &ledger.Deployed{
			Release: ledger.Release{ID: "v1:" + name, Service: manifests.Service{
				Name: name, Unit: unitOf, Kind: manifests.KindEndpoint, Expose: []uint16{80},
				Container: manifests.Container{NetworkMode: mode, Networks: []manifests.Attachment{{Network: "back"}, {Network: "default"}}},
			}},
			Instances: []ledger.Instance{{Index: 1, Name: name, Key: "k" + name, Container: "c" + name, Addresses: map[string]netip.Addr{
				"shop_back": netip.MustParseAddr("10.0.1.9"), "shop_default": netip.MustParseAddr("10.0.0.9"),
			}}},
		}}
	}
	app := ledger.App{
		Environment: "prod", Name: "shop", Project: "shop",
		NetworkSpecs: []manifests.Network{{Key: "default", Name: "shop_default"}, {Key: "back", Name: "shop_back"}},
		Services:     map[string]*ledger.Service{"web": one("web", "web", ""), "side": one("side", "web", "service:web"), "host": one("host", "host", "host")},
	}
	app.Services["side"].Active.Instances[0].Addresses = nil
	cs := map[string]engine.Container{}
	for _, n := range []string{"web", "side", "host"} {
		cs["c"+n] = engine.Container{ID: "c" + n, State: engine.Running, Started: at}
	}
	return app, cs
}

func TestTrafficAddresses(t *testing.T) {
	app, cs := unit()
	got := map[string]string{}
	for _, s := range Traffic(app, cs) {
		for _, r := range s.Releases {
			for _, e := range r.Endpoints {
				got[s.Name] = e.Address.String()
				if !e.Fixed || e.Down {
					t.Errorf("%s: %+v", s.Name, e)
				}
			}
		}
	}
	want := map[string]string{"prod/shop/web": "10.0.0.9", "prod/shop/side": "10.0.0.9", "prod/shop/host": "127.0.0.1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTrafficSaysWhatIsDown(t *testing.T) {
	app, cs := unit()
	c := cs["cweb"]
	c.State = engine.Exited
	cs["cweb"] = c
	for _, s := range Traffic(app, cs) {
		if s.Name == "prod/shop/web" && (s.Active != "v1:web" || !s.Releases[0].Endpoints[0].Down) {
			t.Errorf("%+v", s)
		}
	}
}

func TestBack(t *testing.T) {
	former := ledger.Release{ID: "v1:old", Digest: "sha256:aa", Service: manifests.Service{Kind: manifests.KindEndpoint, Expose: []uint16{80}, Container: manifests.Container{Image: "web:v1"}}}
	active := &ledger.Deployed{Release: ledger.Release{ID: "v1:new"}}
	tests := []struct {
		name    string
		service *ledger.Service
		images  []map[string]bool
		want    string
	}{
		{"nothing_before", &ledger.Service{Active: active}, nil, "never"},
		{"paused", &ledger.Service{Active: active, Standby: &ledger.Deployed{Release: former, Frozen: true}}, nil, "instant"},
		{"stopped", &ledger.Service{Active: active, Standby: &ledger.Deployed{Release: former, Drained: true}}, nil, "3s"},
		{"image_kept", &ledger.Service{Active: active, Promoted: []ledger.Release{active.Release, former}}, nil, "3s"},
		{"image_gone", &ledger.Service{Active: active, Promoted: []ledger.Release{active.Release, former}}, []map[string]bool{{}}, "pull"},
		{"image_there", &ledger.Service{Active: active, Promoted: []ledger.Release{former}}, []map[string]bool{{"web@sha256:aa": true}}, "3s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app := ledger.App{Services: map[string]*ledger.Service{"web": tt.service}}
			if got := Back(app, "web", tt.images...); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestRetryPace(t *testing.T) {
	hc := &ledger.Deployed{Release: ledger.Release{Healthcheck: &manifests.Healthcheck{Interval: time.Second}}}
	for n, want := range map[int]time.Duration{1: 250 * time.Millisecond, 2: 500 * time.Millisecond, 3: time.Second, 9: time.Second} {
		if got := (Action{Kind: Health, Deployed: hc}).Retry(n); got != want {
			t.Errorf("health check, attempt %d: %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int]time.Duration{1: time.Second, 4: 8 * time.Second, 40: 5 * time.Minute} {
		if got := (Action{Kind: Pull}).Retry(n); got != want {
			t.Errorf("pull, attempt %d: %s, want %s", n, got, want)
		}
	}
}

// TestCandidates: an after-job gets the address of the candidate that it
// depends on.
func TestCandidates(t *testing.T) {
	app, cs := unit()
	to := app.Services["web"].Active
	app.Services = nil
	app.Rollout = &ledger.Rollout{
		Phase: ledger.Rolling, Waves: []ledger.Wave{{Services: []string{"web"}, After: []string{"smoke"}}},
		Changes: map[string]*ledger.Change{
			"web": {Action: ledger.Replace, To: to},
			"smoke": {Action: ledger.Run, To: &ledger.Deployed{Release: ledger.Release{Service: manifests.Service{
				DependsOn: []manifests.Dependency{{Service: "web"}},
			}}}},
		},
	}
	turn := &turn{was: &app, app: &app, obs: &Observation{Containers: cs}}
	env, first := turn.candidates("smoke", &app.Rollout.Waves[0])
	want := map[string]string{"REMORA_CANDIDATE": "10.0.0.9:80", "REMORA_CANDIDATE_WEB": "10.0.0.9:80"}
	if diff := cmp.Diff(want, env); diff != "" || first != "10.0.0.9:80" {
		t.Error(diff, first)
	}
}
