package reconciler

import (
	"strings"

	"github.com/remorahq/remora/internal/traffic"
)

type reports = map[string]map[string]traffic.ReleaseReport

// changedApps returns the apps ("env/app") of which a service's report differs
// in what a rollout waits for. Counters do not wake anybody.
func changedApps(old, now reports) []string {
	seen := map[string]bool{}
	for name, releases := range now {
		if app := appOf(name); !seen[app] && releasesDiffer(old[name], releases) {
			seen[app] = true
		}
	}
	for name := range old {
		if _, ok := now[name]; !ok {
			seen[appOf(name)] = true
		}
	}
	out := make([]string, 0, len(seen))
	for app := range seen {
		out = append(out, app)
	}
	return out
}

// appOf cuts "env/app/service" to "env/app".
func appOf(service string) string {
	if i := strings.LastIndexByte(service, '/'); i >= 0 {
		return service[:i]
	}
	return service
}

func releasesDiffer(old, now map[string]traffic.ReleaseReport) bool {
	if len(old) != len(now) {
		return true
	}
	for name, r := range now {
		o, ok := old[name]
		if !ok || o.State != r.State || o.Drained != r.Drained || o.RequestsDrained != r.RequestsDrained || endpointsDiffer(o.Endpoints, r.Endpoints) {
			return true
		}
	}
	return false
}

func endpointsDiffer(old, now []traffic.EndpointReport) bool {
	if len(old) != len(now) {
		return true
	}
	for i, e := range now {
		o := old[i]
		if o.Container != e.Container || !o.Started.Equal(e.Started) || o.Warm != e.Warm || o.Good != e.Good || o.LastError != e.LastError || o.Failures != e.Failures {
			return true
		}
	}
	return false
}

// splitApp cuts "env/app".
func splitApp(id string) (env, name string) {
	env, name, _ = strings.Cut(id, "/")
	return env, name
}
