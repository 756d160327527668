package rig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// GitOptions vary a git server.
type GitOptions struct {
	Addr string       // address of this machine to listen on; 127.0.0.1 when empty, [Engine.HostAddr] for an engine's namespace
	Auth *Credentials // HTTP: nil lets everyone in; a token is a password, with any user name
	TLS  bool         // HTTP: with a certificate whose authority is CAFile
}

func (o GitOptions) addr() string {
	if o.Addr == "" {
		return "127.0.0.1"
	}
	return o.Addr
}

// GitHTTP is git's own smart HTTP server (git http-backend) over a folder of
// repositories. It may be stopped and started; the port stays.
type GitHTTP struct {
	Root   string // folder of the repositories
	CAFile string // PEM file of the authority, with TLS

	options  GitOptions
	server   *httptest.Server
	cert     *tls.Certificate
	address  string
	requests atomic.Int64
}

// StartGitHTTP serves until the test ends.
func StartGitHTTP(t TB, options GitOptions) *GitHTTP {
	t.Helper()
	s := &GitHTTP{Root: t.TempDir(), options: options, address: net.JoinHostPort(options.addr(), "0")}
	if options.TLS {
		s.CAFile = filepath.Join(s.Root, "ca.pem")
		s.cert = selfSigned(t, options.addr(), s.CAFile)
	}
	t.Cleanup(s.Stop)
	s.Start(t)
	return s
}

// NewRepo makes an empty repository on the server.
func (s *GitHTTP) NewRepo(t TB, name string) *Repo { t.Helper(); return NewRepo(t, s.Root, name) }

// URL is the URL of a repository; it carries no credentials.
func (s *GitHTTP) URL(name string) string {
	scheme := "http"
	if s.options.TLS {
		scheme = "https"
	}
	return scheme + "://" + s.address + "/" + name
}

// Requests is the number of requests answered so far: what a poll costs.
func (s *GitHTTP) Requests() int { return int(s.requests.Load()) }

// Start serves again after [GitHTTP.Stop], at the same address.
func (s *GitHTTP) Start(t TB) {
	t.Helper()
	l, err := net.Listen("tcp", s.address)
	must(t, "listen for git over HTTP", err)
	s.address = l.Addr().String()
	s.server = &httptest.Server{Listener: l, Config: &http.Server{Handler: s.handler(t)}}
	if s.cert == nil {
		s.server.Start()
		return
	}
	s.server.TLS = &tls.Config{Certificates: []tls.Certificate{*s.cert}}
	s.server.StartTLS()
}

// Stop closes the server: connections are refused. It is idempotent.
func (s *GitHTTP) Stop() {
	s.server.CloseClientConnections()
	s.server.Close()
}

func (s *GitHTTP) handler(t TB) http.Handler {
	t.Helper()
	path, err := exec.Command("git", "--exec-path").Output()
	must(t, "find git's programs", err)
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + s.Root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if !s.allowed(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="rig"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		if user, _, ok := r.BasicAuth(); ok {
			// http-backend takes pushes only from somebody with a name.
			own := *backend
			own.Env = append(slices.Clip(own.Env), "REMOTE_USER="+user)
			own.ServeHTTP(w, r)
			return
		}
		backend.ServeHTTP(w, r)
	})
}

func (s *GitHTTP) allowed(r *http.Request) bool {
	if s.options.Auth == nil {
		return true
	}
	user, password, _ := r.BasicAuth()
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return bearer == s.options.Auth.Password
	}
	sameUser := s.options.Auth.Username == "" || user == s.options.Auth.Username
	return sameUser && password == s.options.Auth.Password
}

// selfSigned makes a certificate for the address that is its own authority.
func selfSigned(t TB, addr, caFile string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, "make key", err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "remora test rig"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.ParseIP(addr)}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, "make certificate", err)
	file := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	must(t, "write certificate", os.WriteFile(caFile, file, 0o644))
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
