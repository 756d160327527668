package ambassador

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/certtest"
	"github.com/remorahq/remora/internal/traffic"
)

// tlsRig is a worker with a TLS listener.
type tlsRig struct {
	*rig
	ca   *certtest.CA
	port uint16
	back *backend
}

func newTLSRig(t *testing.T) *tlsRig {
	t.Helper()
	return &tlsRig{rig: newRig(t), ca: certtest.New(t), port: freePort(t), back: startBackend(t, "b")}
}

// names puts a table in which the listener has these server names.
func (r *tlsRig) names(names ...traffic.ServerName) {
	r.t.Helper()
	r.put(r.table(names...))
}

func (r *tlsRig) table(names ...traffic.ServerName) *traffic.Table {
	tb := table(r.port, traffic.TLS, "v1", rel("v1", traffic.Active, r.back))
	tb.Listeners[0].TLS = names
	return tb
}

func pair(name string, p certtest.Pair) traffic.Certificate {
	return traffic.Certificate{Name: name, Chain: p.Cert, Key: p.Key}
}

func putCertificates(t *testing.T, wk *Worker, list ...traffic.Certificate) {
	t.Helper()
	if err := wk.PutCertificates(t.Context(), &traffic.Certificates{Version: traffic.CertificatesVersion, List: list}); err != nil {
		t.Fatal(err)
	}
}

func (r *tlsRig) config(name string) *tls.Config {
	return &tls.Config{ServerName: name, RootCAs: r.ca.Pool(), NextProtos: []string{"http/1.1"}}
}

