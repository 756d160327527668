package e2e_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remorahq/remora/ambassador/control"
	"github.com/remorahq/remora/e2e/certtest"
	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// site is a host with TLS on its entry points, as clients see it.
type site struct {
	*host.Host
	t *testing.T
}

// startSite starts a host on the engine; its entry points are 80 and 443 there.
func startSite(t *testing.T, e *rig.Engine, env ...string) *site {
	t.Helper()
	return &site{host.Start(t, e, host.Options{Env: env}), t}
}

// acmeEnv makes an agent ask this authority with one challenge.
func acmeEnv(ca *rig.Pebble, challenge string) []string {
	return []string{"REMORA_AMBASSADOR_ACME_DIRECTORY=" + ca.Directory(), "REMORA_AMBASSADOR_ACME_CA_FILE=" + ca.CAFile(), "REMORA_AMBASSADOR_ACME_CHALLENGES=" + challenge}
}

// shake makes a handshake for a name; the certificate is the caller's to judge.
func (s *site) shake(name string, change func(*tls.Config)) (*tls.Conn, error) {
	raw, err := s.Engine.DialContext(s.t.Context(), "tcp", "127.0.0.1:443")
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
	if change != nil {
		change(cfg)
	}
	c := tls.Client(raw, cfg)
	err = errors.Join(c.SetDeadline(time.Now().Add(10*time.Second)), c.HandshakeContext(s.t.Context()))
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

// askOver sends one request over a connection.
func askOver(c net.Conn, name string) (*http.Response, error) {
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", name); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp, err
}

// secure asks over TLS and returns the certificate that was shown.
func (s *site) secure(name string) (*x509.Certificate, error) {
	c, err := s.shake(name, nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	resp, err := askOver(c, name)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusOK:
		return nil, errorf("%s over TLS: %s", name, resp.Status)
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

// plain asks over http.
func (s *site) plain(name string) (*http.Response, error) {
	c, err := s.Engine.DialContext(s.t.Context(), "tcp", "127.0.0.1:80")
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return askOver(c, name)
}

// serve deploys an app with a route by name.
func (s *site) serve(app, image, name, tls string) {
	s.t.Helper()
	s.App(s.t, app, fmt.Sprintf(`services:
  web:
    image: %s:v1
    x-remora:
      routes: [{host: %s, target: 8080, tls: %s, hsts: 24h}]
      min_healthy_time: 0
      standby: 0
    deploy: {update_config: {monitor: 1s}}
`, image, name, tls), nil)
	s.Reconcile(s.t)
	s.WaitHealthy(s.t, app, time.Minute)
}

// TestAutomaticCertificates: an app with `tls: auto` gets its certificate from a
// real authority through the ambassador, by either challenge. Until it is there
// http serves; afterwards http leads to https. A restarted agent and a stopped
// authority change nothing for those who have one, and a name that cannot get
// one says why and troubles nobody else.
func TestAutomaticCertificates(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	image := load(t, e, "v1")
	for _, challenge := range []string{"http-01", "tls-alpn-01"} {
		t.Run(challenge, func(t *testing.T) {
			ca := rig.NewPebble(t, rig.PebbleOptions{Engine: e})
			s := startSite(t, e, acmeEnv(ca, challenge)...)
			defer s.Close(t)
			s.serve("shop", image, "shop.test", "auto")
			if resp, err := s.plain("shop.test"); err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Strict-Transport-Security") != "" {
				t.Fatalf("http before there is a certificate: %+v, %v", resp, err)
			}
			if _, err := s.secure("shop.test"); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
				t.Fatalf("https before there is a certificate: %v, want a refusal in the handshake", err)
			}
			s.warned("shop", "connection refused")
			ca.Start(t, 80, 443)
			s.Agent().Stop(t, 20*time.Second)
			s.StartAgent(t) // tries at once
			cert := s.eventually("shop.test")
			if err := cert.VerifyHostname("shop.test"); err != nil || !strings.Contains(cert.Issuer.CommonName, "Pebble") {
				t.Errorf("the certificate is %v by %v: %v", cert.DNSNames, cert.Issuer, err)
			}
			if byHTTP := strings.Contains(ca.Output(t), "Attempting to validate w/ HTTP"); byHTTP != (challenge == "http-01") {
				t.Errorf("asked by http-01: %t:\n%s", byHTTP, ca.Output(t))
			}
			rig.Eventually(t, 10*time.Second, "http to lead to https", func() error {
				resp, err := s.plain("shop.test")
				if err == nil && (resp.StatusCode != http.StatusPermanentRedirect || resp.Header.Get("Location") != "https://shop.test/") {
					err = errorf("got %s to %q", resp.Status, resp.Header.Get("Location"))
				}
				return err
			})
			ca.Stop(t)
			s.serve("late", image, "late.test", "auto")
			s.warned("late", "connection refused")
			s.Agent().Stop(t, 20*time.Second)
			s.StartAgent(t)
			if again, err := s.secure("shop.test"); err != nil || again.SerialNumber.Cmp(cert.SerialNumber) != 0 {
				t.Errorf("with the authority away and the agent restarted: %v", err)
			}
			if resp, err := s.plain("late.test"); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("http of the name without a certificate: %+v, %v", resp, err)
			}
			rig.Eventually(t, 10*time.Second, "routes to say why late.test is refused", func() error {
				if out := s.Must(t, "routes"); !strings.Contains(out, "refused: the certificate for late.test") {
					return errors.New(out)
				}
				return nil
			})
		})
	}
}

