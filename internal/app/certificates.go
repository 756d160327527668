package app

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/remorahq/remora/internal/acme"
	"github.com/remorahq/remora/internal/certfiles"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/plan"
)

// certificates joins what keeps certificates with the ambassador that uses
// them, and with the reconciler, whose table names them. A name says where its
// certificate comes from; see [traffic.CertificateSource].
type certificates struct {
	log    *slog.Logger
	put    func(ctx context.Context, list []traffic.Certificate) error
	record func(status.Event) status.Event
	host   string
	files  *certfiles.Keeper
	auto   *acme.Keeper

	kick    chan struct{}
	changes chan struct{}

	mu     sync.Mutex
	wanted map[string]use
	// news are names whose certificate or trouble changed and was not told yet.
	news map[string]bool
	// pushed is what the ambassador has, unless it is in doubt.
	pushed  []traffic.Certificate
	doubt   bool
	pushing sync.Mutex
}

// use is what a certificate is for.
type use struct {
	app, service string
	hosts        []string
}

// newCertificates makes what keeps certificates.
func newCertificates(h manifests.Host, log *slog.Logger) (*certificates, error) {
	c := &certificates{
		log: log, host: h.Name, kick: make(chan struct{}, 1), changes: make(chan struct{}, 1),
		wanted: map[string]use{}, news: map[string]bool{}, doubt: true,
	}
	var err error
	c.files, err = certfiles.New(certfiles.Options{Log: log, Changed: func(f certfiles.Files) { c.changed(nameOfFiles(f)) }})
	if err != nil {
		return nil, err
	}
	c.auto, err = acme.New(acmeOptions(h, log, func(host string) { c.changed(traffic.CertificateSource{Auto: host}.Name()) }))
	if err != nil {
		_ = c.files.Close()
		return nil, fmt.Errorf("ambassador.acme: %w", err)
	}
	return c, nil
}

func acmeOptions(h manifests.Host, log *slog.Logger, changed func(string)) acme.Options {
	a := h.Ambassador.ACME
	challenges := a.Challenges
	if len(challenges) == 0 {
		challenges = []string{manifests.ChallengeHTTP, manifests.ChallengeALPN}
	}
	return acme.Options{
		Dir: cmp.Or(a.Shared, filepath.Join(h.State, "acme")), Email: a.Email, Directory: a.Directory, CAFile: a.CAFile,
		HTTP: slices.Contains(challenges, manifests.ChallengeHTTP), ALPN: slices.Contains(challenges, manifests.ChallengeALPN),
		Log: log, Changed: changed,
	}
}

func (c *certificates) close() error {
	err := c.auto.Close()
	if ferr := c.files.Close(); err == nil {
		err = ferr
	}
	return err
}

func filesOf(s traffic.CertificateSource) certfiles.Files {
	return certfiles.Files{Chain: cmp.Or(s.ClientCA, s.Cert), Key: s.Key}
}

func nameOfFiles(f certfiles.Files) string {
	if f.Key == "" {
		return traffic.CertificateSource{ClientCA: f.Chain}.Name()
	}
	return traffic.CertificateSource{Cert: f.Chain, Key: f.Key}.Name()
}

// Challenges are the ports at which the agent answers certificate authorities.
func (c *certificates) Challenges() plan.ACME {
	http, alpn := c.auto.Ports()
	return plan.ACME{HTTP: http, ALPN: alpn}
}

// Changes gets a value after the certificates or their troubles changed.
func (c *certificates) Changes() <-chan struct{} { return c.changes }

// Ready says whether there is a certificate under a name; asking begins to keep
// it.
func (c *certificates) Ready(name string) bool {
	c.mu.Lock()
	_, known := c.wanted[name]
	if !known {
		c.wanted[name] = use{}
	}
	c.mu.Unlock()
	if !known {
		c.keep()
	}
	chain, _, _, _ := c.state(name)
	return len(chain) > 0
}

// state is how a certificate stands.
func (c *certificates) state(name string) (chain, key []byte, trouble string, next time.Time) {
	s, ok := traffic.ParseCertificateSource(name)
	switch {
	case !ok:
		return nil, nil, "nothing is known of this name", time.Time{}
	case s.Auto != "":
		st := c.auto.State(s.Auto)
		return st.Chain, st.Key, st.Trouble, st.Next
	}
	st := c.files.State(filesOf(s))
	return st.Chain, st.Key, st.Trouble, time.Time{}
}

// keep makes the keepers keep what is wanted.
func (c *certificates) keep() {
	c.mu.Lock()
	names := slices.Sorted(maps.Keys(c.wanted))
	c.mu.Unlock()
	var hosts []string
	var files []certfiles.Files
	for _, name := range names {
		s, ok := traffic.ParseCertificateSource(name)
		switch {
		case !ok:
		case s.Auto != "":
			hosts = append(hosts, s.Auto)
		default:
			files = append(files, filesOf(s))
		}
	}
	c.auto.Keep(hosts)
	c.files.Keep(files)
}

// want adds what a table names to what is wanted.
func (c *certificates) want(t *traffic.Table) {
	c.mu.Lock()
	var fresh []string
	for name, u := range uses(t) {
		if c.wanted[name].app == "" && u.app != "" {
			fresh = append(fresh, name)
		}
		c.wanted[name] = u
	}
	c.mu.Unlock()
	if len(fresh) == 0 {
		return
	}
	c.keep()
	for _, name := range fresh {
		if _, _, trouble, _ := c.state(name); trouble != "" {
			c.changed(name)
		}
	}
}

