package ambassador

import (
	"bufio"
	"fmt"
	"io"

	"github.com/remorahq/remora/internal/traffic"
)

// metric is a family of the exposition, with its value per release.
type metric struct {
	name, kind, help string
	value            func(*traffic.ReleaseReport) float64
}

func releaseMetrics() []metric {
	return []metric{
		{"requests_total", "counter", "Requests answered, and connections tunnelled.", func(r *traffic.ReleaseReport) float64 { return float64(r.Requests) }},
		{"errors_total", "counter", "Answers of 500 and above, of the instance or for it.", func(r *traffic.ReleaseReport) float64 { return float64(r.Errors5xx) }},
		{"connect_errors_total", "counter", "Connections that an instance did not take.", func(r *traffic.ReleaseReport) float64 { return float64(r.ConnectErrors) }},
		{"mirrored_total", "counter", "Copies of requests sent to it.", func(r *traffic.ReleaseReport) float64 { return float64(r.Mirrored) }},
		{"mirror_errors_total", "counter", "Copies that got no answer, or a 5xx.", func(r *traffic.ReleaseReport) float64 { return float64(r.MirrorErrors) }},
		{"mirror_dropped_total", "counter", "Copies that there was no room for.", func(r *traffic.ReleaseReport) float64 { return float64(r.Unmirrored) }},
		{"assets_lent_total", "counter", "Assets given in place of another release.", func(r *traffic.ReleaseReport) float64 { return float64(r.Lent) }},
		{"spilled_total", "counter", "Requests that went to the standby because this release had crashed.", func(r *traffic.ReleaseReport) float64 { return float64(r.Spilled) }},
		{"received_bytes_total", "counter", "Bytes sent to instances.", func(r *traffic.ReleaseReport) float64 { return float64(r.BytesIn) }},
		{"sent_bytes_total", "counter", "Bytes sent to clients.", func(r *traffic.ReleaseReport) float64 { return float64(r.BytesOut) }},
		{"requests_in_flight", "gauge", "Requests in flight.", func(r *traffic.ReleaseReport) float64 { return float64(r.Inflight) }},
		{"tunnels", "gauge", "Tunnels and event streams that are open.", func(r *traffic.ReleaseReport) float64 { return float64(r.Tunnels) }},
		{"instances_good", "gauge", "Instances that pass their checks.", goodInstances},
	}
}

func goodInstances(r *traffic.ReleaseReport) float64 {
	n := 0
	for _, e := range r.Endpoints {
		if e.Good {
			n++
		}
	}
	return float64(n)
}

const metricPrefix = "remora_ambassador_"

// WriteMetrics writes the present state in Prometheus' text form.
func (wk *Worker) WriteMetrics(out io.Writer) error {
	w := bufio.NewWriter(out)
	r := wk.Report()
	for _, m := range releaseMetrics() {
		writeHead(w, m.name, m.kind, m.help)
		for i := range r.Services {
			s := &r.Services[i]
			for j := range s.Releases {
				rel := &s.Releases[j]
				state := ""
				if m.kind == "gauge" { // a counter goes on when its release changes state
					state = fmt.Sprintf(",state=%q", rel.State)
				}
				fmt.Fprintf(w, "%s%s{service=%q,release=%q%s} %g\n", metricPrefix, m.name, label(s.Name), label(rel.Name), state, m.value(rel))
			}
		}
	}
	writeHead(w, "held", "gauge", "Requests that wait.")
	for i := range r.Services {
		fmt.Fprintf(w, "%sheld{service=%q} %d\n", metricPrefix, label(r.Services[i].Name), r.Services[i].Held)
	}
	for _, g := range []struct {
		name, help string
		value      int
	}{
		{"generation", "Generation of the table in force.", int(r.Generation)},
		{"workers", "Workers alive, draining ones included.", r.Workers},
		{"connections", "Client connections of the leading worker.", wk.conns.count()},
		{"listen_failures", "Listeners and routes that do not work.", len(r.Failures)},
		{"name_failures", "Server names whose clients are refused in the handshake.", len(r.Names)},
	} {
		writeHead(w, g.name, "gauge", g.help)
		fmt.Fprintf(w, "%s%s %d\n", metricPrefix, g.name, g.value)
	}
	wk.writeCertificateMetrics(w)
	v, x := wk.view.Load(), expose{w}
	x.services(&r)
	x.routes(v.routeSeries())
	wk.ends(x, v)
	wk.own(x)
	return w.Flush()
}

func writeHead(w io.Writer, name, kind, help string) {
	fmt.Fprintf(w, "# HELP %s%s %s\n# TYPE %s%s %s\n", metricPrefix, name, help, metricPrefix, name, kind)
}
