package policy

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

func TestEveryFieldHasARule(t *testing.T) {
	check := func(typ reflect.Type, known func(string) bool, size int) {
		for field := range typ.Fields() {
			if name := field.Name; !known(name) {
				t.Errorf("%s.%s has no rule", typ, name)
			}
		}
		if size != typ.NumField() {
			t.Errorf("%s has %d fields and %d rules", typ, typ.NumField(), size)
		}
	}
	rules := containerRules()
	check(reflect.TypeFor[manifests.Container](), func(n string) bool { _, ok := rules[n]; return ok }, len(rules))
	payload := payloadFields()
	check(reflect.TypeFor[engine.Create](), func(n string) bool { _, ok := payload[n]; return ok }, len(payload))
}

// dangerous are containers that preset strict denies and preset compose
// allows; setting is a policy that allows just this in strict.
func dangerous() map[string]struct {
	c       manifests.Container
	setting manifests.Policy
} {
	yes := true
	type row = struct {
		c       manifests.Container
		setting manifests.Policy
	}
	return map[string]row{
		"privileged":               {manifests.Container{Privileged: true}, manifests.Policy{Privileged: &yes}},
		"cap_add[0]":               {manifests.Container{CapAdd: []string{"SYS_ADMIN"}}, manifests.Policy{Capabilities: []string{"cap_sys_admin"}}},
		"security_opt[0]":          {manifests.Container{SecurityOpt: []string{"apparmor=unconfined"}}, manifests.Policy{SecurityOpt: []string{"apparmor=*"}}},
		"devices[0]":               {manifests.Container{Devices: []manifests.Device{{Source: "/dev/kvm"}}}, manifests.Policy{Devices: []string{"/dev/kvm"}}},
		"device_cgroup_rules[0]":   {manifests.Container{DeviceCgroupRules: []string{"a"}}, manifests.Policy{Devices: []string{"a"}}},
		"gpus[0]":                  {manifests.Container{DeviceRequests: []manifests.DeviceRequest{{Count: -1}}}, manifests.Policy{Devices: []string{"gpu"}}},
		"sysctls.net.a":            {manifests.Container{Sysctls: map[string]string{"net.a": "1"}}, manifests.Policy{Sysctls: []string{"net.*"}}},
		"annotations.a.b":          {manifests.Container{Annotations: map[string]string{"a.b": "1"}}, manifests.Policy{Annotations: []string{"a.*"}}},
		"runtime":                  {manifests.Container{Runtime: "kata"}, manifests.Policy{Runtimes: []string{"kata"}}},
		"cgroup_parent":            {manifests.Container{CgroupParent: "x"}, manifests.Policy{CgroupParent: []string{"x"}}},
		"cgroup":                   {manifests.Container{CgroupNS: "host"}, manifests.Policy{Namespaces: []string{"cgroup"}}},
		"ipc":                      {manifests.Container{IPC: "host"}, manifests.Policy{Namespaces: []string{"ipc"}}},
		"pid":                      {manifests.Container{PID: "host"}, manifests.Policy{Namespaces: []string{"pid"}}},
		"uts":                      {manifests.Container{UTS: "host"}, manifests.Policy{Namespaces: []string{"uts"}}},
		"userns_mode":              {manifests.Container{UserNS: "host"}, manifests.Policy{Namespaces: []string{"user"}}},
		"network_mode":             {manifests.Container{NetworkMode: "host"}, manifests.Policy{Namespaces: []string{"network"}}},
		"network_mode other":       {manifests.Container{NetworkMode: "container:db"}, manifests.Policy{AllowForeign: []string{"d*"}}},
		"logging.driver":           {manifests.Container{Log: &manifests.Log{Driver: "syslog"}}, manifests.Policy{LogDrivers: []string{"syslog"}}},
		"oom_kill_disable":         {manifests.Container{Resources: manifests.Resources{OOMKillDisable: true}}, manifests.Policy{OOM: &yes}},
		"oom_score_adj":            {manifests.Container{Resources: manifests.Resources{OOMScoreAdj: -1}}, manifests.Policy{OOM: &yes}},
		"external_links[0]":        {manifests.Container{ExternalLinks: []string{"db:x"}}, manifests.Policy{AllowForeign: []string{"db"}}},
		"volumes_from[0]":          {manifests.Container{VolumesFrom: []string{"container:db"}}, manifests.Policy{AllowForeign: []string{"db"}}},
		"post_start[0].privileged": {manifests.Container{PostStart: []manifests.Hook{{Privileged: true}}}, manifests.Policy{Hooks: &yes}},
		"pre_stop[0].privileged":   {manifests.Container{PreStop: []manifests.Hook{{Privileged: true}}}, manifests.Policy{Hooks: &yes}},
		"networks.n.driver_opts":   {manifests.Container{Networks: []manifests.Attachment{{Network: "n", DriverOpts: map[string]string{"a": "b"}}}}, manifests.Policy{DriverOpts: &yes}},
		"volumes[0]":               {manifests.Container{Mounts: []manifests.Mount{{Kind: manifests.MountHost, Source: "/srv/x"}}}, manifests.Policy{Binds: []string{"/srv"}}},
		"volumes[0] socket":        {manifests.Container{Mounts: []manifests.Mount{{Kind: manifests.MountHost, Source: "/run"}}}, manifests.Policy{Binds: []string{"/"}, DockerSocket: &yes}},
	}
}

