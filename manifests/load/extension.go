package load

import (
	"fmt"
	"strings"
	"time"

	"github.com/remorahq/remora/manifests"
)

// settings is a service's x-remora.
type settings struct {
	routes         []manifests.Route
	assets         []string
	canary         *manifests.Canary
	probe          *manifests.Probe
	standbyFor     *time.Duration
	standbyState   manifests.StandbyState
	direct         bool
	job            bool
	runOn          string
	idempotent     bool
	fresh          bool
	replicasPerCPU int
	drain          *time.Duration
	drainTunnels   *time.Duration
	hold           time.Duration
	minHealthy     *time.Duration
	progress       *time.Duration
}

const extensionKey = "x-remora"

// appExtension reads the app's x-remora; its hosts were judged before.
func (a *app) appExtension(v any) (after []string) {
	o := a.object(extensionKey, v)
	o.get("hosts")
	after = o.texts("after_apps")
	o.done()
	return after
}

// serviceExtension reads a service's x-remora.
func (a *app) serviceExtension(path string, v any) settings {
	o := a.object(path+"."+extensionKey, v)
	s := settings{
		routes:         a.routes(o),
		assets:         a.assets(o),
		direct:         o.text("names", "proxied", "direct") == "direct",
		job:            o.boolean("job"),
		runOn:          o.text("run_on", "every-host", "one-host"),
		idempotent:     o.boolean("idempotent"),
		fresh:          o.text("anonymous_volumes", "fresh", "carried") == "fresh",
		replicasPerCPU: o.integer("replicas_per_cpu", 1, 100),
		drain:          o.optional("drain"),
		drainTunnels:   o.optional("drain_tunnels"),
		minHealthy:     o.optional("min_healthy_time"),
		progress:       o.optional("progress_deadline"),
	}
	s.hold, _ = o.duration("hold_requests")
	if v, ok := o.get("probe"); ok {
		s.probe = a.probe(o.at("probe"), v)
	}
	if v, ok := o.get("canary"); ok {
		s.canary = a.canary(o.at("canary"), v)
	}
	if v, ok := o.get("standby"); ok {
		a.standby(&s, o.at("standby"), v)
	}
	if s.runOn == "one-host" {
		a.later(o.at("run_on"), "it needs Consul; place the service on one host with a constraint such as node.hostname == NAME")
	}
	if v, ok := o.get("on_config_change"); ok && v != "recreate" {
		a.later(o.at("on_config_change"), "only recreate is in this version")
	}
	o.later("rollback_on", "schedule", "upstreams", "consul", "copy", "port_env",
		"pass_labels", "when_tight", "rollback", "network")
	o.done()
	return s
}

func (o *object) optional(key string) *time.Duration {
	d, ok := o.duration(key)
	if !ok {
		return nil
	}
	return &d
}

func (a *app) standby(s *settings, path string, v any) {
	state := func(text string) {
		s.standbyState = manifests.StandbyState(text)
	}
	if _, mapping := v.(map[string]any); !mapping {
		// The short form is a duration.
		s.standbyFor = (&object{
			app: a, path: strings.TrimSuffix(path, ".standby"), used: map[string]bool{},
			data: map[string]any{"standby": v},
		}).optional("standby")
		return
	}
	o := a.object(path, v)
	s.standbyFor = o.optional("for")
	state(o.text("state", "running", "paused", "stopped"))
	o.done()
}

