package reconciler

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
)

// Explain prints the chain of gates from commit to traffic of an app, of what
// a URL leads to, or of the app that a container belongs to.
func (r *Reconciler) Explain(ctx context.Context, subject string) (status.Explanation, error) {
	if strings.Contains(subject, "://") {
		return r.explainURL(ctx, subject)
	}
	app, service := subject, ""
	if w, err := r.find(app); err == nil {
		return r.explainApp(w, service), nil
	}
	if i := strings.LastIndexByte(subject, '/'); i > 0 {
		if w, err := r.find(subject[:i]); err == nil {
			return r.explainApp(w, subject[i+1:]), nil
		}
	}
	if c, ok := r.findContainer(subject); ok {
		return r.explainContainer(c)
	}
	_, err := r.find(subject)
	return status.Explanation{}, err
}

// explainApp walks the gates of an app.
func (r *Reconciler) explainApp(w *worker, service string) status.Explanation {
	r.mu.Lock()
	v := r.views[w.id]
	r.mu.Unlock()
	e := status.Explanation{Subject: w.id, Have: v.Revision}
	held := status.Gate{Reason: v.Reason, Message: v.Message, Since: v.Since}
	if src := r.sources[v.Source]; src != nil {
		s := src.snapshot()[0]
		e.Want = s.Revision
		for _, c := range s.Conditions {
			if c.Type == status.Ready && !c.True {
				held = status.Gate{Reason: c.Reason, Message: c.Message, Since: c.Since}
			}
		}
	}
	for _, s := range v.Services {
		if s.Name == service {
			e.Subject = w.id + "/" + service
			held = status.Gate{Reason: s.Reason, Message: s.Message, Since: s.Since}
			e.Want, e.Have = s.Wanted, s.Running
		}
	}
	if held.Reason.Open() {
		held = orMaintained(held, v.Services)
	}
	if held.Reason == "" {
		held.Reason = status.Progressing
	}
	e.Gates, e.Live = status.Chain(held)
	return e
}

// orMaintained is the gate of a service whose visitors get a page, if there is
// one: its app is as it should be, but nobody sees it.
func orMaintained(held status.Gate, services []status.Service) status.Gate {
	for _, s := range services {
		if s.Reason == status.Maintenance {
			return status.Gate{Reason: s.Reason, Message: s.Name + ": " + s.Message, Since: s.Since}
		}
	}
	return held
}

// findContainer finds a container by name, or by its ID's beginning.
func (r *Reconciler) findContainer(word string) (engine.Container, bool) {
	for _, c := range r.world.all() {
		if c.Name == word || (len(word) >= 4 && strings.HasPrefix(c.ID, word)) {
			return c, true
		}
	}
	return engine.Container{}, false
}

// explainContainer says what a container is, and then explains its app.
func (r *Reconciler) explainContainer(c engine.Container) (status.Explanation, error) {
	if !c.Ours() {
		return status.Explanation{
			Subject: c.Name, Gates: []status.Gate{{Name: "ours", Reason: status.Foreign, Message: "remora did not create this container and never touches it", Next: "nothing to do"}},
		}, nil
	}
	w, err := r.find(c.AppID())
	if err != nil {
		return status.Explanation{}, err
	}
	e := r.explainApp(w, c.Labels[engine.LabelService])
	e.Subject = fmt.Sprintf("%s: %s of %s, %s", c.Name, shortRelease(c.Labels[engine.LabelRelease]), w.id, c.State)
	return e, nil
}

func shortRelease(id string) string {
	_, digest, _ := strings.Cut(id, ":")
	return digest[:min(8, len(digest))]
}

