package plan

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

var equalAddresses = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

// payloadInput is a first instance of web, with db beside it.
func payloadInput(t *testing.T, text string) PayloadInput {
	t.Helper()
	app := parseApp(t, text)
	in := input(app, ledger.App{})
	in.Images["db"] = Image{Digest: "sha256:db", ImageID: "sha256:iddb", Exposed: []uint16{5432}, Volumes: []string{"/var/lib/db"}}
	r := Plan(in)
	if r.Hold != nil {
		t.Fatal(r.Hold)
	}
	web := r.Changes["web"].To
	l := ledger.App{Source: "main", Environment: "production", Name: "shop", Project: "shop", Rollout: r.Rollout(in, status.Actor{}, "")}
	web.Instances[0].Addresses = map[string]netip.Addr{"shop_default": netip.MustParseAddr("10.210.0.140")}
	return PayloadInput{
		Host: "web-7", App: l, Networks: r.Networks, Volumes: r.Volumes, Release: web.Release, Instance: web.Instances[0],
		Peers: Peers(l, "web", web.Release, true),
		ServiceAddresses: map[string]map[string]netip.Addr{"shop_default": {
			"web": netip.MustParseAddr("10.210.0.200"), "db": netip.MustParseAddr("10.210.0.201"),
		}},
	}
}

func TestPayload(t *testing.T) {
	in := payloadInput(t, "web reg:5000/app:v1 port=80:3000 volume=uploads env=A:1\ndb postgres:16 expose=5432")
	in.DNS = []string{"10.210.0.250"}
	in.Release.Service.HostEnv = map[string]string{"QUEUE": "of the host", "REMORA_HOST": "another"}
	c, err := Payload(in)
	if err != nil {
		t.Fatal(err)
	}
	id := in.Release.ID
	want := engine.Create{
		Name: "shop-web-" + Short(id) + "-1", Spec: in.Release.Service.Container,
		Image: "reg:5000/app@" + in.Release.Digest, NetworkMode: "shop_default", Restart: "no",
		Labels: map[string]string{
			"remora.host": "web-7", "remora.source": "main", "remora.environment": "production", "remora.app": "shop",
			"remora.service": "web", "remora.release": id, "remora.instance": in.Instance.Key, "remora.index": "1",
			"remora.digest": in.Release.Digest, "remora.image": "reg:5000/app:v1",
			"com.docker.compose.project": "shop", "com.docker.compose.service": "web", "com.docker.compose.container-number": "1",
			"com.docker.compose.oneoff": "False", "com.docker.compose.config-hash": id,
			"com.centurylinklabs.watchtower.enable": "false",
		},
		Env:        map[string]string{"QUEUE": "of the host", "REMORA_HOST": "web-7", "REMORA_RELEASE": id, "REMORA_INSTANCE": in.Instance.Key},
		Networks:   []engine.Endpoint{{Network: "shop_default", Address: netip.MustParseAddr("10.210.0.140")}},
		ExtraHosts: []string{"db:10.210.0.201", "web:10.210.0.200"}, DNS: []string{"10.210.0.250"},
		Mounts: []engine.Mount{{Type: "volume", Source: "shop_uploads", Target: "/uploads", Spec: in.Release.Service.Container.Mounts[0]}},
	}
	if diff := cmp.Diff(want, c, equalAddresses); diff != "" {
		t.Errorf("payload (-want +got):\n%s", diff)
	}
}

// TestPayloadStaysOutOfRelease: nothing that a payload depends on besides the
// release changes the release.
func TestPayloadStaysOutOfRelease(t *testing.T) {
	in := payloadInput(t, "web app:v1 port=80:3000\ndb postgres:16")
	before := in.Release.ID
	in.Candidate, in.Host, in.Direct = true, "other", true
	c, err := Payload(in)
	if err != nil {
		t.Fatal(err)
	}
	if c.Labels[engine.LabelRelease] != before || c.Spec.Resources.OOMScoreAdj != 0 || len(c.Spec.Labels) != 0 {
		t.Errorf("the spec carries what belongs to the host: %+v", c.Spec)
	}
	if c.OOMScoreAdj == nil || *c.OOMScoreAdj != candidateOOM {
		t.Errorf("a candidate's OOMScoreAdj = %v, want %d", c.OOMScoreAdj, candidateOOM)
	}
}

