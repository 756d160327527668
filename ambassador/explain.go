package ambassador

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/remorahq/remora/ambassador/page"
	"github.com/remorahq/remora/ambassador/sni"
	"github.com/remorahq/remora/internal/traffic"
)

// Explain says what would become of a GET of a URL at this moment. It asks the
// functions that requests ask, and takes nothing: no place, no token of a rate,
// no claim.
func (wk *Worker) Explain(_ context.Context, raw string) (traffic.Explanation, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return traffic.Explanation{}, fmt.Errorf("%q is no URL such as https://shop.example.com/cart", raw)
	}
	x := explainer{wk: wk, v: wk.view.Load(), u: u}
	x.e = traffic.Explanation{URL: raw, Generation: x.v.table.Generation}
	x.walk()
	return x.e, nil
}

// explainer is one explanation being made. It stands in for a client that
// shows nothing but its URL.
type explainer struct {
	wk *Worker
	v  *view
	u  *url.URL
	e  traffic.Explanation
}

func (x *explainer) gone() bool                      { return false }
func (x *explainer) field(string) []byte             { return nil }
func (x *explainer) fieldFromEnd(string, int) []byte { return nil }

func (x *explainer) walk() {
	lv := x.v.listening(x.u)
	if lv == nil {
		x.refuse("listener", refuse(page.Unpublished), "nothing listens on port "+strconv.Itoa(int(portOf(x.u)))+"; `remora routes` lists what does")
		return
	}
	x.e.Listener, x.e.Protocol = listenerName(lv.spec.ListenerKey), lv.spec.Protocol
	w := want{listener: lv.spec.ListenerKey, arrived: time.Now(), by: x, host: []byte(x.u.Host), path: pathOf(x.u), target: []byte(x.u.RequestURI())}
	if !x.secure(lv, &w) {
		return
	}
	rv, err := w.resolve(x.v)
	if err != nil {
		x.refuse("route", err, "")
		return
	}
	x.e.Route = rv.rt.text
	x.e.Chosen, x.e.Others = lv.whyRoute(rv, &w)
	x.e.Service, x.e.Port = rv.spec.Service, rv.spec.Port
	x.e.Limits = rv.limits()
	if err := w.barred(); err != nil {
		x.refuse("access", err, "")
		return
	}
	x.choose(rv.sv, &w)
}

// secure follows the handshake of a https URL; false is its end.
func (x *explainer) secure(lv *listenerView, w *want) bool {
	isTLS := lv.spec.Protocol == traffic.TLS
	switch {
	case x.u.Scheme == "http" && isTLS:
		x.refuse("tls", refuse(page.PlainOnTLS), "")
		return false
	case x.u.Scheme == "http":
		return lv.spec.Protocol != traffic.TCP || x.tunnels(w, "this port tunnels every connection")
	case !isTLS && lv.spec.Protocol == traffic.HTTP:
		x.refuse("tls", &refusal{code: page.BadRequest, text: "This port takes http only."}, "give the route `tls`")
		return false
	case !isTLS:
		return x.tunnels(w, "not ended here: TLS goes to the container as it is")
	}
	name := strings.ToLower(strings.TrimSuffix(x.u.Hostname(), "."))
	n := lv.names.find([]byte(name), nil)
	switch {
	case n == nil:
		x.refuse("tls", &refusal{code: page.NoRoute, text: "No certificate is for the name " + strconv.Quote(name) + ": the handshake is refused."}, "no route with `tls` has this host name")
		return false
	case n.spec.Certificate == "":
		w.passes = &sni.Hello{ServerName: name}
		return x.tunnels(w, "passed through to the container, undecrypted, by the name "+nameOr(n.spec.Name))
	}
	if _, err := x.wk.secure.configure(n); err != nil {
		x.refuse("tls", &refusal{code: page.NoRoute, text: "The handshake is refused: " + err.Error() + "."}, "`remora status` says what keeps the certificate")
		return false
	}
	w.secure, w.authority = true, n.spec.ClientCA
	x.e.TLS = "ended here for " + nameOr(n.spec.Name) + " with " + certificateText(n.spec.Certificate)
	if n.spec.ClientCA != "" {
		x.e.TLS += ", for clients with a certificate of " + certificateText(n.spec.ClientCA)
	}
	return true
}

// certificateText names a certificate by what people wrote.
func certificateText(name string) string {
	src, ok := traffic.ParseCertificateSource(name)
	switch {
	case !ok:
		return "the certificate " + name
	case src.Auto != "":
		return "the automatic certificate"
	case src.ClientCA != "":
		return src.ClientCA
	}
	return "the certificate " + src.Cert
}

// tunnels makes the want one for the whole connection, which has no path.
func (x *explainer) tunnels(w *want, why string) bool {
	w.tunnel, w.host, w.path, x.e.TLS = true, nil, nil, why
	return true
}

func nameOr(name string) string {
	if name == "" {
		return "any name"
	}
	return name
}

// choose says which release and instance would get it.
func (x *explainer) choose(sv *serviceView, w *want) {
	d := sv.decide(w)
	shown := d.rv
	switch {
	case d.err != nil:
		x.refuse("release", d.err, "")
		shown = sv.active
	case d.ev == nil:
		x.e.Waits, x.e.Held = d.why, int(sv.svc.held.Load())
		shown = sv.active
	default:
		x.e.Picked = sv.whyRelease(d)
	}
	if shown == nil {
		return
	}
	x.e.Release = shown.spec.Name
	for _, ev := range shown.endpoints {
		i := ev.explain(shown.spec.Paused)
		i.Chosen = ev == d.ev
		x.e.Instances = append(x.e.Instances, i)
	}
}

