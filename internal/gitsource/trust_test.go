package gitsource

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

func TestHTTPCredentials(t *testing.T) {
	r := newRepo(t)
	r.commit("a", "1")
	web := r.serveHTTP((*httptest.Server).Start)
	var user, password, bearer string
	web.answer(func(w http.ResponseWriter, req *http.Request) bool {
		u, p, basic := req.BasicAuth()
		if basic && u == user && p == password || bearer != "" && req.Header.Get("Authorization") == "Bearer "+bearer {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	file := filepath.Join(t.TempDir(), "token")
	writeFile(t, file, "s3cret\n")
	inURL := strings.Replace(web.url, "http://", "http://joe:s3cret@", 1)
	for name, c := range map[string]struct {
		user, password, bearer string
		src                    manifests.Source
	}{
		"token":       {"git", "s3cret", "", manifests.Source{URL: web.url, Auth: manifests.Auth{TokenFile: file}}},
		"token user":  {"joe", "s3cret", "", manifests.Source{URL: web.url, Auth: manifests.Auth{TokenFile: file, Username: "joe"}}},
		"password":    {"joe", "s3cret", "", manifests.Source{URL: web.url, Auth: manifests.Auth{PasswordFile: file, Username: "joe"}}},
		"bearer":      {"-", "-", "s3cret", manifests.Source{URL: web.url, Auth: manifests.Auth{TokenFile: file, Bearer: true}}},
		"in the url":  {"joe", "s3cret", "", manifests.Source{URL: inURL}},
		"url and key": {"joe", "s3cret", "", manifests.Source{URL: strings.Replace(web.url, "http://", "http://joe@", 1), Auth: manifests.Auth{TokenFile: file}}},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			opts := Options{State: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
			s := openSource(t, c.src, opts)
			user, password, bearer = c.user, c.password, c.bearer
			rev := mustFetch(t, s)

			user, password, bearer = "x", "changed", ""
			got, err := s.Fetch(t.Context())
			wantError(t, err, status.AuthenticationFailed, "refuses the credentials")
			if f := credentialFile(c.src.Auth); f != "" && !strings.Contains(err.Error(), f) {
				t.Errorf("%v does not name %s", err, f)
			}
			if got.SHA != rev.SHA {
				t.Errorf("in force: %+v", got)
			}
			for _, text := range []string{err.Error(), log.String(), s.URL(), readFile(t, filepath.Join(opts.State, "sources/fleet.json"))} {
				if strings.Contains(text, "s3cret") {
					t.Errorf("the credential is in %q", text)
				}
			}
		})
	}
}

func TestCredentialFileIsReadAgain(t *testing.T) {
	r := newRepo(t)
	r.commit("a", "1")
	web := r.serveHTTP((*httptest.Server).Start)
	web.answer(func(w http.ResponseWriter, req *http.Request) bool {
		if _, p, _ := req.BasicAuth(); p == "right" {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	file := filepath.Join(t.TempDir(), "token")
	s := openSource(t, manifests.Source{URL: web.url, Auth: manifests.Auth{TokenFile: file}}, Options{})
	_, err := s.Fetch(t.Context())
	wantError(t, err, status.AuthenticationFailed, file, "no such file", "auth.token_file")
	writeFile(t, file, "")
	_, err = s.Fetch(t.Context())
	wantError(t, err, status.AuthenticationFailed, file, "empty")
	writeFile(t, file, "wrong")
	_, err = s.Fetch(t.Context())
	wantError(t, err, status.AuthenticationFailed, "check the credential in "+file)
	writeFile(t, file, "right")
	mustFetch(t, s)
}

// A redirect to another host must not take the credential along.
func TestRedirectDropsCredentials(t *testing.T) {
	r := newRepo(t)
	r.commit("a", "1")
	var leaked []string
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		leaked = append(leaked, req.Header.Get("Authorization"))
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer thief.Close()
	web := r.serveHTTP((*httptest.Server).Start)
	web.answer(func(w http.ResponseWriter, req *http.Request) bool {
		http.Redirect(w, req, thief.URL+req.URL.RequestURI(), http.StatusFound)
		return true
	})
	file := filepath.Join(t.TempDir(), "token")
	writeFile(t, file, "s3cret")
	_, err := openSource(t, manifests.Source{URL: web.url, Auth: manifests.Auth{TokenFile: file}}, Options{}).Fetch(t.Context())
	wantError(t, err, status.AuthenticationFailed)
	if len(leaked) == 0 || strings.Join(leaked, "") != "" {
		t.Errorf("the other host got %q", leaked)
	}
}

func TestTLS(t *testing.T) {
	r := newRepo(t)
	r.commit("a", "1")
	web := r.serveHTTP((*httptest.Server).StartTLS)
	_, err := openSource(t, manifests.Source{URL: web.url}, Options{}).Fetch(t.Context())
	wantError(t, err, status.AuthenticationFailed, "certificate is not trusted", "auth.ca_file")

	ca := filepath.Join(t.TempDir(), "ca.pem")
	src := manifests.Source{URL: web.url, Auth: manifests.Auth{CAFile: ca}}
	s := openSource(t, src, Options{})
	_, err = s.Fetch(t.Context())
	wantError(t, err, status.AuthenticationFailed, ca)
	writeFile(t, ca, "no certificate")
	_, err = s.Fetch(t.Context())
	wantError(t, err, status.AuthenticationFailed, ca)
	writeFile(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})))
	mustFetch(t, s)
}

func TestSSHKeys(t *testing.T) {
	r := newRepo(t)
	r.commit("a", "1")
	server := r.serveSSH()
	good := manifests.Auth{KeyFile: server.userKey, KnownHosts: server.knownHosts}
	other := filepath.Join(t.TempDir(), "other")
	newKey(t, other)
	for name, c := range map[string]struct {
		change func(*manifests.Auth)
		words  []string
	}{
		"no key":          {func(a *manifests.Auth) { a.KeyFile = "" }, []string{"no ssh key", "auth.key_file"}},
		"missing key":     {func(a *manifests.Auth) { a.KeyFile = "/nonexistent/key" }, []string{"/nonexistent/key"}},
		"no known_hosts":  {func(a *manifests.Auth) { a.KnownHosts = "" }, []string{"auth.known_hosts", "ssh-keyscan -p " + server.port + " 127.0.0.1"}},
		"lost known_host": {func(a *manifests.Auth) { a.KnownHosts = "/nonexistent/hosts" }, []string{"/nonexistent/hosts"}},
		"wrong key":       {func(a *manifests.Auth) { a.KeyFile = other }, []string{"refuses the key", "check the credential in " + other}},
		"not a key":       {func(a *manifests.Auth) { a.KeyFile = server.knownHosts }, []string{"read key " + server.knownHosts}},
	} {
		t.Run(name, func(t *testing.T) {
			auth := good
			c.change(&auth)
			_, err := openSource(t, manifests.Source{URL: server.url, Auth: auth}, Options{}).Fetch(t.Context())
			wantError(t, err, status.AuthenticationFailed, c.words...)
		})
	}
}

// A host key is never learnt: not the first, not another, not another type.
func TestSSHHostKey(t *testing.T) {
	r := newRepo(t)
	sha := r.commit("a", "1")
	server := r.serveSSH()
	src := manifests.Source{URL: server.url, Auth: manifests.Auth{KeyFile: server.userKey, KnownHosts: server.knownHosts}}
	s := openSource(t, src, Options{})
	mustFetch(t, s)

	server.stop()
	fresh := newKey(t, server.hostKey)
	server.start("/usr/sbin/sshd")
	fingerprint := ssh.FingerprintSHA256(fresh)
	pinned := readFile(t, server.knownHosts)
	rev, err := s.Fetch(t.Context())
	wantError(t, err, status.AuthenticationFailed, "host key is not the pinned one", "pins another key", fingerprint, server.knownHosts)
	if !errors.Is(err, ErrHostKey) || rev.SHA != sha {
		t.Errorf("got %v, %v", rev, err)
	}

	writeFile(t, server.knownHosts, "other.example.com "+string(ssh.MarshalAuthorizedKey(fresh)))
	_, err = s.Fetch(t.Context())
	wantError(t, err, status.AuthenticationFailed, "has no entry for it", fingerprint, server.knownHosts)

	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	ec, err := ssh.NewPublicKey(&private.PublicKey)
	check(t, err)
	server.pin(ec)
	_, err = s.Fetch(t.Context())
	wantError(t, err, status.AuthenticationFailed, "pins another key", fingerprint, server.knownHosts)

	server.pin(ec, fresh)
	mustFetch(t, s)
	if got := readFile(t, server.knownHosts); got == pinned || strings.Count(got, "\n") != 2 {
		t.Errorf("known_hosts was written to: %q", got)
	}
}

// A server with several host keys is accepted by the one that is pinned,
// whichever it prefers.
func TestSSHSeveralHostKeys(t *testing.T) {
	r := newRepo(t)
	r.commit("a", "1")
	server := r.serveSSH()
	server.stop()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	check(t, err)
	check(t, os.WriteFile(server.hostKey+"-ec", pem.EncodeToMemory(block), 0o600))
	writeFile(t, server.config, "HostKey "+server.hostKey+"-ec\n"+readFile(t, server.config))
	server.start("/usr/sbin/sshd")
	ec, err := ssh.NewPublicKey(&private.PublicKey)
	check(t, err)
	auth := manifests.Auth{KeyFile: server.userKey, KnownHosts: server.knownHosts}
	mustFetch(t, openSource(t, manifests.Source{URL: server.url, Auth: auth}, Options{})) // the ed25519 one
	server.pin(ec)
	mustFetch(t, openSource(t, manifests.Source{URL: server.url, Auth: auth}, Options{}))
}