// explainURL has the ambassador say what would become of a request, and then
// explains the app that it leads to.
func (r *Reconciler) explainURL(ctx context.Context, raw string) (status.Explanation, error) {
	if u, err := url.Parse(raw); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return status.Explanation{}, &status.Error{Kind: status.Invalid, Message: fmt.Sprintf("%q is no URL such as https://shop.example.com/cart", raw)}
	}
	way, err := r.cfg.Traffic.Explain(ctx, raw)
	if err != nil {
		return status.Explanation{}, &status.Error{Kind: status.Unavailable, Message: "the ambassador does not answer: " + err.Error(), Remedy: "see whether remora-ambassador runs, and its log"}
	}
	e := status.Explanation{Subject: raw}
	app := appOf(way.Service)
	if w, err := r.find(app); way.Service != "" && err == nil {
		e = r.explainApp(w, strings.TrimPrefix(way.Service, app+"/"))
		e.Subject = fmt.Sprintf("%s → %s:%d", raw, way.Service, way.Port)
	}
	e.Route = &way
	gates, through := wayGates(&way)
	switch {
	case through:
		e.Gates = append(gates, e.Gates...)
	case len(e.Gates) > 0 && !e.Live && (gates[len(gates)-1].Name == "release" || gates[len(gates)-1].Name == "instance"):
		e.Gates = append(gates[:len(gates)-1], e.Gates...) // the app's chain says why
	default:
		e.Gates, e.Live = gates, false
	}
	return e, nil
}

// wayGates are the steps of a request as gates. The reason of the one that
// holds is the ambassador's code.
func wayGates(way *traffic.Explanation) (gates []status.Gate, through bool) {
	for _, s := range way.Steps() {
		g := status.Gate{Name: s.Name, OK: s.OK, Message: s.Text, Next: s.Remedy}
		switch {
		case s.OK:
		case way.Refused != nil && way.Refused.Reason == "maintenance":
			g.Reason = status.Maintenance
		case way.Refused != nil:
			g.Reason = status.Reason(way.Refused.Reason)
			g.Message = refusalText(way.Refused) // the gate shows the reason itself
		case s.Name == "instance":
			g.Reason = status.HealthCheckFailed
		default:
			g.Reason = status.Progressing
		}
		if gates = append(gates, g); !s.OK {
			return gates, false
		}
	}
	return gates, true
}

func refusalText(r *traffic.RefusalExplanation) string {
	if r.Status == 0 {
		return r.Text
	}
	return fmt.Sprintf("answered %d: %s", r.Status, r.Text)
}

// Routes lists what the ambassador listens for and where it leads.
func (r *Reconciler) Routes(context.Context) ([]status.RouteRow, error) {
	rep, table, ack, _ := r.table.state()
	failed := map[traffic.ListenerKey]string{}
	for _, f := range ack.Failures {
		failed[f.ListenerKey] = f.Error
	}
	services := map[string]traffic.Service{}
	for _, s := range table.Services {
		services[s.Name] = s
	}
	reports := map[string]traffic.ServiceReport{}
	for _, s := range rep.Services {
		reports[s.Name] = s
	}
	var out []status.RouteRow
	for _, l := range table.Listeners {
		out = append(out, r.passedRows(l, services, reports)...)
		for _, route := range l.Routes {
			row := status.RouteRow{Listen: listenText(l.ListenerKey), Protocol: string(l.Protocol), Host: route.Host, Path: route.Path, Service: route.Service, Port: route.Port}
			fillRow(&row, services[route.Service], reports[route.Service])
			if why := failed[l.ListenerKey]; why != "" {
				row.State = "failed: " + why
			} else if why := r.refused(rep, l, route.Host); why != "" {
				row.State = "refused: " + why
			}
			out = append(out, row)
		}
	}
	return out, nil
}

func listenText(k traffic.ListenerKey) string {
	text := fmt.Sprintf(":%d", k.Port)
	if k.Address.IsValid() {
		text = k.Address.String() + text
	}
	if k.Namespace != "" {
		text = k.Namespace + "/" + text
	}
	return text
}

// fillRow adds what the service's active release does.
func fillRow(row *status.RouteRow, s traffic.Service, rep traffic.ServiceReport) {
	row.Release, row.State = shortRelease(s.Active), "serving"
	switch {
	case s.Maintenance:
		row.State = "maintenance"
	case s.Hold:
		row.State = fmt.Sprintf("held (%d waiting)", rep.Held)
	case s.Active == "":
		row.State = "no release yet"
	}
	for _, rel := range rep.Releases {
		row.Inflight += rel.Inflight
		row.Tunnels += rel.Tunnels
		row.Requests += rel.Requests
		row.Errors += rel.Errors5xx
		if rel.Name == s.Active && row.State == "serving" && !anyGood(rel.Endpoints) {
			row.State = "no healthy container"
		}
	}
}

func anyGood(endpoints []traffic.EndpointReport) bool {
	for _, e := range endpoints {
		if e.Good {
			return true
		}
	}
	return false
}