// wantOnly forgets what a table that is in force does not name.
func (c *certificates) wantOnly(t *traffic.Table) {
	wanted := uses(t)
	c.mu.Lock()
	same := len(wanted) == len(c.wanted)
	c.wanted = wanted
	c.mu.Unlock()
	if !same {
		c.keep()
		c.wake()
	}
	c.auto.Begin() // only now do the authority's questions come here
}

// uses are the certificates that a table names, and what for.
func uses(t *traffic.Table) map[string]use {
	out := map[string]use{}
	for i := range t.Listeners {
		l := &t.Listeners[i]
		for _, n := range l.TLS {
			if n.Certificate == "" {
				continue
			}
			u := out[n.Certificate]
			if u.service == "" {
				u.service = serviceOf(l, n.Name)
				u.app = u.service[:max(0, strings.LastIndexByte(u.service, '/'))]
			}
			if !slices.Contains(u.hosts, n.Name) {
				u.hosts = append(u.hosts, n.Name)
			}
			out[n.Certificate] = u
			if n.ClientCA != "" {
				out[n.ClientCA] = use{app: u.app, service: u.service}
			}
		}
	}
	return out
}

func serviceOf(l *traffic.Listener, host string) string {
	for _, r := range l.Routes {
		if r.Host == host {
			return r.Service
		}
	}
	return ""
}

// changed notes that a certificate or its trouble changed.
func (c *certificates) changed(name string) {
	c.mu.Lock()
	c.news[name] = true
	c.mu.Unlock()
	c.wake()
}

func (c *certificates) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// distrust makes the next push go out whatever went out before: the ambassador
// may have begun anew.
func (c *certificates) distrust() {
	c.mu.Lock()
	c.doubt = true
	c.mu.Unlock()
	c.wake()
}

// run pushes and tells changes until ctx ends.
func (c *certificates) run(ctx context.Context) {
	const first, most = 250 * time.Millisecond, 5 * time.Second
	pause := first
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.kick:
		}
		err := c.push(ctx)
		c.tell()
		if err != nil && ctx.Err() == nil {
			c.log.Warn("certificates not handed over", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(most, 2*pause)
			c.wake()
			continue
		}
		pause = first
	}
}

// push hands the certificates over, unless the ambassador has just these. With
// none, and none before, it hands over nothing.
func (c *certificates) push(ctx context.Context) error {
	c.pushing.Lock()
	defer c.pushing.Unlock()
	list := c.list()
	c.mu.Lock()
	had, doubt := c.pushed, c.doubt
	c.mu.Unlock()
	same := slices.EqualFunc(list, had, func(a, b traffic.Certificate) bool {
		return a.Name == b.Name && string(a.Chain) == string(b.Chain) && string(a.Key) == string(b.Key)
	})
	if same && (!doubt || len(list) == 0) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := c.put(ctx, list); err != nil {
		return err
	}
	c.mu.Lock()
	c.pushed, c.doubt = list, false
	c.mu.Unlock()
	return nil
}

// list is every wanted certificate that there is, by name.
func (c *certificates) list() []traffic.Certificate {
	c.mu.Lock()
	names := slices.Sorted(maps.Keys(c.wanted))
	c.mu.Unlock()
	var out []traffic.Certificate
	for _, name := range names {
		if chain, key, _, _ := c.state(name); len(chain) > 0 {
			out = append(out, traffic.Certificate{Name: name, Chain: chain, Key: key})
		}
	}
	return out
}

// tell records what changed, and wakes who looks at certificates.
func (c *certificates) tell() {
	c.mu.Lock()
	news := map[string]use{}
	for name := range c.news {
		if u, wanted := c.wanted[name]; wanted {
			news[name] = u
		}
	}
	clear(c.news)
	c.mu.Unlock()
	if len(news) == 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(news)) {
		c.record(c.event(name, news[name]))
	}
	select {
	case c.changes <- struct{}{}:
	default:
	}
}

func (c *certificates) event(name string, u use) status.Event {
	env, app, _ := strings.Cut(u.app, "/")
	e := status.Event{
		Host: c.host, Environment: env, App: app, Service: u.service[strings.LastIndexByte(u.service, '/')+1:],
		Actor: status.Actor{Kind: "remora"}, Reason: status.CertificateFailed, Severity: "warning", Message: c.Trouble(name),
	}
	if e.Message == "" {
		e.Reason, e.Severity, e.Message = status.Succeeded, "info", what(name)+" is in force"
	}
	return e
}

// what names a certificate for people.
func what(name string) string {
	s, _ := traffic.ParseCertificateSource(name)
	switch {
	case s.Auto != "":
		return "the certificate for " + s.Auto
	case s.ClientCA != "":
		return "the list of authorities " + s.ClientCA
	}
	return "the certificate " + s.Cert
}

// Trouble says what is wrong with a certificate, and what of it goes on; empty
// is nothing.
func (c *certificates) Trouble(name string) string {
	chain, _, trouble, next := c.state(name)
	if trouble == "" {
		return ""
	}
	text := what(name) + ": " + trouble
	if len(chain) > 0 {
		text += "; the former one stays in force"
	} else {
		text += "; its clients are refused until there is one"
	}
	if !next.IsZero() {
		text += ", the next try is at " + next.UTC().Format("15:04:05 MST")
	}
	return text
}

// Warnings say what people should know of a certificate that is in force.
func (c *certificates) Warnings(name string) []string {
	chain, _, _, _ := c.state(name)
	c.mu.Lock()
	u := c.wanted[name]
	c.mu.Unlock()
	if s, ok := traffic.ParseCertificateSource(name); !ok || s.ClientCA != "" || s.Auto != "" {
		return nil
	}
	var out []string
	for _, w := range certfiles.Warnings(chain, u.hosts, time.Now()) {
		out = append(out, what(name)+": "+w)
	}
	return out
}