// dial makes a handshake with the listener.
func (r *tlsRig) dial(cfg *tls.Config) (*client, tls.ConnectionState, error) {
	r.t.Helper()
	d := &tls.Dialer{Config: cfg}
	raw, err := d.DialContext(r.t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", r.port))
	if err != nil {
		return nil, tls.ConnectionState{}, err
	}
	r.t.Cleanup(func() { _ = raw.Close() })
	c := raw.(*tls.Conn)
	return &client{t: r.t, c: c, br: bufio.NewReader(c)}, c.ConnectionState(), nil
}

func (r *tlsRig) wantUnrecognized(name string) {
	r.t.Helper()
	_, _, err := r.dial(r.config(name))
	if err == nil || !strings.Contains(err.Error(), "remote error: tls: unrecognized name") {
		r.t.Errorf("handshake for %q: %v, want the alert unrecognized_name", name, err)
	}
}

func TestTLSServesByServerName(t *testing.T) {
	r := newTLSRig(t)
	putCertificates(t, r.wk, pair("a", r.ca.Issue(t, "a.test")), pair("wild", r.ca.Issue(t, "*.test")), pair("deep", r.ca.Issue(t, "*.b.test")))
	r.names(traffic.ServerName{Name: "a.test", Certificate: "a"}, traffic.ServerName{Name: "*.test", Certificate: "wild"},
		traffic.ServerName{Name: "*.b.test", Certificate: "deep"})
	for name, cert := range map[string]string{"a.test": "a.test", "A.TEST": "a.test", "c.test": "*.test", "x.b.test": "*.b.test"} {
		c, state, err := r.dial(r.config(name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := state.PeerCertificates[0].Subject.CommonName; got != cert || state.NegotiatedProtocol != "http/1.1" {
			t.Errorf("%s got certificate %s and protocol %q, want %s", name, got, state.NegotiatedProtocol, cert)
		}
		c.want(http.MethodGet, get("/"), 200, "b 0")
	}
	r.wantUnrecognized("other.example")
	old := r.config("a.test")
	old.MaxVersion = tls.VersionTLS11
	if _, _, err := r.dial(old); err == nil {
		t.Error("TLS 1.1 was taken")
	}
	c := connect(t, r.port)
	c.want(http.MethodGet, get("/"), 400, "400 https only")
}

// TestTLSBrokenCertificateIsOneNamesTrouble: a certificate that is missing, one
// that does not fit its key, and authorities that are none, refuse their own
// clients alone, and the report says which and why.
func TestTLSBrokenCertificateIsOneNamesTrouble(t *testing.T) {
	r := newTLSRig(t)
	good, other := r.ca.Issue(t, "good.test"), r.ca.Issue(t, "bad.test")
	other.Key = good.Key
	putCertificates(t, r.wk, pair("good", good), pair("bad", other), traffic.Certificate{Name: "ca", Chain: []byte("nothing")})
	r.names(traffic.ServerName{Name: "good.test", Certificate: "good"}, traffic.ServerName{Name: "bad.test", Certificate: "bad"},
		traffic.ServerName{Name: "gone.test", Certificate: "gone"}, traffic.ServerName{Name: "ca.test", Certificate: "good", ClientCA: "ca"})
	for _, name := range []string{"bad.test", "gone.test", "ca.test"} {
		r.wantUnrecognized(name)
	}
	c, _, err := r.dial(r.config("good.test"))
	if err != nil {
		t.Fatal(err)
	}
	c.want(http.MethodGet, get("/"), 200, "b 0")
	failures := map[string]string{}
	for _, f := range r.wk.Report().Names {
		failures[f.Name] = f.Error
	}
	for name, text := range map[string]string{"bad.test": "private key does not match", "gone.test": "no such certificate yet", "ca.test": "no certificate of an authority"} {
		if !strings.Contains(failures[name], text) {
			t.Errorf("the report says %q of %s, want %q", failures[name], name, text)
		}
	}
	if len(failures) != 3 {
		t.Errorf("reported failures %v, want 3", failures)
	}
	putCertificates(t, r.wk, pair("good", good), pair("gone", r.ca.Issue(t, "gone.test")))
	if _, _, err := r.dial(r.config("gone.test")); err != nil {
		t.Errorf("after its certificate came: %v", err)
	}
}

func TestTLSClientCertificates(t *testing.T) {
	r := newTLSRig(t)
	clients, strangers := certtest.New(t), certtest.New(t)
	putCertificates(t, r.wk, pair("open", r.ca.Issue(t, "open.test")), pair("shut", r.ca.Issue(t, "shut.test")),
		traffic.Certificate{Name: "clients", Chain: clients.PEM()})
	r.names(traffic.ServerName{Name: "open.test", Certificate: "open"}, traffic.ServerName{Name: "shut.test", Certificate: "shut", ClientCA: "clients"})

	for _, by := range []*certtest.CA{nil, strangers} {
		cfg := r.config("shut.test")
		if by != nil {
			cfg.Certificates = []tls.Certificate{by.Issue(t, "client").TLS(t)}
		}
		c, _, err := r.dial(cfg)
		if err == nil { // in TLS 1.3 the client hears of it with its first read
			_, _, err = c.roundTrip(http.MethodGet, get("/"))
		}
		if err == nil {
			t.Errorf("a client without a certificate of the authorities was served")
		}
	}
	cfg := r.config("shut.test")
	cfg.Certificates = []tls.Certificate{clients.Issue(t, "client").TLS(t)}
	shut, _, err := r.dial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	shut.want(http.MethodGet, "GET / HTTP/1.1\r\nHost: shut.test\r\n\r\n", 200, "b 0")
	shut.want(http.MethodGet, "GET / HTTP/1.1\r\nHost: open.test\r\n\r\n", 421, "421 Wrong connection")
	open, _, err := r.dial(r.config("open.test"))
	if err != nil {
		t.Fatal(err)
	}
	open.want(http.MethodGet, "GET / HTTP/1.1\r\nHost: open.test\r\n\r\n", 200, "b 0")
	open.want(http.MethodGet, "GET / HTTP/1.1\r\nHost: Shut.test.:443\r\n\r\n", 421, "421 Wrong connection")
}

// TestTLSTicketsAreOfOneName: a session of one name is not resumed for another,
// least of all for one that asks for client certificates.
func TestTLSTicketsAreOfOneName(t *testing.T) {
	r := newTLSRig(t)
	both := pair("both", r.ca.Issue(t, "a.test", "b.test"))
	putCertificates(t, r.wk, both)
	r.names(traffic.ServerName{Name: "a.test", Certificate: "both"}, traffic.ServerName{Name: "b.test", Certificate: "both"})
	cache := oneSession{tls.NewLRUClientSessionCache(1)}
	for i, c := range []struct {
		name    string
		resumed bool
	}{{"a.test", false}, {"a.test", true}, {"b.test", false}} {
		if got := r.resumes(cache, c.name); got != c.resumed {
			t.Errorf("handshake %d, for %s: resumed %t, want %t", i, c.name, got, c.resumed)
		}
	}
}

// oneSession offers the last session whatever the name.
type oneSession struct{ tls.ClientSessionCache }

func (o oneSession) Get(string) (*tls.ClientSessionState, bool) { return o.ClientSessionCache.Get("x") }
func (o oneSession) Put(_ string, s *tls.ClientSessionState)    { o.ClientSessionCache.Put("x", s) }

// resumes makes a connection and says whether it resumed a session.
func (r *tlsRig) resumes(cache tls.ClientSessionCache, name string) bool {
	r.t.Helper()
	cfg := r.config(name)
	cfg.ClientSessionCache = cache
	c, state, err := r.dial(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	c.want(http.MethodGet, get("/"), 200, "b 0") // tickets come behind the handshake
	_ = c.c.Close()
	return state.DidResume
}

// TestTLSResumesAfterRestart: what the next worker reads from the state folder
// is enough to serve without the agent, and to resume sessions.
func TestTLSResumesAfterRestart(t *testing.T) {
	r := newTLSRig(t)
	putCertificates(t, r.wk, pair("a", r.ca.Issue(t, "a.test")))
	r.names(traffic.ServerName{Name: "a.test", Certificate: "a"})
	for _, file := range []string{CertificatesFile, TicketsFile} {
		info, err := os.Stat(filepath.Join(r.dir, file))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", file, info, err)
		}
	}
	cache := tls.NewLRUClientSessionCache(8)
	if r.resumes(cache, "a.test") {
		t.Fatal("the first session was resumed")
	}
	r.wk.Close()
	boot, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	r.wk = New(Options{StateDir: r.dir, Opener: directly{}, Log: discard(), Version: "test", BootID: boot})
	t.Cleanup(r.wk.Close)
	if err := errors.Join(r.wk.LoadTable(t.Context()), r.wk.Lead(t.Context())); err != nil {
		t.Fatal(err)
	}
	if !r.resumes(cache, "a.test") {
		t.Error("the session was not resumed by the next worker")
	}
	list := r.wk.Certificates()
	if len(list) != 1 || list[0].Name != "a" || list[0].Subjects[0] != "a.test" || list[0].NotAfter.IsZero() {
		t.Errorf("certificates: %+v", list)
	}
}

func TestTicketKeysTurn(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f, changed := ticketFile{}.turned(now)
	if !changed || len(f.Keys) != 1 {
		t.Fatalf("the first: %d keys", len(f.Keys))
	}
	first := f.Keys[0].Made
	if _, changed := f.turned(now.Add(23 * time.Hour)); changed {
		t.Error("a key was made within a day")
	}
	if _, changed := f.turned(now.Add(-time.Hour)); !changed {
		t.Error("a key of the future is used for ever")
	}
	for day := 1; day <= 5; day++ {
		f, changed = f.turned(now.Add(time.Duration(day) * 24 * time.Hour))
		if !changed {
			t.Errorf("no new key on day %d", day)
		}
	}
	if len(f.Keys) != ticketKeys || !f.Keys[0].Made.After(first) || f.Keys[ticketKeys-1].Made != now.Add(48*time.Hour) {
		t.Errorf("after five days: %d keys, the oldest of %s", len(f.Keys), f.Keys[len(f.Keys)-1].Made)
	}
	a, err := f.derive("a.test")
	b, err2 := f.derive("b.test")
	if err = errors.Join(err, err2); err != nil || len(a) != ticketKeys || a[0] == b[0] || a[0] == a[1] {
		t.Errorf("derived keys: %v", err)
	}
}

// TestTLSReloadUnderLoad: certificates are put in each other's place while
// clients come and go; no handshake and no request fails.
func TestTLSReloadUnderLoad(t *testing.T) {
	r := newTLSRig(t)
	certs := []traffic.Certificate{pair("a", r.ca.Issue(t, "a.test")), pair("a", r.ca.Issue(t, "a.test"))}
	putCertificates(t, r.wk, certs[0])
	r.names(traffic.ServerName{Name: "a.test", Certificate: "a"})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	seen := make([]map[string]bool, 4)
	for i := range seen {
		seen[i] = map[string]bool{}
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, state, err := r.dial(r.config("a.test"))
				if err != nil {
					t.Errorf("handshake: %v", err)
					return
				}
				seen[i][state.PeerCertificates[0].SerialNumber.String()] = true
				if s, _, err := c.roundTrip(http.MethodGet, get("/")); s != 200 || err != nil {
					t.Errorf("request: %d, %v", s, err)
				}
				_ = c.c.Close()
			}
		})
	}
	for i := range 100 {
		putCertificates(t, r.wk, certs[i%2])
	}
	close(stop)
	wg.Wait()
	all := map[string]bool{}
	for _, m := range seen {
		for s := range m {
			all[s] = true
		}
	}
	if len(all) != 2 {
		t.Errorf("clients saw %d certificates, want both", len(all))
	}
}

