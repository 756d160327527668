package load

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/manifests"
)

// TestExamples loads every example as each role of its hosts would.
func TestExamples(t *testing.T) {
	envFile := filepath.Join(t.TempDir(), "pipeline.env")
	if err := os.WriteFile(envFile, []byte("QUEUE=amqp://queue\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	strict := manifests.Policy{Preset: manifests.PresetStrict}
	fleet := manifests.Policy{
		Preset: manifests.PresetStrict, EnvFiles: []string{envFile}, Namespaces: []string{"network"},
		Binds: []string{"/tmp"},
	}
	for _, c := range []struct {
		example, environment, host string
		labels                     map[string]string
		policy                     manifests.Policy
		// want lists "app/service kind order" of what runs there.
		want []string
	}{
		{"demo", "demo", "laptop", nil, strict, []string{
			"shop/db endpoint stop-first", "shop/queue endpoint start-first", "shop/web endpoint start-first",
			"shop/worker worker stop-first",
		}},
		{"worker-fleet", "production", "web-1", map[string]string{"role": "webhooks"}, fleet, []string{
			"webhooks/reader worker stop-first", "webhooks/server endpoint stop-first",
		}},
		{"worker-fleet", "production", "work-1", map[string]string{"role": "workers"}, fleet, []string{"workers/worker worker stop-first"}},
		{
			"streaming", "production", "edge-1", nil,
			manifests.Policy{Preset: manifests.PresetStrict, Binds: []string{"/srv/images", "/var/log/containers"}},
			[]string{"registry/registry endpoint stop-first", "site/web endpoint start-first"},
		},
		{"platform", "production", "infra-1", map[string]string{"role": "infrastructure"}, strict, []string{
			"infrastructure/memcached endpoint start-first", "infrastructure/mysql endpoint stop-first",
			"infrastructure/rabbitmq endpoint stop-first",
		}},
		{"platform", "production", "svc-1", map[string]string{"role": "services"}, strict, []string{
			"services/assets worker stop-first", "services/billing endpoint start-first", "services/orders endpoint start-first",
		}},
		{"marketplace", "staging", "staging-1", nil, strict, []string{
			"lunch/db endpoint stop-first", "lunch/migrate one-shot stop-first", "lunch/smoke one-shot stop-first",
			"lunch/web endpoint start-first", "lunch/worker worker stop-first",
		}},
	} {
		t.Run(c.example+"/"+c.host, func(t *testing.T) {
			out := Load(t.Context(), manifests.LoadRequest{
				Root: "../examples/" + c.example, Path: "environments", Environment: c.environment, Host: c.host,
				Labels: c.labels, Policy: c.policy, Primary: true, CPUs: 2, Vars: map[string]string{"ENV_FILE": envFile},
			})
			var got []string
			for _, a := range out.Apps {
				for _, s := range a.Services {
					got = append(got, a.Name+"/"+s.Name+" "+string(s.Kind)+" "+string(s.Order))
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("services (-want +got):\n%s", diff)
			}
			for _, f := range out.Failed {
				t.Errorf("%s: %v", f.App, f.Diagnostics)
			}
			if len(out.Diagnostics) > 0 {
				t.Error(out.Diagnostics)
			}
		})
	}
}

// TestEveryExampleIsListed: a new example is loaded, or it rots.
func TestEveryExampleIsListed(t *testing.T) {
	entries, err := os.ReadDir("../examples")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if e.IsDir() {
			got = append(got, e.Name())
		}
	}
	want := []string{"demo", "worker-fleet", "streaming", "platform", "marketplace"}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("examples (-in TestExamples +in the folder):\n%s", diff)
	}
}

// TestHostEnvFile: what an env file of the host holds reaches the container
// apart from the release, and only where the file itself does not say
// otherwise.
func TestHostEnvFile(t *testing.T) {
	root, host := t.TempDir(), filepath.Join(t.TempDir(), "host.env")
	compose := "services:\n  web:\n    image: a\n    env_file: [own.env, " + host + "]\n    environment: {BOTH: file, ONLY: file}\n"
	for path, content := range map[string]string{
		filepath.Join(root, "compose.yaml"): compose, filepath.Join(root, "own.env"): "OWN=1\nREPLACED=own\n",
		host: "SECRET=one\nBOTH=host\nREPLACED=host\n",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func() manifests.App {
		out := Load(t.Context(), manifests.LoadRequest{
			Root: root, Bare: true, Primary: true, Host: "h",
			Policy: manifests.Policy{Preset: manifests.PresetStrict, EnvFiles: []string{filepath.Dir(host)}},
		})
		if len(out.Apps) != 1 {
			t.Fatalf("failed: %v %v", out.Failed, out.Diagnostics)
		}
		return out.Apps[0]
	}
	first := load()
	s := first.Services[0]
	if diff := cmp.Diff(map[string]string{"BOTH": "file", "ONLY": "file", "OWN": "1"}, s.Container.Environment); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"SECRET": "one", "REPLACED": "host"}, s.HostEnv); diff != "" {
		t.Errorf("host environment (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(host, []byte("SECRET=two\nREPLACED=host\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	second := load()
	images := map[string]manifests.ImageIdentity{"web": {Digest: "sha256:1"}}
	before, _ := first.Release("web", images)
	after, _ := second.Release("web", images)
	if before != after || before == "" {
		t.Errorf("release %q became %q with a file of the host", before, after)
	}
	if key := []byte("k"); first.Hostrev("web", key) == second.Hostrev("web", key) {
		t.Error("hostrev did not change with the file of the host")
	}
}
