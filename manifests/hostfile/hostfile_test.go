package hostfile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/manifests/hostfile"
)

const file = "/etc/remora/host.yaml"

const complete = `version: 1
name: web-7
labels: {role: web}
vars: {DB_PASSWORD: hush}
sources:
  - name: main
    url: ssh://git@git.example.com/env.git
    ref: main
    environments: [base, production]
    apps: ["*"]
    auth: {key_file: /etc/remora/key, known_hosts: /etc/remora/known_hosts}
    policy: {preset: compose}
  - name: local
    folder: /srv/apps
policy:
  preset: strict
  registries: [registry.example.com]
  binds: [/srv]
  privileged: false
  certificates: [/etc/ssl/shop]
network_pool: 10.99.0.0/16
poll: 1m
ambassador: {mode: external, http: [80, 8080], https: [443, 8443], acme: {email: ops@example.com, directory: "https://ca.test/dir", ca_file: /etc/ca.pem, challenges: [http-01], shared: /mnt/acme}, limits: {header: 5s, body_rate: 100, idle: 1m, per_client: 200}, access_log: {format: combined, max_size: 16MiB, keep: 2}}
standby: {for: 0s}
api: {metrics: "127.0.0.1:9631"}
log: {format: json, level: debug}
`

func TestParse(t *testing.T) {
	host, diags := hostfile.Parse(file, []byte(complete), nil, nil)
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	no := false
	want := manifests.DefaultHost()
	want.Name, want.Labels = "web-7", map[string]string{"role": "web"}
	want.Vars = map[string]string{"DB_PASSWORD": "hush"}
	want.Sources = []manifests.Source{
		{
			Name: "main", URL: "ssh://git@git.example.com/env.git", Ref: "main", Path: "environments",
			Environments: []string{"base", "production"}, Apps: []string{"*"},
			Auth:   manifests.Auth{KeyFile: "/etc/remora/key", KnownHosts: "/etc/remora/known_hosts"},
			Policy: &manifests.Policy{Preset: "compose"}, Timeout: manifests.DefaultGitTimeout,
		},
		{Name: "local", Folder: "/srv/apps", Path: "environments", Timeout: manifests.DefaultGitTimeout},
	}
	want.Policy = manifests.Policy{Preset: "strict", Registries: []string{"registry.example.com"}, Binds: []string{"/srv"}, Privileged: &no, Certificates: []string{"/etc/ssl/shop"}}
	want.NetworkPool, want.Poll = "10.99.0.0/16", manifests.Duration(time.Minute)
	want.Ambassador = manifests.HostAmbassador{Mode: "external", HTTP: []uint16{80, 8080}, HTTPS: []uint16{443, 8443}, ACME: manifests.HostACME{
		Email: "ops@example.com", Directory: "https://ca.test/dir", CAFile: "/etc/ca.pem", Challenges: []string{"http-01"}, Shared: "/mnt/acme",
	}, Limits: manifests.HostLimits{
		Header: manifests.Duration(5 * time.Second), BodyRate: 100, Idle: manifests.Duration(time.Minute), PerClient: 200,
	}, AccessLog: manifests.HostAccessLog{Format: "combined", MaxSize: 16 << 20, Keep: 2}}
	want.Standby = &manifests.HostStandby{}
	want.API = manifests.HostAPI{Metrics: "127.0.0.1:9631", Socket: "/run/remora/agent.sock"}
	want.Log = manifests.HostLog{Format: "json", Level: "debug"}
	if diff := cmp.Diff(want, host); diff != "" {
		t.Errorf("host (-want +got):\n%s", diff)
	}
}

func TestEmptyFileIsTheDefault(t *testing.T) {
	for _, data := range []string{"", "# nothing\n"} {
		host, diags := hostfile.Parse(file, []byte(data), nil, nil)
		want := manifests.DefaultHost()
		want.API.Socket = "/run/remora/agent.sock"
		if diff := cmp.Diff(want, host); diff != "" || len(diags) > 0 {
			t.Errorf("%q: diagnostics %v, host (-want +got):\n%s", data, diags, diff)
		}
	}
}