func (x *explainer) refuse(step string, err error, remedy string) {
	r, ok := errors.AsType[*refusal](err)
	if !ok {
		r = &refusal{code: page.BadRequest, text: err.Error()}
	}
	p := page.Of(r.reason())
	if remedy == "" {
		remedy = p.Operator
	}
	status := p.Status
	if r.status != 0 {
		status = r.status
	}
	if step == "listener" || step == "tls" && r.code == page.NoRoute {
		status = 0 // there is no connection to answer on
	}
	text := r.Error()
	if step == "listener" {
		text, remedy = remedy, ""
	}
	x.e.Refused = &traffic.RefusalExplanation{Step: step, Reason: string(r.reason()), Status: status, Text: text, Remedy: remedy}
}

// listening finds the listener that takes a URL's connection: by its address,
// where the URL has one, else one that is bound to all addresses.
func (v *view) listening(u *url.URL) *listenerView {
	addr, _ := netip.ParseAddr(u.Hostname())
	addr = addr.Unmap()
	var best *listenerView
	for _, l := range v.table.Listeners {
		switch lv := v.listeners[l.ListenerKey]; {
		case lv == nil || l.Port != portOf(u):
		case addr.IsValid() && l.Address == addr:
			return lv
		case l.Namespace != "":
		case !l.Address.IsValid():
			best = lv
		case best == nil && !addr.IsValid():
			best = lv
		}
	}
	return best
}

func portOf(u *url.URL) uint16 {
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		return uint16(n)
	}
	if u.Scheme == "https" {
		return 443
	}
	return 80
}

func pathOf(u *url.URL) []byte {
	if p := u.EscapedPath(); p != "" {
		return []byte(p)
	}
	return []byte("/")
}

// whyRoute says why a want takes its route, and which others match.
func (lv *listenerView) whyRoute(chosen *routeView, w *want) (why string, others []string) {
	if w.passes != nil {
		return "by the server name in the client hello", nil
	}
	if w.tunnel {
		return "the route of a connection that names no host", nil
	}
	for i, rv := range lv.routes {
		if rv == chosen || i >= len(lv.spec.Routes) {
			continue
		}
		alone := traffic.NewRouter(lv.spec.Routes[i : i+1])
		if _, ok := alone.Match(w.host, w.path); ok {
			others = append(others, rv.rt.text+" → "+rv.spec.Service)
		}
	}
	host, _, err := net.SplitHostPort(string(w.host))
	if err != nil {
		host = string(w.host)
	}
	switch {
	case len(others) == 0:
		return "the only one that matches", nil
	case strings.EqualFold(strings.TrimSuffix(host, "."), chosen.spec.Host):
		why = "its host name is exact"
	case chosen.spec.Host != "":
		why = "its wildcard is the longest that matches"
	default:
		why = "no route with a host name matches"
	}
	return fmt.Sprintf("%s, and its path the longest, of %d that match", why, len(others)+1), others
}

// limits tells what the route asks of clients, as sentences.
func (rv *routeView) limits() []string {
	var list []string
	s := &rv.spec
	if len(s.Allow) > 0 {
		var texts []string
		for _, p := range s.Allow {
			texts = append(texts, p.String())
		}
		list = append(list, "clients of "+strings.Join(texts, ", ")+" only")
	}
	if s.Rate.PerSecond > 0 {
		list = append(list, fmt.Sprintf("%g requests a second of one client, %d at once", s.Rate.PerSecond, max(s.Rate.Burst, 1)))
	}
	if s.MaxConns > 0 {
		list = append(list, fmt.Sprintf("%d of %d places taken", rv.rt.seats.Load(), s.MaxConns))
	}
	return list
}

// whyRelease says why a decision was for its release.
func (sv *serviceView) whyRelease(d decision) string {
	switch sp := sv.split; {
	case d.from != nil:
		return fmt.Sprintf("%s, in place of %s, which does not take connections", d.rv.spec.State, traffic.ShortRelease(d.from.spec.Name))
	case sp != nil && d.rv == sp.rv:
		return fmt.Sprintf("canary, for %g %% %s; this draw fell on it", float64(sp.spec.Share)/100, sharedBy(sp.spec.Sticky))
	case sp != nil:
		return fmt.Sprintf("%s; %s is a canary for %g %% %s", d.rv.spec.State, traffic.ShortRelease(sp.spec.Release), float64(sp.spec.Share)/100, sharedBy(sp.spec.Sticky))
	}
	return string(d.rv.spec.State)
}

func sharedBy(sticky string) string {
	if sticky == "" {
		return "of requests"
	}
	return "of clients, by " + sticky
}

// explain says how an endpoint stands among others.
func (ev *endpointView) explain(paused bool) traffic.InstanceExplanation {
	e, r := ev.ep, ev.report()
	i := traffic.InstanceExplanation{
		Container: ev.spec.Container, Instance: ev.spec.Instance, Address: ev.spec.Address.String(),
		LastError: r.LastError, Inflight: int(e.inflight.Load()),
	}
	switch {
	case ev.spec.Down:
		i.State = "down"
	case ev.unverified:
		i.State = "unverified"
	case paused:
		i.State = "paused"
	case e.refused.Load():
		i.State = "refusing"
	case e.ejected():
		i.State = "ejected"
	case e.good.Load():
		i.State, i.LastError = "good", ""
	case r.Failures > 0:
		i.State = "failing"
	default:
		i.State = "unchecked"
	}
	return i
}
