package reconciler

import (
	"context"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/reconciler/plan"
)

// certify adds to a table's input what it needs of certificates.
func (r *Reconciler) certify(in *plan.TableInput) {
	in.HTTPS = r.cfg.Host.Ambassador.HTTPS
	if c := r.cfg.Certificates; c != nil {
		in.ACME, in.Ready = c.Challenges(), c.Ready
	}
}

// followCertificates makes the table anew when there is another certificate, and
// has the apps show what became of theirs.
func (r *Reconciler) followCertificates(ctx context.Context) {
	if r.cfg.Certificates == nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.cfg.Certificates.Changes():
			r.table.wake()
			r.wakeAll()
		}
	}
}

// certificateWarnings are what is to be said of the certificates of a service's
// routes: what is wrong before what will be, since a row shows the first.
func (w *worker) certificateWarnings(service string) []string {
	c := w.r.cfg.Certificates
	if c == nil || w.desired == nil || w.desired.app == nil {
		return nil
	}
	s := w.desired.app.Service(service)
	if s == nil {
		return nil
	}
	var troubles, warnings []string
	for _, name := range plan.CertificatesOf(s) {
		if text := c.Trouble(name); text != "" {
			troubles = append(troubles, text)
		}
		warnings = append(warnings, c.Warnings(name)...)
	}
	return append(troubles, warnings...)
}

// refused says why TLS clients of a route are refused in the handshake; empty
// where they are not.
func (r *Reconciler) refused(rep traffic.Report, l traffic.Listener, host string) string {
	for _, f := range rep.Names {
		if f.ListenerKey != l.ListenerKey || f.Name != host {
			continue
		}
		if c := r.cfg.Certificates; c != nil {
			if text := c.Trouble(f.Certificate); text != "" {
				return text
			}
		}
		return f.Error
	}
	return ""
}

// passedRows are the rows of the server names that are passed through.
func (r *Reconciler) passedRows(l traffic.Listener, services map[string]traffic.Service, reports map[string]traffic.ServiceReport) []status.RouteRow {
	var out []status.RouteRow
	for _, n := range l.TLS {
		if n.Certificate != "" {
			continue
		}
		row := status.RouteRow{Listen: listenText(l.ListenerKey), Protocol: "passthrough", Host: n.Name, Service: n.Service, Port: n.Port}
		if n.ALPN != "" {
			row.Protocol = n.ALPN
		}
		fillRow(&row, services[n.Service], reports[n.Service])
		out = append(out, row)
	}
	return out
}
