package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"text/template"
	"time"

	"github.com/remorahq/remora/e2e/certtest"
	"github.com/remorahq/remora/e2e/rig"
)

// Ports of the backends: HTTP, and TCP that echoes or sends.
type ports struct{ Backend, Echo, Source int }

// field is what all peers share: backends, a certificate, a folder.
type field struct {
	settings
	ports
	dir        string
	chain, key string // PEM files
	pair       string // both in one
}

func newField(t rig.TB, s settings) *field {
	f := &field{settings: s, dir: t.TempDir(), ports: ports{rig.FreePort(t), rig.FreePort(t), rig.FreePort(t)}}
	if err := os.Chmod(f.dir, 0o755); err != nil { // proxies give up root
		t.Fatalf("open the folder: %v", err)
	}
	f.certificate(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("find own program: %v", err)
	}
	backend := pinned(s.cores.load, self, "backend", strconv.Itoa(f.Backend), strconv.Itoa(f.Echo), strconv.Itoa(f.Source))
	rig.Spawn(t, "backend", backend)
	for _, p := range []int{f.Backend, f.Echo, f.Source} {
		awaitPort(t, p)
	}
	return f
}

// pinned is a command that runs on one core.
func pinned(core int, name string, args ...string) *exec.Cmd {
	cmd := exec.Command("taskset", append([]string{"-c", strconv.Itoa(core), name}, args...)...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	return cmd
}

func awaitPort(t rig.TB, port int) {
	rig.Eventually(t, 10*time.Second, fmt.Sprintf("port %d to answer", port), func() error {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// certificate makes one for 127.0.0.1 and localhost.
func (f *field) certificate(t rig.TB) {
	pair := certtest.New(t).IssueUntil(t, time.Now().Add(24*time.Hour), "localhost", "127.0.0.1")
	f.chain = f.write(t, "chain.pem", pair.Cert)
	f.key = f.write(t, "key.pem", pair.Key)
	f.pair = f.write(t, "pair.pem", append(bytes.Clone(pair.Cert), pair.Key...))
}

func (f *field) write(t rig.TB, name string, data []byte) string {
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatalf("write %s: %v", name, err)
	}
	return path
}

// start starts the peers whose names match.
func (f *field) start(t rig.TB, names *regexp.Regexp) []*peer {
	var out []*peer
	for _, k := range kinds() {
		if !names.MatchString(k.name) {
			continue
		}
		p := &peer{name: k.name, HTTP: rig.FreePort(t), TLS: rig.FreePort(t), TCP: rig.FreePort(t), Bulk: rig.FreePort(t)}
		p.Dir = filepath.Join(f.dir, k.name)
		if err := os.Mkdir(p.Dir, 0o777); err != nil {
			t.Fatalf("make folder: %v", err)
		}
		k.start(t, f, p)
		awaitPort(t, p.HTTP)
		p.verify(t)
		out = append(out, p)
	}
	return out
}

// verify makes sure that the backend's answers come through whole.
func (p *peer) verify(t rig.TB) {
	for path, want := range map[string]int64{"/": smallSize, "/large": largeSize} {
		resp, err := http.Get(fmt.Sprintf("http://localhost:%d%s", p.HTTP, path))
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil || n != want || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: GET %s: status %d with %d bytes, %v; want 200 with %d", p.name, path, resp.StatusCode, n, err, want)
		}
		_ = resp.Body.Close()
	}
}

// render fills a peer's configuration in and writes it.
func (f *field) render(t rig.TB, p *peer, name, text string) string {
	tmpl, err := template.New(name).Parse(text)
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	var out bytes.Buffer
	err = tmpl.Execute(&out, struct {
		*peer
		ports
		Chain, Key, Pair string
	}{p, f.ports, f.chain, f.key, f.pair})
	if err != nil {
		t.Fatalf("fill %s in: %v", name, err)
	}
	path := filepath.Join(p.Dir, name)
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatalf("write %s: %v", name, err)
	}
	return path
}