func found(p manifests.Policy, c manifests.Container) []Violation {
	j := judge{rules: effective(p)}
	j.container(&c)
	return j.found
}

func TestPresets(t *testing.T) {
	for name, row := range dangerous() {
		field, _, _ := strings.Cut(name, " ")
		denied := found(manifests.Policy{Preset: manifests.PresetStrict}, row.c)
		if len(denied) != 1 || denied[0].Field != field || denied[0].Setting == "" {
			t.Errorf("%s: strict found %v, want one about %s with its setting", name, denied, field)
		}
		if v := found(manifests.Policy{Preset: manifests.PresetCompose}, row.c); len(v) > 0 {
			t.Errorf("%s: compose found %v, want nothing", name, v)
		}
		allowed := row.setting
		allowed.Preset = manifests.PresetStrict
		if v := found(allowed, row.c); len(v) > 0 {
			t.Errorf("%s: strict with its setting found %v, want nothing", name, v)
		}
	}
}

func TestAnEmptyPolicyIsStrict(t *testing.T) {
	if v := found(manifests.Policy{}, manifests.Container{Privileged: true}); len(v) != 1 {
		t.Errorf("found %v, want a denial", v)
	}
}

// TestComposeTightens: in preset compose a list that names something allows
// just that.
func TestComposeTightens(t *testing.T) {
	no := false
	p := manifests.Policy{Preset: manifests.PresetCompose, Privileged: &no, Binds: []string{"/srv"}}
	v := found(p, manifests.Container{Privileged: true, Mounts: []manifests.Mount{
		{Kind: manifests.MountHost, Source: "/srv"},
		{Kind: manifests.MountHost, Source: "/srvx"},
		{Kind: manifests.MountHost, Source: "/srv/../etc"},
	}})
	var fields []string
	for _, x := range v {
		fields = append(fields, x.Field)
	}
	if diff := cmp.Diff([]string{"privileged", "volumes[1]", "volumes[2]"}, fields); diff != "" {
		t.Errorf("denied (-want +got):\n%s", diff)
	}
}

func TestImages(t *testing.T) {
	for ref, want := range map[string]string{
		"nginx": "docker.io/library/nginx", "nginx:1.25": "docker.io/library/nginx", "a/b": "docker.io/a/b",
		"docker.io/nginx": "docker.io/library/nginx", "index.docker.io/a/b:1": "docker.io/a/b",
		"localhost:5000/x:2": "localhost:5000/x", "localhost/x": "localhost/x",
		"r.example.com/a/b:1@sha256:00": "r.example.com/a/b", "r.example.com:443/a": "r.example.com:443/a",
	} {
		if got, _ := normalise(ref); got != want {
			t.Errorf("normalise(%q) = %q, want %q", ref, got, want)
		}
	}
	for _, c := range []struct {
		pattern, ref string
		want         bool
	}{
		{"docker.io/library", "nginx", true},
		{"docker.io/library", "team/nginx", false},
		{"registry.example.com", "registry.example.com/a/b", true},
		{"registry.example.com", "registry.example.com.evil.org/a", false},
		{"registry.example.com/team/*", "registry.example.com/team/a", true},
		{"registry.example.com/team", "registry.example.com/teams/a", false},
		{"*.example.com/a", "r.example.com/a", true},
	} {
		name, _ := normalise(c.ref)
		if got := registry(c.pattern, name); got != c.want {
			t.Errorf("%q matches %q = %t, want %t", c.pattern, c.ref, got, c.want)
		}
	}
}