func TestPayloadNames(t *testing.T) {
	const file = "web app:v1 port=80:3000\ndb postgres:16 expose=5432\nquiet app:v1"
	for _, tt := range []struct {
		name    string
		change  func(in *PayloadInput)
		hosts   []string
		aliases []string
	}{
		{name: "proxied", change: func(*PayloadInput) {}, hosts: []string{"db:10.210.0.201", "web:10.210.0.200"}},
		{
			name: "link", change: func(in *PayloadInput) { in.Release.Service.Container.Links = []string{"db:mysql"} },
			hosts: []string{"db:10.210.0.201", "mysql:10.210.0.201", "web:10.210.0.200"},
		},
		{
			name:   "written_goes_first",
			change: func(in *PayloadInput) { in.Release.Service.Container.ExtraHosts = []string{"db:192.0.2.1"} },
			hosts:  []string{"web:10.210.0.200"},
		},
		{
			name: "after_job_tests_the_candidate",
			change: func(in *PayloadInput) {
				in.Candidates = map[string]map[string]netip.Addr{"db": {"shop_default": netip.MustParseAddr("10.210.0.150")}}
			},
			hosts: []string{"db:10.210.0.150", "web:10.210.0.200"},
		},
		{name: "host_without_addresses", change: func(in *PayloadInput) { in.Direct = true }, aliases: []string{"web", "www"}},
		{
			name: "direct", change: func(in *PayloadInput) { in.Release.Service.NamesDirect = true },
			hosts: []string{"db:10.210.0.201"}, aliases: []string{"web", "www"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := payloadInput(t, file)
			in.Release.Service.Container.Networks[0].Aliases = []string{"www"}
			in.Release.Service.Container.Networks = slices.Clone(in.Release.Service.Container.Networks)
			if tt.hosts != nil && tt.name != "direct" {
				in.Release.Service.Container.Networks[0].Aliases = nil
			}
			tt.change(&in)
			c, err := Payload(in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.hosts, c.ExtraHosts); diff != "" {
				t.Errorf("extra hosts (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.aliases, c.Networks[0].Aliases); diff != "" {
				t.Errorf("aliases (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPayloadMounts(t *testing.T) {
	in := payloadInput(t, "web app:v1 port=80:3000\ndb postgres:16 volume=data")
	s := &in.Release.Service.Container
	s.Mounts = []manifests.Mount{
		{Kind: manifests.MountRepo, Source: "shop/nginx.conf", Target: "/etc/nginx.conf", ReadOnly: true},
		{Kind: manifests.MountData, Source: "./data", Target: "/data2"},
		{Kind: manifests.MountHost, Source: "/srv", Target: "/srv"},
		{Kind: manifests.MountAnonymous, Target: "/cache"},
		{Kind: manifests.MountTmpfs, Target: "/tmp", Size: 1},
	}
	s.Tmpfs = []string{"/run:size=1m"}
	s.VolumesFrom = []string{"db:ro"}
	in.Release.Volumes = []string{"/srv", "/state", "/run"}
	in.Sources = map[string]string{"/etc/nginx.conf": "/state/blobs/1", "/data2": "/state/data/shop/data"}
	in.Instance.Anonymous = map[string]string{"/cache": "had"}
	c, err := Payload(in)
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		Type, Source, Target string
		ReadOnly             bool
	}
	var got []row
	for _, m := range c.Mounts {
		got = append(got, row{m.Type, m.Source, m.Target, m.ReadOnly})
	}
	want := []row{
		{"bind", "/state/blobs/1", "/etc/nginx.conf", true},
		{"bind", "/state/data/shop/data", "/data2", false},
		{"bind", "/srv", "/srv", false},
		{"volume", "had", "/cache", false},
		{"tmpfs", "", "/tmp", false},
		{"volume", AnonymousName("shop", "web", 1, "/state"), "/state", false},
		{"volume", "shop_data", "/data", true},
		{"volume", AnonymousName("shop", "db", 1, "/var/lib/db"), "/var/lib/db", true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
}

// TestAnonymousVolumeCarried: a service whose image has a VOLUME is stop-first,
// and the next release's container gets the same volume.
func TestAnonymousVolumeCarried(t *testing.T) {
	var sources []string
	var l ledger.App
	for _, tag := range []string{"v1", "v2"} {
		in := input(parseApp(t, "db redis:"+tag+" expose=6379"), l)
		img := in.Images["db"]
		img.Volumes = []string{"/data"}
		in.Images["db"] = img
		r := Plan(in)
		ch := r.Changes["db"]
		if ch.Order != manifests.StopFirst || !ch.To.Service.WritesData {
			t.Errorf("%s: order %s, writes data %v", tag, ch.Order, ch.To.Service.WritesData)
		}
		c, err := Payload(PayloadInput{App: ledger.App{Project: "shop"}, Networks: r.Networks, Release: ch.To.Release, Instance: ch.To.Instances[0]})
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, c.Mounts[0].Source)
		l = succeed(in, r)
	}
	if sources[0] != sources[1] || sources[0] == "" {
		t.Errorf("volumes of two releases: %q", sources)
	}
}

// TestLearnImage: what the image says of itself may come after the plan, and
// the plan after it finds nothing to do.
func TestLearnImage(t *testing.T) {
	app := parseApp(t, "db redis:7 expose=6379")
	in := input(app, ledger.App{})
	known := in.Images["db"]
	known.Volumes, known.Exposed = []string{"/data"}, []uint16{6379}
	known.Healthcheck = &manifests.Healthcheck{Test: []string{"CMD", "check"}, Interval: time.Minute}
	in.Images["db"] = Image{Digest: known.Digest}
	r := Plan(in)
	LearnImage(r.Changes["db"], known)
	to := r.Changes["db"].To
	if r.Changes["db"].Order != manifests.StopFirst || !to.FromImage || to.Healthcheck.Interval != time.Minute {
		t.Errorf("not learnt: %+v", to.Release)
	}
	for _, images := range []Image{known, {Digest: known.Digest}} { // with the image on the engine, and gone again
		again := input(app, succeed(in, r))
		again.Images["db"] = images
		if r := Plan(again); !r.NoChange {
			t.Errorf("the second plan is not empty:\n%s", shown(r))
		}
	}
}

func TestPayloadJoins(t *testing.T) {
	in := payloadInput(t, "web app:v1 port=80:3000\nproxy envoy:1 unit=web\ndb postgres:16")
	r := in.App.Rollout.Changes["proxy"].To
	in.Peers = Peers(in.App, "proxy", r.Release, true)
	in.Release, in.Instance = r.Release, r.Instances[0]
	if _, err := Payload(in); err == nil {
		t.Error("joining a container that is not created must fail")
	}
	in.App.Rollout.Changes["web"].To.Instances[0].Container = "abc"
	in.Peers = Peers(in.App, "proxy", r.Release, true)
	for _, owner := range []string{"", "def"} {
		in.Owner = owner
		c, err := Payload(in)
		want := "container:abc"
		if owner != "" {
			want = "container:" + owner
		}
		if err != nil || c.NetworkMode != want || len(c.Networks)+len(c.ExtraHosts)+len(c.DNS) > 0 {
			t.Errorf("network mode %q (%v), want %s without networks and hosts", c.NetworkMode, err, want)
		}
	}
}

func TestTag(t *testing.T) {
	for _, tt := range []struct{ ref, digest, want string }{
		{"app:v1", "sha256:abcdef0123", "v1"},
		{"reg:5000/app", "sha256:abcdef0123", "abcdef01"},
		{"app@sha256:abcdef0123", "sha256:abcdef0123", "abcdef01"},
		{"app:v2@sha256:abcdef0123", "", "v2"},
		{"app@sha256:abcdef0123", "", "abcdef01"},
		{"app", "", "latest"},
	} {
		if got := Tag(tt.ref, tt.digest); got != tt.want {
			t.Errorf("Tag(%q, %q) = %q, want %q", tt.ref, tt.digest, got, tt.want)
		}
	}
}
