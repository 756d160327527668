package load

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/remorahq/remora/manifests"
)

// access reads who may use a route and how much.
func (a *app) access(o *object, protocol string) manifests.Access {
	out := manifests.Access{
		Allow: a.prefixes(o, "allow"), MaxConns: o.integer("max_connections", 1, 1_000_000),
		Replay: o.boolean("replay"), Retry5xx: o.boolean("retry_5xx"), ServerTiming: o.boolean("server_timing"),
	}
	if v, ok := o.get("rate"); ok {
		out.Rate = a.rate(o.at("rate"), v)
	}
	if protocol != "tcp" {
		return out
	}
	for _, key := range []string{"replay", "retry_5xx", "server_timing"} {
		if o.boolean(key) {
			a.fail(o.at(key), "remove it, or the route's app_protocol", "`%s` is about requests, and a tcp route has none", key)
		}
	}
	return out
}

// prefixes reads addresses and prefixes.
func (a *app) prefixes(o *object, key string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range o.texts(key) {
		p, err := parsePrefix(s)
		if err != nil {
			a.fail(o.at(key), "such as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.7", "%q is neither an address nor a prefix", s)
			continue
		}
		out = append(out, p)
	}
	if v, written := o.get(key); written && len(out) == 0 {
		if list, ok := v.([]any); ok && len(list) == 0 {
			a.fail(o.at(key), "remove the key to let all in", "the list is empty, so that nobody may use the route")
		}
	}
	return out
}

func parsePrefix(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		ip = ip.Unmap().WithZone("")
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// rate reads {per_second, burst}; burst is at least what a second brings.
func (a *app) rate(path string, v any) manifests.Rate {
	o := a.object(path, v)
	r := manifests.Rate{PerSecond: o.number("per_second", 0.001, 1_000_000), Burst: o.integer("burst", 1, 1_000_000)}
	o.done()
	if _, ok := o.data["per_second"]; !ok && o.data != nil {
		a.fail(path, "write `per_second: 10`", "the rate does not say how many a second")
	}
	if r.Burst == 0 {
		r.Burst = max(1, int(r.PerSecond))
	}
	return r
}

// number returns a number from lo to hi.
func (o *object) number(key string, lo, hi float64) float64 {
	v, ok := o.get(key)
	if !ok {
		return 0
	}
	f, err := strconv.ParseFloat(scalar(v), 64)
	if err != nil || !(lo <= f && f <= hi) { // NaN is neither below nor above
		o.app.fail(o.at(key), "", "%q is no number from %s to %s", scalar(v), plainNumber(lo), plainNumber(hi))
		return 0
	}
	return f
}

func plainNumber(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// assets reads path patterns: a path, or a beginning with "*" after it.
func (a *app) assets(o *object) []string {
	list := o.texts("assets")
	for _, p := range list {
		before, isPrefix := strings.CutSuffix(p, "*")
		if !strings.HasPrefix(p, "/") || strings.Contains(before, "*") || isPrefix && before == "" {
			a.fail(o.at("assets"), "write such as /assets/* or /favicon.ico", "%q is no path, with `*` at its end or not", p)
		}
	}
	return list
}