func TestTLSRedirectAndHSTS(t *testing.T) {
	r := newTLSRig(t)
	putCertificates(t, r.wk, pair("a", r.ca.Issue(t, "a.test")))
	tb := r.table(traffic.ServerName{Name: "a.test", Certificate: "a"})
	tb.Listeners[0].Routes[0].HSTS = time.Hour
	plain := freePort(t)
	http1 := table(plain, traffic.HTTP, "v1").Listeners[0]
	http1.Routes[0].RedirectTLS, http1.Routes[0].HSTS = r.port, time.Hour
	tb.Listeners = append(tb.Listeners, http1)
	r.put(tb)
	// What a trusted proxy had over TLS is served, unless clients have to show a
	// certificate.
	for _, only := range []bool{false, true} {
		tb.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		tb.Listeners[1].Routes = slices.Clone(tb.Listeners[1].Routes)
		tb.Listeners[1].Routes[0].TLSOnly = only
		r.put(tb)
		want := map[bool]int{false: 200, true: 308}[only]
		connect(t, plain).want("GET", "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\n\r\n", want, "")
	}
	tb.TrustedProxies = nil
	r.put(tb)
	target := fmt.Sprintf("https://a.test:%d/x?q=1", r.port)
	for _, method := range []string{"GET", "POST", "DELETE"} {
		c := connect(t, plain)
		if _, err := fmt.Fprintf(c.c, "%s /x?q=1 HTTP/1.1\r\nHost: A.test:80\r\nContent-Length: 0\r\n\r\n", method); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(c.br, &http.Request{Method: method})
		if err != nil || res.StatusCode != 308 || res.Header.Get("Location") != target || res.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s over http: %+v, %v; want 308 to %s", method, res, err, target)
		}
	}
	c, _, err := r.dial(r.config("a.test"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c.c, get("/")); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(c.br, &http.Request{Method: http.MethodGet})
	if err != nil || res.StatusCode != 200 || res.Header.Get("Strict-Transport-Security") != "max-age=3600" {
		t.Errorf("over TLS: %+v, %v", res, err)
	}
}