// warned waits until the status of an app's service says a text.
func (s *site) warned(app, text string) {
	s.t.Helper()
	s.WaitApp(s.t, app, 30*time.Second, "warned of "+text, func(a status.App) bool {
		return strings.Contains(strings.Join(host.Service(a, "web").Warnings, "\n"), text)
	})
}

func (s *site) eventually(name string) *x509.Certificate {
	s.t.Helper()
	var cert *x509.Certificate
	rig.Eventually(s.t, time.Minute, "a certificate for "+name, func() (err error) {
		cert, err = s.secure(name)
		return err
	})
	return cert
}

// TestCertificateFiles: files of the host serve, are swapped under load as
// certbot does without a failed handshake, and a bad one leaves the former in
// force and is told. Sessions are resumed over an upgrade of the ambassador.
func TestCertificateFiles(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	image := load(t, e, "v1")
	ca := certtest.New(t)
	dir := t.TempDir()
	link := func(n int, p certtest.Pair) {
		for name, data := range map[string][]byte{"crt": p.Cert, "key": p.Key} {
			file := filepath.Join(dir, fmt.Sprintf("%s.%d", name, n))
			must(t, os.WriteFile(file, data, 0o600))
			must(t, os.Symlink(file, filepath.Join(dir, "new")))
			must(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, name)))
		}
	}
	first := ca.Issue(t, "files.test")
	link(1, first)
	s := startSite(t, e)
	s.serve("shop", image, "files.test", fmt.Sprintf("{cert: %s/crt, key: %s/key}", dir, dir))
	if cert := s.eventually("files.test"); cert.SerialNumber.Cmp(first.Leaf.SerialNumber) != 0 {
		t.Fatalf("another certificate is shown: %v", cert.DNSNames)
	}
	busy := s.handshakes("files.test", ca)
	last := first
	for n := 2; n <= 4; n++ {
		last = ca.Issue(t, "files.test")
		link(n, last)
		s.shows("files.test", last)
	}
	cache := tls.NewLRUClientSessionCache(4)
	if s.resumed(cache) {
		t.Error("the first session was resumed")
	}
	s.Upgrade()
	if !s.resumed(cache) {
		t.Error("the session was not resumed by the upgraded ambassador")
	}
	must(t, os.Remove(filepath.Join(dir, "crt")))
	must(t, os.WriteFile(filepath.Join(dir, "crt"), []byte("oops"), 0o600))
	s.warned("shop", "the former one stays in force")
	s.shows("files.test", last)
	if out := s.Must(t, "events"); !strings.Contains(out, "CertificateFailed") || !strings.Contains(out, "are no pair") {
		t.Errorf("no event tells of the bad file:\n%s", out)
	}
	busy.end()
	if busy.failed.Load() > 0 || busy.done.Load() < 50 {
		t.Errorf("%d handshakes failed of %d: %v", busy.failed.Load(), busy.done.Load(), busy.last.Load())
	}
	t.Logf("%d handshakes", busy.done.Load())
}

// Upgrade starts a new worker of the ambassador.
func (s *site) Upgrade() {
	s.t.Helper()
	c := control.NewClient(filepath.Join(s.Run, "ambassador.sock"))
	defer c.Close()
	must(s.t, c.Upgrade(s.t.Context()))
}

// shows waits until a certificate is the one that is shown.
func (s *site) shows(name string, p certtest.Pair) {
	s.t.Helper()
	rig.Eventually(s.t, 10*time.Second, "the certificate to be shown", func() error {
		cert, err := s.secure(name)
		if err == nil && cert.SerialNumber.Cmp(p.Leaf.SerialNumber) != 0 {
			err = errors.New("another one is")
		}
		return err
	})
}

// resumed makes a connection and says whether it resumed a session.
func (s *site) resumed(cache tls.ClientSessionCache) bool {
	s.t.Helper()
	c, err := s.shake("files.test", func(cfg *tls.Config) { cfg.ClientSessionCache = cache })
	must(s.t, err)
	defer c.Close()
	_, err = askOver(c, "files.test")
	must(s.t, err)
	return c.ConnectionState().DidResume
}

// handshakes are made all the time, each with one request.
type handshakes struct {
	done, failed atomic.Int64
	last         atomic.Value
	stop         chan struct{}
	group        sync.WaitGroup
}

func (s *site) handshakes(name string, ca *certtest.CA) *handshakes {
	h := &handshakes{stop: make(chan struct{})}
	for range 4 {
		h.group.Go(func() {
			for {
				select {
				case <-h.stop:
					return
				default:
				}
				h.done.Add(1)
				if err := s.verified(name, ca); err != nil {
					h.failed.Add(1)
					h.last.Store(err.Error())
				}
			}
		})
	}
	s.t.Cleanup(h.end)
	return h
}

// verified asks over TLS and trusts one authority.
func (s *site) verified(name string, ca *certtest.CA) error {
	c, err := s.shake(name, func(cfg *tls.Config) { cfg.InsecureSkipVerify, cfg.RootCAs = false, ca.Pool() })
	if err != nil {
		return err
	}
	defer c.Close()
	resp, err := askOver(c, name)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return err
}

func (h *handshakes) end() {
	select {
	case <-h.stop:
	default:
		close(h.stop)
	}
	h.group.Wait()
}
