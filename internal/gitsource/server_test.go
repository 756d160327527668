package gitsource

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// repo is a real bare repository and a work tree that pushes to it.
type repo struct {
	t    testing.TB
	work string
	bare string
	top  string
}

func newRepo(t testing.TB) *repo {
	t.Helper()
	top := t.TempDir()
	r := &repo{t: t, top: top, work: filepath.Join(top, "work"), bare: filepath.Join(top, "srv", "fleet.git")}
	r.git(top, "init", "-q", "--bare", "-b", "main", r.bare)
	r.git(top, "init", "-q", "-b", "main", r.work)
	r.git(r.work, "remote", "add", "origin", r.bare)
	return r
}

func (r *repo) git(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = gitEnv()
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func gitEnv() []string {
	return append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Bob", "GIT_COMMITTER_EMAIL=bob@example.com",
		"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		"GIT_CONFIG_KEY_1=protocol.file.allow", "GIT_CONFIG_VALUE_1=always")
}

func (r *repo) write(name, content string) {
	r.t.Helper()
	writeFile(r.t, filepath.Join(r.work, name), content)
}

// commit writes a file, commits and pushes, and returns the commit's id.
func (r *repo) commit(name, content string) string {
	r.t.Helper()
	r.write(name, content)
	return r.push("change " + name)
}

func (r *repo) push(subject string) string {
	r.t.Helper()
	r.git(r.work, "add", "-A")
	r.git(r.work, "commit", "-q", "--allow-empty", "-m", subject)
	r.git(r.work, "push", "-q", "-f", "origin", "HEAD")
	return r.head()
}

func (r *repo) head() string { return r.git(r.work, "rev-parse", "HEAD") }

func (r *repo) fileURL() string { return "file://" + r.bare }

func writeFile(t testing.TB, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// web serves the repository with git's own HTTP backend.
type web struct {
	*httptest.Server
	url      string
	requests atomic.Int32
	// guard, when set, answers instead and returns true.
	guard atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
}

func (r *repo) serveHTTP(start func(*httptest.Server)) *web {
	r.t.Helper()
	backend := &cgi.Handler{
		Path: filepath.Join(r.git(r.top, "--exec-path"), "git-http-backend"),
		Env:  append(gitEnv(), "GIT_PROJECT_ROOT="+filepath.Dir(r.bare), "GIT_HTTP_EXPORT_ALL=1"),
		// What a killed client leaves is of no interest.
		Stderr: io.Discard,
	}
	w := &web{}
	w.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(res http.ResponseWriter, req *http.Request) {
		w.requests.Add(1)
		if guard := w.guard.Load(); guard != nil && (*guard)(res, req) {
			return
		}
		backend.ServeHTTP(res, req)
	}))
	w.Config.ErrorLog = nil
	start(w.Server)
	w.url = w.URL + "/" + filepath.Base(r.bare)
	r.t.Cleanup(w.Close)
	return w
}

func (w *web) answer(guard func(http.ResponseWriter, *http.Request) bool) { w.guard.Store(&guard) }

// serveGit runs git's own daemon and returns the URL.
func (r *repo) serveGit() string {
	r.t.Helper()
	port := freePort(r.t)
	run(r.t, filepath.Join(r.git(r.top, "--exec-path"), "git-daemon"), "--reuseaddr", "--listen=127.0.0.1", "--port="+port, "--export-all",
		"--base-path="+filepath.Dir(r.bare), filepath.Dir(r.bare))
	waitPort(r.t, port)
	return "git://127.0.0.1:" + port + "/" + filepath.Base(r.bare)
}

// sshServer is a real sshd with one host key and one user key.
type sshServer struct {
	url, port       string
	userKey         string
	knownHosts      string
	hostKey, config string
	stop            func()
	t               testing.TB
}

func (r *repo) serveSSH() *sshServer {
	t := r.t
	t.Helper()
	sshd, err := exec.LookPath("/usr/sbin/sshd")
	if err != nil {
		t.Skipf("needs sshd: %v", err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Skipf("sshd needs /run/sshd: %v", err)
	}
	dir := t.TempDir()
	s := &sshServer{
		t: t, port: freePort(t), userKey: filepath.Join(dir, "user"), knownHosts: filepath.Join(dir, "known_hosts"),
		hostKey: filepath.Join(dir, "host"), config: filepath.Join(dir, "sshd_config"),
	}
	host, user := newKey(t, s.hostKey), newKey(t, s.userKey)
	writeFile(t, filepath.Join(dir, "authorized"), string(ssh.MarshalAuthorizedKey(user)))
	s.pin(host)
	writeFile(t, s.config, fmt.Sprintf(`ListenAddress 127.0.0.1:%s
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
PasswordAuthentication no
UsePAM no
PermitRootLogin yes
SetEnv GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=*
`, s.port, s.hostKey, filepath.Join(dir, "authorized")))
	s.url = "ssh://root@127.0.0.1:" + s.port + r.bare
	s.start(sshd)
	return s
}

func (s *sshServer) start(sshd string) {
	s.stop = run(s.t, sshd, "-D", "-e", "-f", s.config)
	waitPort(s.t, s.port)
}

func (s *sshServer) pin(keys ...ssh.PublicKey) {
	var lines strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&lines, "[127.0.0.1]:%s %s", s.port, ssh.MarshalAuthorizedKey(k))
	}
	writeFile(s.t, s.knownHosts, lines.String())
}

// newKey writes a private key and returns its public half.
func newKey(t testing.TB, file string) ssh.PublicKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// run starts a server in a process group of its own and ends the group when
// the test ends, or earlier.
func run(t testing.TB, name string, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = gitEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait() // killed
		_ = log.Close()
		if t.Failed() {
			t.Logf("%s:\n%s", name, readFile(t, log.Name()))
		}
	})
	t.Cleanup(stop)
	return stop
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func waitPort(t testing.TB, port string) {
	t.Helper()
	eventually(t, "a server on port "+port, func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}

// eventually polls a real condition, for at most ten seconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("timed out waiting for %s", what)
		case <-tick.C:
		}
	}
}