// TestTLSPassThrough: a name without a certificate reaches the instance
// undecrypted, and an entry for a protocol wins over the name's other one.
func TestTLSPassThrough(t *testing.T) {
	r := newTLSRig(t)
	ends := certtest.New(t)
	addr := freeAddress()
	l, err := tls.Listen("tcp", fmt.Sprintf("%s:8443", addr), &tls.Config{Certificates: []tls.Certificate{ends.Issue(t, "a.test").TLS(t)}, NextProtos: []string{"acme-tls/1"}})
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "within") })}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	putCertificates(t, r.wk, pair("a", r.ca.Issue(t, "a.test")))
	tb := r.table(traffic.ServerName{Name: "a.test", Certificate: "a"},
		traffic.ServerName{Name: "a.test", ALPN: "acme-tls/1", Service: "remora/acme", Port: 8443},
		traffic.ServerName{Name: "through.test", Service: "remora/acme", Port: 8443})
	tb.Services = append(tb.Services, traffic.Service{Name: "remora/acme", App: "remora/acme", Active: "agent", Releases: []traffic.Release{{
		Name: "agent", State: traffic.Active, Endpoints: []traffic.Endpoint{{Container: "agent", Address: addr, Fixed: true}},
	}}})
	r.put(tb)
	c, _, err := r.dial(r.config("a.test"))
	if err != nil {
		t.Fatal(err)
	}
	c.want(http.MethodGet, get("/"), 200, "b 0")
	for name, alpn := range map[string]string{"a.test": "acme-tls/1", "through.test": ""} {
		cfg := &tls.Config{ServerName: name, InsecureSkipVerify: true}
		if alpn != "" {
			cfg.NextProtos = []string{alpn}
		}
		_, state, err := r.dial(cfg)
		if err != nil || state.PeerCertificates[0].CheckSignatureFrom(ends.Leaf()) != nil {
			t.Errorf("%s with %q did not reach the instance's own TLS: %v", name, alpn, err)
		}
	}
}

