package ambassador

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/remorahq/remora/ambassador/page"
	"github.com/remorahq/remora/internal/traffic"
)

// expose writes families of metrics. Labels are bounded by the table: service,
// route and listener come and go with it, codes and reasons are fixed.
type expose struct{ w io.Writer }

func (x expose) head(name, kind, help string) { writeHead(x.w, name, kind, help) }

func (x expose) line(name, labels string, value uint64) {
	if labels != "" {
		labels = "{" + labels + "}"
	}
	fmt.Fprintf(x.w, "%s%s%s %d\n", metricPrefix, name, labels, value)
}

// single writes a family of one value.
func (x expose) single(name, kind, help string, value uint64) {
	x.head(name, kind, help)
	x.line(name, "", value)
}

// services writes what is counted by service.
func (x expose) services(r *traffic.Report) {
	for _, m := range []struct {
		name, help string
		value      func(*traffic.ServiceReport) uint64
	}{
		{"retries_total", "Requests sent to another instance because nothing had been sent.", func(s *traffic.ServiceReport) uint64 { return s.Retries }},
		{"replays_total", "Requests sent again after they had been sent.", func(s *traffic.ServiceReport) uint64 { return s.Replays }},
		{"ejections_total", "Times that an instance got no requests because it refused connections or did not answer.", func(s *traffic.ServiceReport) uint64 { return s.Ejections }},
	} {
		x.head(m.name, "counter", m.help)
		for i := range r.Services {
			s := &r.Services[i]
			x.line(m.name, fmt.Sprintf("service=%q", label(s.Name)), m.value(s))
		}
	}
}

// ends writes why requests ended otherwise than by a container's whole answer.
func (wk *Worker) ends(x expose, v *view) {
	const name = "ends_total"
	x.head(name, "counter", "Requests and tunnels that ended by the ambassador or the client, by reason code.")
	write := func(service string, c *reasonCounts) {
		for i, r := range page.Reasons() {
			if n := c[i].Load(); n > 0 {
				x.line(name, fmt.Sprintf("service=%q,reason=%q", label(service), r.Code), n)
			}
		}
	}
	write("", &wk.reasons)
	for i := range v.table.Services {
		sv := v.services[v.table.Services[i].Name]
		write(sv.svc.name, &sv.svc.reasons)
	}
}

// routeSeries are the routes of a view with their labels, each runtime once.
type routeSeries struct {
	labels string
	stats  *routeStats
}

func (v *view) routeSeries() []routeSeries {
	var list []routeSeries
	seen := make(map[*routeRuntime]bool)
	for _, l := range v.table.Listeners {
		lv := v.listeners[l.ListenerKey]
		if lv == nil {
			continue
		}
		for _, r := range lv.routes {
			if seen[r.rt] || r.sv == nil {
				continue
			}
			seen[r.rt] = true
			list = append(list, routeSeries{fmt.Sprintf("listener=%q,route=%q,service=%q",
				label(listenerName(l.ListenerKey)), label(r.rt.text), label(r.sv.svc.name)), &r.rt.stats})
		}
	}
	return list
}

// listenerName is a listener as people write it: ":443", or with namespace and
// address where it has them.
func listenerName(k traffic.ListenerKey) string {
	name := ":" + strconv.Itoa(int(k.Port))
	if k.Address.IsValid() {
		name = k.Address.String() + name
		if k.Address.Is6() {
			name = "[" + k.Address.String() + "]:" + strconv.Itoa(int(k.Port))
		}
	}
	if k.Namespace != "" {
		name = k.Namespace + "/" + name
	}
	return name
}

// routes writes what is counted by route.
func (x expose) routes(series []routeSeries) {
	x.head("route_requests_total", "counter", "Requests by the class of their status, and tunnels.")
	for _, s := range series {
		for c := range 6 {
			if n := s.stats.class(c); n > 0 {
				x.line("route_requests_total", s.labels+",code="+strconv.Quote(className(c)), n)
			}
		}
	}
	x.histograms("route_duration_seconds", "Requests, from their first byte to the answer's end; tunnels and event streams are left out.",
		series, func(s *routeStats) distribution { return s.duration.read() })
	x.histograms("route_first_byte_seconds", "Requests, from their first byte to the answer's first byte.",
		series, func(s *routeStats) distribution { return s.firstByte.read() })
}

func className(c int) string {
	if c == 0 {
		return "tunnel"
	}
	return strconv.Itoa(c) + "xx"
}

// histograms writes a family of histograms. Routes without a request are left
// out.
func (x expose) histograms(name, help string, series []routeSeries, read func(*routeStats) distribution) {
	x.head(name, "histogram", help)
	for _, s := range series {
		d := read(s.stats)
		all := d.upTo[len(bounds)]
		if all == 0 {
			continue
		}
		for i, bound := range bounds {
			x.line(name+"_bucket", s.labels+`,le="`+strconv.FormatFloat(bound.Seconds(), 'g', -1, 64)+`"`, d.upTo[i])
		}
		x.line(name+"_bucket", s.labels+`,le="+Inf"`, all)
		fmt.Fprintf(x.w, "%s%s_sum{%s} %g\n", metricPrefix, name, s.labels, d.sum.Seconds())
		x.line(name+"_count", s.labels, all)
	}
}

// own writes what this worker counts for itself.
func (wk *Worker) own(x expose) {
	lines := wk.access.Stats()
	x.single("accepted_connections_total", "counter", "Client connections accepted.", wk.accepted.Load())
	x.single("tls_handshakes_total", "counter", "TLS handshakes that succeeded.", wk.handshakes.Load())
	x.single("tls_handshake_failures_total", "counter", "TLS handshakes that did not.", wk.handshakeFailures.Load())
	x.single("access_log_lines_total", "counter", "Lines written to the access log.", lines.Written)
	x.single("access_log_dropped_total", "counter", "Lines dropped because memory or the disk was full.", lines.Dropped)
}

// label makes a text fit for %q, which would write some of it in Go's way
// rather than Prometheus'.
func label(s string) string {
	if !strings.ContainsFunc(s, unlabelled) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if unlabelled(r) {
			return '_'
		}
		return r
	}, s)
}

func unlabelled(r rune) bool { return r < ' ' || r >= 0x7f }
