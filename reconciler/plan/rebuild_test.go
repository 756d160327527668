package plan

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// TestRebuildPlaces: the table says which release is active, the labels which
// one it is; migrations are not run again.
func TestRebuildPlaces(t *testing.T) {
	app := parseApp(t, "migrate app:v2 job\nweb app:v2 port=80:3000 depends=migrate replicas=2\nworker app:v2")
	var l ledger.App
	var in Input
	for _, tag := range []string{"v1", "v2"} {
		app = parseApp(t, "migrate app:"+tag+" job\nweb app:"+tag+" port=80:3000 depends=migrate replicas=2\nworker app:"+tag)
		in = input(app, l)
		l = succeed(in, Plan(in))
	}
	in = input(app, l)
	for i := range in.Containers { // a restart policy left behind on the standby must not decide
		if in.Containers[i].Labels[engine.LabelService] == "web" {
			in.Containers[i].Restart = "unless-stopped"
		}
	}
	got := Rebuild(RebuildInput{App: app, Images: in.Images, Key: in.Key, Containers: in.Containers, Table: tableOf(l), Now: noon})
	web, wantWeb := got.Services["web"], l.Services["web"]
	if web.Active.ID != wantWeb.Active.ID || web.Standby == nil || web.Standby.ID != wantWeb.Standby.ID || len(web.Active.Instances) != 2 {
		t.Errorf("web: active %v, standby %v", web.Active, web.Standby)
	}
	if i := web.Active.Instances[1]; i.Index != 2 || i.Key != wantWeb.Active.Instances[1].Key || i.Container != wantWeb.Active.Instances[1].Container {
		t.Errorf("second instance: %+v", i)
	}
	if !web.Standby.Frozen || web.Standby.Tag != "v1" {
		t.Errorf("standby %s, frozen %v", web.Standby.Tag, web.Standby.Frozen)
	}
	worker := got.Services["worker"]
	if worker.Active.ID != l.Services["worker"].Active.ID || len(worker.Leaving) != 1 || worker.Leaving[0].Place != ledger.ToRemoval {
		t.Errorf("worker: active %v, leaving %v", worker.Active, worker.Leaving)
	}
	job := Wanted(app, in.Images)["migrate"]
	if got.Services["migrate"].Jobs[job].State != ledger.JobDone {
		t.Errorf("migrate: %+v", got.Services["migrate"].Jobs)
	}
	in.Ledger = got
	if r := Plan(in); !r.NoChange {
		t.Errorf("the rebuilt ledger changes something:\n%s", shown(r))
	}
}

// TestRebuildUnfinished: a one-shot whose dependants do not run yet in the
// wanted release is still to be run.
func TestRebuildUnfinished(t *testing.T) {
	app := parseApp(t, "migrate app:v1 job\nweb app:v1 port=80:3000 depends=migrate")
	in := input(app, ledger.App{})
	l := succeed(in, Plan(in))
	next := parseApp(t, "migrate app:v2 job\nweb app:v2 port=80:3000 depends=migrate")
	in = input(next, l)
	in.Ledger = Rebuild(RebuildInput{App: next, Images: in.Images, Key: in.Key, Containers: in.Containers, Table: tableOf(l), Now: noon})
	r := Plan(in)
	if r.Changes["migrate"] == nil || r.Changes["web"] == nil {
		t.Errorf("the plan forgets a service:\n%s", shown(r))
	}
}

func TestRebuildAnonymousVolumes(t *testing.T) {
	const made = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	app := parseApp(t, "db redis:7")
	app.Services[0].Container.Mounts = []manifests.Mount{{Kind: manifests.MountAnonymous, Target: "/data"}}
	in := input(app, ledger.App{})
	l := succeed(in, Plan(in))
	in = input(app, l)
	in.Containers[0].Mounts = []engine.Observed{{Type: "volume", Name: made, Target: "/data"}, {Type: "volume", Name: "shop_x", Target: "/x"}}
	got := Rebuild(RebuildInput{App: app, Images: in.Images, Key: in.Key, Containers: in.Containers, Now: noon})
	want := map[int]map[string]string{1: {"/data": made}}
	if diff := cmp.Diff(want, got.Services["db"].Anonymous); diff != "" {
		t.Errorf("anonymous volumes (-want +got):\n%s", diff)
	}
}

// TestRebuildLeavesAddresses: a container that takes another's place after a
// rebuild may have another address; the ledger must not hold to the former one.
func TestRebuildLeavesAddresses(t *testing.T) {
	app := parseApp(t, "web app:v1 port=80:3000")
	in := input(app, ledger.App{})
	l := succeed(in, Plan(in))
	in = input(app, l)
	in.Containers[0].Addresses = map[string]netip.Addr{"shop_default": netip.MustParseAddr("10.210.0.140")}
	got := Rebuild(RebuildInput{App: app, Images: in.Images, Key: in.Key, Containers: in.Containers, Table: tableOf(l), Now: noon})
	if a := got.Services["web"].Active.Instances[0].Addresses; len(a) > 0 {
		t.Errorf("addresses %v, want none in the ledger", a)
	}
}

func TestRebuildHost(t *testing.T) {
	c := engine.Container{Name: "shop-web-1", Restart: "unless-stopped", Addresses: map[string]netip.Addr{"shop_default": netip.MustParseAddr("10.210.0.140")}, Labels: map[string]string{
		engine.LabelEnvironment: "production", engine.LabelApp: "shop", engine.LabelRelease: "v1:x", engine.LabelComposeProject: "shop",
		engine.LabelImage: "app:v1", engine.LabelDigest: "sha256:a",
	}}
	n := network("10.210.0.0/24")
	n.Labels = map[string]string{engine.LabelApp: "shop"}
	web := []traffic.Route{{Service: "production/shop/web", Port: 3000}}
	table := traffic.Table{Generation: 9, Listeners: []traffic.Listener{
		{ListenerKey: traffic.ListenerKey{Port: 80}, Routes: append([]traffic.Route{{Host: "a.example.com", Path: "/v1", Service: "production/blog/web", Port: 1}}, web...)},
		{ListenerKey: traffic.ListenerKey{Port: 30100}, Routes: web},
		{ListenerKey: traffic.ListenerKey{Namespace: "shop_default", Address: netip.MustParseAddr("10.210.0.200"), Port: 3000}, Routes: web},
	}}
	got := RebuildHost([]engine.Container{c, {Name: "foreign"}}, []engine.Network{n, {Name: "bridge"}}, table, noon)
	want := ledger.Host{
		Version: ledger.Version,
		Digests: map[string]ledger.Digest{"app:v1": {Digest: "sha256:a", ResolvedAt: noon}},
		Subnets: map[string]netip.Prefix{"shop_default": netip.MustParsePrefix("10.210.0.0/24")},
		Ports:   map[string]uint16{"production/shop/web/3000": 30100},
		Claims: map[string]string{
			"project/shop": "production/shop", "port/:80": "production/shop", "route/:80/a.example.com/v1": "production/blog",
		},
		Addresses: map[string]map[netip.Addr]ledger.Address{"shop_default": {
			netip.MustParseAddr("10.210.0.140"): {Owner: "shop-web-1"},
			netip.MustParseAddr("10.210.0.200"): {Owner: ServiceOwner("production", "shop", "web")},
		}},
	}
	if diff := cmp.Diff(want, got, equalAddresses); diff != "" {
		t.Errorf("host (-want +got):\n%s", diff)
	}
}