func TestDigests(t *testing.T) {
	yes := true
	p := manifests.Policy{Digests: &yes}
	if v := found(p, manifests.Container{Image: "a:1"}); len(v) != 1 {
		t.Errorf("image without digest: %v, want a denial", v)
	}
	if v := found(p, manifests.Container{Image: "a@sha256:00"}); len(v) != 0 {
		t.Errorf("image with digest: %v, want nothing", v)
	}
}

func payload() engine.Create {
	return engine.Create{
		Spec: manifests.Container{
			Image: "a", Networks: []manifests.Attachment{{Network: "default"}},
			NetworkMode: "", PID: "service:other",
		},
		Labels:   map[string]string{engine.LabelComposeProject: "shop", engine.LabelApp: "shop"},
		Networks: []engine.Endpoint{{Network: "shop_default"}},
		Mounts: []engine.Mount{
			{Type: "bind", Source: "/var/lib/remora/blobs/100644-1", Target: "/a"},
			{Type: "volume", Source: "shop_data", Spec: manifests.Mount{Kind: manifests.MountVolume, Source: "data"}},
			{Type: "volume", Source: "0123", Spec: manifests.Mount{Kind: manifests.MountAnonymous}},
			{Type: "tmpfs", Target: "/t"},
		},
		NetworkMode: "shop_default", PID: "container:1234", Restart: "no",
	}
}

func TestPayload(t *testing.T) {
	strict := manifests.Policy{Preset: manifests.PresetStrict}
	if v := Judge(strict, payload(), "/var/lib/remora/blobs"); len(v) > 0 {
		t.Fatalf("a plain payload: %v, want nothing", v)
	}
	score := -5
	for name, change := range map[string]func(*engine.Create){
		"volumes[0]":    func(c *engine.Create) { c.Mounts[0].Source = "/var/lib/remora/blobs/../ledger.json" },
		"volumes[1]":    func(c *engine.Create) { c.Mounts[1].Source = "other_data" },
		"volumes[3]":    func(c *engine.Create) { c.Mounts[3].Type = "npipe" },
		"networks":      func(c *engine.Create) { c.Networks[0].Network = "other_default" },
		"network_mode":  func(c *engine.Create) { c.NetworkMode = "host" },
		"pid":           func(c *engine.Create) { c.Spec.PID = "" },
		"ipc":           func(c *engine.Create) { c.IPC = "container:9" },
		"oom_score_adj": func(c *engine.Create) { c.OOMScoreAdj = &score },
		"privileged":    func(c *engine.Create) { c.Spec.Privileged = true },
	} {
		c := payload()
		change(&c)
		v := Judge(strict, c, "/var/lib/remora/blobs")
		if len(v) != 1 || v[0].Field != name {
			t.Errorf("%s: %v, want one denial of it", name, v)
		}
	}
}

// TestMoreAllowsMore: adding what a policy allows never denies more.
func TestMoreAllowsMore(t *testing.T) {
	rows := dangerous()
	names := make([]string, 0, len(rows))
	for name := range rows {
		names = append(names, name)
	}
	slices.Sort(names)
	rapid.Check(t, func(t *rapid.T) {
		row := rows[rapid.SampledFrom(names).Draw(t, "container")]
		extra := rows[rapid.SampledFrom(names).Draw(t, "setting")].setting
		p := manifests.Policy{Preset: manifests.PresetStrict}
		before := len(found(p, row.c))
		if after := len(found(Merge(p, &extra), row.c)); after > before {
			t.Fatalf("%d denials became %d", before, after)
		}
	})
}

func TestMerge(t *testing.T) {
	yes := true
	base := manifests.Policy{Preset: "strict", Binds: []string{"/a"}}
	got := Merge(base, &manifests.Policy{Privileged: &yes, Binds: []string{"/b"}})
	if got.Preset != "strict" || !*got.Privileged || !slices.Equal(got.Binds, []string{"/b"}) {
		t.Errorf("merged %+v", got)
	}
	if base.Privileged != nil || Merge(base, nil).Preset != "strict" {
		t.Error("merging changed the base")
	}
}