// TestTLSMalformedHello: what cannot be read is refused by an alert.
func TestTLSMalformedHello(t *testing.T) {
	r := newTLSRig(t)
	r.names(traffic.ServerName{Name: "a.test", Certificate: "a"})
	c := connect(t, r.port)
	if _, err := c.c.Write([]byte{22, 3, 1, 0, 4, 1, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	_ = c.c.SetDeadline(time.Now().Add(5 * time.Second))
	got, err := io.ReadAll(c.c)
	if err != nil || string(got) != "\x15\x03\x03\x00\x02\x02\x32" {
		t.Errorf("got % x, %v; want the alert decode_error and an end", got, err)
	}
}

// TestTLSSlowHello: who does not come to the end of the handshake in time is let
// go, whether it sent nothing or a part.
func TestTLSSlowHello(t *testing.T) {
	t.Parallel()
	r := newTLSRig(t)
	r.names(traffic.ServerName{Name: "a.test", Certificate: "a"})
	putCertificates(t, r.wk, pair("a", r.ca.Issue(t, "a.test")))
	for _, sent := range []string{"", "\x16\x03\x01\x00\xc8\x01"} {
		t.Run(fmt.Sprint(len(sent)), func(t *testing.T) {
			t.Parallel()
			c := connect(t, r.port)
			begun := time.Now()
			if _, err := io.WriteString(c.c, sent); err != nil {
				t.Fatal(err)
			}
			_ = c.c.SetDeadline(begun.Add(2 * handshakeLimit))
			_, err := c.c.Read(make([]byte, 1))
			if took := time.Since(begun); err == nil || errors.Is(err, os.ErrDeadlineExceeded) || took < handshakeLimit/2 {
				t.Errorf("let go after %s with %v", took, err)
			}
		})
	}
}