// TestErrors: all that is wrong, with its place, at once.
func TestErrors(t *testing.T) {
	for name, c := range map[string]struct {
		data string
		want []string
	}{
		"unknown keys": {
			"version: 1\nsource: []\npolicy:\n  presett: x\n",
			[]string{"2:1: source: unknown key", "4:3: policy.presett: unknown key"},
		},
		"wrong types": {
			"version: one\npoll: [1]\nlabels: {a: {b: c}}\n",
			[]string{`1:10: version: "one" where a whole number belongs`, "2:7: poll: a list where a single value belongs", "3:13: labels.a: a mapping where a single value"},
		},
		"wrong scalars": {
			"version: 1\nambassador: {http: [eighty]}\npoll: soon\n",
			[]string{`2:21: ambassador.http[0]: "eighty" where a number from 0 to 65535 belongs`, `3:7: poll: "soon" is no duration`},
		},
		"no port": {
			"version: 1\nambassador:\n  http: [0]\n  https: [70000]\n",
			[]string{`4:11: ambassador.https[0]: "70000" where a number from 0 to 65535 belongs`},
		},
		"port zero": {
			"version: 1\nambassador:\n  http: [0]\n  https: [0]\n",
			[]string{"3:3: ambassador.http: 0 is no port", "4:3: ambassador.https: 0 is no port"},
		},
		"twice":   {"version: 1\nversion: 1\n", []string{"2:1: version: the key is written twice"}},
		"syntax":  {"version: 1\nname: [a\n", []string{"did not find expected"}},
		"alias":   {"version: 1\nlabels: &l {a: b}\nvars: *l\n", []string{"3:7: vars: aliases"}},
		"version": {"version: 2\n", []string{"1:1: version: version 2 is not known"}},
		"missing": {"name: x\n", []string{"version: missing"}},
		"values": {
			"version: 1\npolicy: {preset: lax}\nnetwork_pool: 10.0.0.0/30\nlog: {level: loud}\nambassador: {mode: maybe}\n",
			[]string{
				`2:10: policy.preset: "lax" is not known; one of: strict, compose`, "5:14: ambassador.mode", "4:7: log.level",
				"3:1: network_pool",
			},
		},
		"trusted proxies": {
			"version: 1\nambassador:\n  trusted_proxies: [10.0.0.0/8, 192.0.2.7, \"2001:db8::/32\", nobody]\n",
			[]string{`3:3: ambassador.trusted_proxies: "nobody" is neither an address nor a prefix`},
		},
		"access log": {
			"version: 1\nambassador:\n  access_log: {format: xml, max_size: 1KiB, keep: -1}\n",
			[]string{
				`3:16: ambassador.access_log.format: "xml" is not known; one of: json, combined, off`,
				"3:29: ambassador.access_log.max_size: 1024 bytes are too few", "3:45: ambassador.access_log.keep: -1 is negative",
			},
		},
		"access log's size": {
			"version: 1\nambassador:\n  access_log: {max_size: lots}\n",
			[]string{`3:26: ambassador.access_log.max_size: "lots" is no size`},
		},
		"limits": {
			"version: 1\nambassador:\n  limits: {header: 10ms, body_rate: -1, idle: -2s, per_client: -3}\n",
			[]string{
				"3:12: ambassador.limits.header: 10ms is less than a second", "3:41: ambassador.limits.idle: -2s is less than a second",
				"3:26: ambassador.limits.body_rate: -1 is negative", "3:52: ambassador.limits.per_client: -3 is negative",
			},
		},
		"environments": {
			"version: 1\nsources:\n  - {name: a, url: a, environments: [x, y]}\n  - {name: b, url: b, environments: [z, y]}\n",
			[]string{"4:41: sources[1].environments[1]: environment \"y\" is followed from source a already"},
		},
		"acme": {
			"version: 1\nambassador:\n  https: [443, 80]\n  acme:\n    directory: http://ca.test\n    ca_file: ca.pem\n    challenges: [dns-01]\n    shared: mnt\n",
			[]string{
				"3:3: ambassador.https: port 80 is in `http`, too", "5:5: ambassador.acme.directory: \"http://ca.test\" is no https URL",
				"ambassador.acme.challenges[0]: DNS-01 is not in this version; write http-01, tls-alpn-01 or both",
				"ambassador.acme.ca_file: \"ca.pem\" is no absolute path", "ambassador.acme.shared: \"mnt\" is no absolute path",
			},
		},
		"sources": {
			"version: 1\nsources:\n  - {url: a}\n  - {name: a, url: b, folder: c, environments: [e]}\n  - {name: a, url: b, environments: [e]}\n",
			[]string{"3:5: sources[0]: a source has no name", "3:5: sources[0]: no environment", "4:5: sources[1]: a source has either", "5:6: sources[2].name: the name \"a\" is used twice"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, diags := hostfile.Parse(file, []byte(c.data), nil, nil)
			if len(diags) != len(c.want) {
				t.Fatalf("got %d diagnostics, want %d:\n%v", len(diags), len(c.want), diags)
			}
			for i, d := range diags {
				if !strings.Contains(diags.Error(), c.want[i]) || d.File != file {
					t.Errorf("no %q in\n%v", c.want[i], diags)
				}
			}
		})
	}
}

