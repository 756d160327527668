package archtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// owned is something that only some packages may import directly.
type owned struct {
	what   []string // trees of import paths
	by     []string // trees of our packages
	tests  bool     // the rule covers tests too
	reason string
}

// apart is trees that one must not reach, over any number of imports.
type apart struct {
	from   []string
	to     []string
	reason string
}

func adapters() []string {
	return []string{"internal/docker", "internal/gitsource", "internal/catalog", "internal/fleet", "internal/journal", "internal/acme", "internal/certfiles"}
}

// heavy is what the data plane lives without.
func heavy() []string {
	return []string{
		"github.com/go-git", "github.com/docker", "github.com/moby", "github.com/hashicorp/consul",
		"github.com/compose-spec", "github.com/caddyserver", "manifests/load", "reconciler", "internal/app", "internal/cli", "internal/api",
		"internal/docker", "internal/gitsource", "internal/catalog", "internal/fleet", "internal/journal", "internal/acme", "internal/certfiles",
	}
}

func ownedRules() []owned {
	return []owned{
		{
			what: []string{"github.com/docker/docker", "github.com/docker/cli", "github.com/moby/moby"},
			by:   []string{"internal/docker"}, tests: true,
			reason: "the Docker client has one adapter, so that its versions and its errors are dealt with in one place",
		},
		{
			what: []string{"github.com/go-git"}, by: []string{"internal/gitsource"}, tests: true,
			reason: "git has one adapter, so that it can be replaced (go-git v5 is in maintenance)",
		},
		{
			what: []string{"github.com/compose-spec/compose-go"}, by: []string{"manifests/load"}, tests: true,
			reason: "compose-go reads what strangers wrote and may panic or spin: it runs in the load process alone",
		},
		{
			what: []string{"github.com/hashicorp/consul"}, by: []string{"internal/catalog"}, tests: true,
			reason: "the Consul client has one adapter",
		},
		{
			what: []string{"github.com/caddyserver/certmagic", "github.com/mholt/acmez", "go.uber.org/zap"}, by: []string{"internal/acme"}, tests: true,
			reason: "certmagic has one adapter, and nobody else its logger",
		},
		{
			what: []string{"manifests/load"}, by: []string{"manifests/load", "internal/cli", "internal/app"},
			reason: "manifests are parsed by the load command, in a process that may die",
		},
		{
			what: []string{"internal/cli"}, by: []string{"internal/cli", "cmd"},
			reason: "cmd → internal/cli → internal/app: nothing below the command line knows it",
		},
		{
			what: []string{"internal/app"}, by: []string{"internal/app", "internal/cli"},
			reason: "the composition root knows the parts; no part knows it",
		},
		{
			what: adapters(), by: append(adapters(), "internal/app", "internal/cli", "e2e"),
			reason: "adapters are joined in the composition root; the parts see them through interfaces of their own",
		},
		{
			what: []string{"reconciler="}, by: []string{"internal/app", "internal/cli", "internal/api", "internal/telemetry", "e2e"},
			reason: "the engine stands above what it is made of",
		},
		{
			what: []string{"e2e", "internal/archtest"}, by: []string{"e2e"},
			reason: "the product does not contain its tests",
		},
		{
			what: []string{"testing"}, by: []string{"e2e", "internal/archtest"},
			reason: "what only tests use belongs in _test files; it would register flags in the product",
		},
	}
}

func apartRules() []apart {
	rules := []apart{
		{
			from: []string{"reconciler"}, to: []string{"ambassador"},
			reason: "control plane and data plane meet in internal/app, through an interface that the reconciler declares",
		},
		{
			from: []string{"ambassador"}, to: []string{"reconciler"},
			reason: "the data plane must work without the control plane",
		},
		{
			from: []string{"cmd/remora-ambassador", "ambassador"}, to: heavy(),
			reason: "the data plane stays small and alive when everything else fails: no git, Docker, Consul or Compose in it",
		},
		{
			from:   []string{"e2e/rig", "e2e/testprogram"},
			to:     []string{"manifests", "reconciler", "ambassador", "internal"},
			reason: "who judges remora shares no code with it, or both are wrong together",
		},
		{
			from:   []string{"cmd"},
			to:     []string{"github.com/aws", "cloud.google.com", "github.com/Azure", "google.golang.org/api", "k8s.io", "github.com/tencentcloud"},
			reason: "cloud SDKs cost tens of megabytes, and no host needs them",
		},
	}
	for _, from := range adapters() {
		others := slices.DeleteFunc(adapters(), func(to string) bool { return to == from })
		rules = append(rules, apart{[]string{from}, others, "adapters never import each other: each is replaced alone"})
	}
	return rules
}

func (r owned) check(all []pkg) []string {
	var found []string
	for _, p := range all {
		imports := p.Imports
		if r.tests {
			imports = slices.Concat(imports, p.TestImports, p.XTestImports)
		}
		if under(p.path(), r.by...) {
			continue
		}
		for _, path := range imports {
			if under(inModule(path), r.what...) {
				found = append(found, fmt.Sprintf("%s imports %s, which only %s may: %s",
					p.path(), inModule(path), strings.Join(r.by, ", "), r.reason))
			}
		}
	}
	return found
}

func (r apart) check(all []pkg) []string {
	var found []string
	for _, p := range all {
		if !under(p.path(), r.from...) {
			continue
		}
		for _, path := range p.Deps {
			if under(inModule(path), r.to...) {
				found = append(found, fmt.Sprintf("%s reaches %s (go list -deps; see `go mod why`): %s",
					p.path(), inModule(path), r.reason))
			}
		}
	}
	return found
}

func TestImports(t *testing.T) {
	all := packages(t)
	for _, r := range ownedRules() {
		report(t, r.check(all))
	}
	for _, r := range apartRules() {
		report(t, r.check(all))
	}
}

func report(t *testing.T, found []string) {
	t.Helper()
	for _, violation := range found {
		t.Error(violation)
	}
}

// Every rule must be able to fail: each is shown a package that breaks it.
func TestImportRulesCatch(t *testing.T) {
	full := func(path string) string {
		if strings.Contains(path, ".") || path == "testing" {
			return path
		}
		return module + "/" + path
	}
	for _, r := range ownedRules() {
		for _, what := range r.what {
			what = strings.TrimSuffix(what, "=")
			intruder := pkg{ImportPath: module + "/intruder", Imports: []string{full(what)}}
			if len(r.check([]pkg{intruder})) != 1 {
				t.Errorf("nobody notices an import of %s", what)
			}
			owner := pkg{ImportPath: module + "/" + r.by[0], Imports: []string{full(what)}}
			if found := r.check([]pkg{owner}); len(found) != 0 {
				t.Errorf("the owner may not import its own: %v", found)
			}
		}
	}
	for _, r := range apartRules() {
		for _, from := range r.from {
			intruder := pkg{ImportPath: module + "/" + from + "/deep", Deps: []string{"fmt", full(r.to[0]) + "/sub"}}
			if len(r.check([]pkg{intruder})) != 1 {
				t.Errorf("nobody notices that %s reaches %s", from, r.to[0])
			}
		}
	}
}
