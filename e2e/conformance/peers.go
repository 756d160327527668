package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/remorahq/remora/e2e/conformance/smuggling"
	"github.com/remorahq/remora/e2e/rig"
)

// stranger is another proxy with a backend of its own.
type stranger struct {
	name    string
	addr    string
	backend *smuggling.Backend
}

// strangers starts them all.
func strangers(t rig.TB) []stranger {
	return []stranger{startHTTPUtil(t), startHAProxy(t), startNginx(t)}
}

func newStranger(t rig.TB, name string) stranger {
	b, err := smuggling.NewBackend()
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(b.Close)
	b.Patience = time.Second // some wait for what never comes
	return stranger{name: name, backend: b, addr: fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))}
}

// await waits until it listens.
func (s stranger) await(t rig.TB) stranger {
	rig.Eventually(t, 10*time.Second, s.name+" to listen", func() error {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			return err
		}
		return c.Close()
	})
	return s
}

func startHTTPUtil(t rig.TB) stranger {
	s := newStranger(t, "httputil")
	target := &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", s.backend.Port())}
	quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	srv := &http.Server{Addr: s.addr, ErrorLog: quiet, Handler: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, ErrorLog: quiet,
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.ListenAndServe() // ends with Close
	}()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return s.await(t)
}

func startHAProxy(t rig.TB) stranger {
	s := newStranger(t, "haproxy")
	path := config(t, "haproxy.cfg", fmt.Sprintf(`defaults
    mode http
    timeout connect 2s
    timeout client 5s
    timeout server 5s
listen web
    bind %s
    server b 127.0.0.1:%d
`, s.addr, s.backend.Port()))
	rig.Spawn(t, s.name, exec.Command("haproxy", "-db", "-f", path))
	return s.await(t)
}

func startNginx(t rig.TB) stranger {
	s := newStranger(t, "nginx")
	dir := t.TempDir()
	path := config(t, "nginx.conf", fmt.Sprintf(`daemon off;
pid %[1]s/pid;
error_log %[1]s/error.log;
events {}
http {
    access_log off;
    client_body_temp_path %[1]s/body;
    proxy_temp_path %[1]s/proxy;
    fastcgi_temp_path %[1]s/fastcgi;
    uwsgi_temp_path %[1]s/uwsgi;
    scgi_temp_path %[1]s/scgi;
    server {
        listen %[2]s;
        location / { proxy_pass http://127.0.0.1:%[3]d; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host; }
    }
}
`, dir, s.addr, s.backend.Port()))
	rig.Spawn(t, s.name, exec.Command("nginx", "-c", path))
	return s.await(t)
}

func config(t rig.TB, name, text string) string {
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatalf("write %s: %v", name, err)
	}
	return path
}