func (a *app) probe(path string, v any) *manifests.Probe {
	o := a.object(path, v)
	p := &manifests.Probe{
		HTTP: o.text("http"), Port: o.port("port"),
		Interval: manifests.DefaultProbeInterval, Timeout: manifests.DefaultProbeTimeout,
		Rise: manifests.DefaultRise, Fall: manifests.DefaultFall,
	}
	if p.HTTP != "" && !strings.HasPrefix(p.HTTP, "/") {
		a.fail(o.at("http"), "write a path such as /up", "%q does not begin with /", p.HTTP)
	}
	if d, ok := o.duration("interval"); ok {
		p.Interval = max(d, 10*time.Millisecond)
	}
	if d, ok := o.duration("timeout"); ok {
		p.Timeout = max(d, 10*time.Millisecond)
	}
	if n := o.integer("rise", 1, 100); n > 0 {
		p.Rise = n
	}
	if n := o.integer("fall", 1, 100); n > 0 {
		p.Fall = n
	}
	o.done()
	return p
}

func (a *app) routes(o *object) []manifests.Route {
	v, ok := o.get("routes")
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		a.fail(o.at("routes"), "", "a list of routes belongs here")
		return nil
	}
	var routes []manifests.Route
	for i, item := range list {
		routes = append(routes, a.route(fmt.Sprintf("%s[%d]", o.at("routes"), i), item))
	}
	return routes
}

func (a *app) route(path string, v any) manifests.Route {
	o := a.object(path, v)
	r := manifests.Route{
		Host: strings.ToLower(o.text("host")), Path: o.text("path"),
		Published: o.port("published"), Target: o.port("target"),
		App: o.text("app_protocol", "http", "http2", "https", "tcp"),
	}
	for _, s := range o.texts("listen") {
		l := object{app: a, path: path, data: map[string]any{"listen": s}, used: map[string]bool{}}
		r.Listen = append(r.Listen, l.port("listen"))
	}
	r.TLS = a.routeTLS(o)
	r.Access = a.access(o, r.App)
	r.ProxyProtocol = map[string]int{"v1": 1, "v2": 2}[o.text("proxy_protocol", "v1", "v2")]
	o.done()
	a.checkRoute(path, r)
	return r
}

func (a *app) checkRoute(path string, r manifests.Route) {
	a.checkProxyProtocol(path+".proxy_protocol", r)
	if r.Target == 0 {
		a.fail(path, "write `target: 3000`", "the route has no target port")
	}
	switch {
	case r.Host == "" && r.Published == 0 && r.Path == "":
		a.fail(path, "write `host:` or `published:`", "the route says neither for which host name nor on which port")
	case r.Published != 0 && (r.Host != "" || r.Path != "" || r.Listen != nil):
		a.fail(path, "write two routes", "`published` does not go with `host`, `path` and `listen`")
	}
	a.checkTLS(path, r)
	if r.Published != 0 {
		return
	}
	if r.App == "tcp" {
		a.fail(path, "use `published`", "a route by host name or path is HTTP")
	}
	if !validHost(r.Host) {
		a.fail(path+".host", "such as shop.example.com or *.example.com", "%q is no host name", r.Host)
	}
	if r.Path != "" && !strings.HasPrefix(r.Path, "/") {
		a.fail(path+".path", "", "%q does not begin with /", r.Path)
	}
}

// checkProxyProtocol reports a PROXY header where there is no tunnel to go first
// on.
func (a *app) checkProxyProtocol(at string, r manifests.Route) {
	switch {
	case r.ProxyProtocol == 0, r.TLS != nil && r.TLS.Mode == manifests.TLSPassthrough:
	case strings.HasPrefix(r.App, "http"):
		a.fail(at, "remove it; X-Forwarded-For says who the client is", "requests of an http route share connections, which tell of no client")
	case r.TLS != nil && r.Published != 0:
		a.fail(at, "remove one of the two; X-Forwarded-For says who the client is", "where TLS ends here, requests share connections")
	case r.Published == 0:
		a.fail(at, "use `published` or `tls: passthrough`, or remove it; X-Forwarded-For says who the client is", "a route by host name or path is HTTP, whose requests share connections")
	}
}

// validHost accepts a host name, with one wildcard label at its front.
func validHost(name string) bool {
	name = strings.TrimPrefix(name, "*.")
	if len(name) > 253 {
		return false
	}
	if name == "" {
		return true
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}