func TestLater(t *testing.T) {
	data := "version: 1\nconsul: {address: x}\nsecrets: {age_key: x}\noverlap: {reserve: 1}\nnotify: [x]\naudit: {sink: x}\n" +
		"api: {listen: ':1', tls: {cert: x}, tokens: [x]}\n" +
		"sources: [{name: a, folder: /a, verify: {signers: x}}]\n"
	_, diags := hostfile.Parse(file, []byte(data), nil, nil)
	var got []string
	for _, d := range diags {
		if d.Reason != status.NotInThisVersion || d.Line == 0 {
			t.Errorf("%v: reason %s", d, d.Reason)
		}
		got = append(got, d.Field)
	}
	want := []string{
		"secrets", "overlap", "consul", "notify", "audit", "api.listen", "api.tls",
		"api.tokens", "sources[0].verify",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
}

// TestVariablesAndFlags: variables stand over the file, flags over variables.
func TestVariablesAndFlags(t *testing.T) {
	env := []string{
		"REMORA_NAME=from-env", "REMORA_STATE=/state", "REMORA_POLICY_PRESET=compose", "REMORA_POLICY_PRIVILEGED=true",
		"REMORA_AMBASSADOR_HTTP=80, 81", "REMORA_LABELS=role=db,zone=a", "REMORA_POLL=5s", "REMORA_STANDBY_FOR=1m",
		"REMORA_NOT_OURS=x", "OTHER=y",
	}
	host, diags := hostfile.Parse(file, []byte("version: 1\nname: from-file\nlabels: {a: b}\n"), env,
		map[string]string{"name": "from-flag", "log.level": "warn"})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	yes := true
	want := manifests.DefaultHost()
	want.Name, want.State = "from-flag", "/state"
	want.Policy = manifests.Policy{Preset: "compose", Privileged: &yes}
	want.Ambassador.HTTP, want.Labels = []uint16{80, 81}, map[string]string{"role": "db", "zone": "a"}
	want.Poll, want.Log.Level = manifests.Duration(5*time.Second), "warn"
	want.Standby = &manifests.HostStandby{For: manifests.Duration(time.Minute)}
	want.API.Socket = "/run/remora/agent.sock"
	if diff := cmp.Diff(want, host); diff != "" {
		t.Errorf("host (-want +got):\n%s", diff)
	}
}

func TestWrongVariablesAndFlags(t *testing.T) {
	_, diags := hostfile.Parse(file, nil, []string{
		"REMORA_POLL=soon", "REMORA_POLICY_PRIVILEGED=perhaps", "REMORA_AMBASSADOR_HTTP=99999", "REMORA_LABELS=x",
		"REMORA_POLICY_PRESET=lax",
	}, map[string]string{"sources": "x", "no.such": "y"})
	if len(diags) != 7 {
		t.Errorf("got %d diagnostics, want 7:\n%v", len(diags), diags)
	}
}

// TestSettings: every setting can be set, and none twice by one name.
func TestSettings(t *testing.T) {
	seen := map[string]string{}
	for _, path := range hostfile.Settings() {
		name := strings.ReplaceAll(path, ".", "_")
		if other, twice := seen[name]; twice {
			t.Errorf("%s and %s have the same variable", path, other)
		}
		seen[name] = path
	}
	for _, want := range []string{"name", "state", "policy.binds", "ambassador.mode", "standby.for", "network_pool"} {
		if seen[strings.ReplaceAll(want, ".", "_")] == "" {
			t.Errorf("%s cannot be set", want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(complete))
	f.Add([]byte("!reset"))
	f.Add([]byte("s:\n a: &a\n    <<: *a"))
	f.Add([]byte("version: 1\nsources: [{name: a}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, diags := hostfile.Parse(file, data, nil, nil)
		for _, d := range diags {
			if d.Message == "" {
				t.Errorf("a diagnostic says nothing: %+v", d)
			}
		}
	})
}
