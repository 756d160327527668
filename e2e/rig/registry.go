package rig

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Credentials are a name and a password or token.
type Credentials struct {
	Username, Password string
}

// RegistryOptions vary a registry.
type RegistryOptions struct {
	Auth   *Credentials // nil lets everyone in
	Engine *Engine      // runs in this engine's namespace, at 127.0.0.1, as a registry on the host would
	Port   int          // free port when zero
}

// Registry is a real registry (github.com/distribution/distribution) without
// TLS. Its images outlive Stop and Start.
type Registry struct {
	options RegistryOptions
	dir     string
	port    int
	process *process
}

// StartRegistry starts a registry; it ends with the test. Without an Engine
// in its options it listens on all addresses of this machine, so that every
// engine of the rig reaches it: see [Registry.Ref].
func StartRegistry(t TB, options RegistryOptions) *Registry {
	t.Helper()
	r := &Registry{options: options, dir: t.TempDir(), port: options.Port}
	if r.port == 0 {
		r.port = FreePort(t)
	}
	must(t, "configure registry", r.configure())
	t.Cleanup(func() { r.Stop(t) })
	r.Start(t)
	return r
}

func (r *Registry) configure() error {
	listen := ":" + strconv.Itoa(r.port)
	if r.options.Engine != nil {
		listen = "127.0.0.1" + listen
	}
	config := map[string]any{
		"version": "0.1",
		"log":     map[string]any{"level": "warn", "accesslog": map[string]any{"disabled": true}},
		"http":    map[string]any{"addr": listen, "secret": "of the rig"},
		"storage": map[string]any{
			"filesystem": map[string]any{"rootdirectory": filepath.Join(r.dir, "data")},
			"delete":     map[string]any{"enabled": true},
		},
	}
	if auth := r.options.Auth; auth != nil {
		hash, err := bcrypt.GenerateFromPassword([]byte(auth.Password), bcrypt.MinCost)
		if err != nil {
			return err
		}
		file := filepath.Join(r.dir, "htpasswd")
		if err := os.WriteFile(file, []byte(auth.Username+":"+string(hash)+"\n"), 0o600); err != nil {
			return err
		}
		config["auth"] = map[string]any{"htpasswd": map[string]any{"realm": "rig", "path": file}}
	}
	body, err := json.Marshal(config) // which is YAML too
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.dir, "config.yml"), body, 0o600)
}

// Start starts the registry again after [Registry.Stop], on the same port.
func (r *Registry) Start(t TB) {
	t.Helper()
	program := filepath.Join(mustTool(t, registryTool()), "registry")
	where := r.options.Engine
	if where == nil {
		where = &Engine{}
	}
	cmd := where.Command(program, "serve", filepath.Join(r.dir, "config.yml"))
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	p, err := startProcess("registry", filepath.Join(r.dir, "log"), cmd)
	must(t, "start registry", err)
	r.process = p
	Eventually(t, 20*time.Second, "wait for the registry", func() error {
		conn, err := where.DialContext(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port)))
		if err != nil {
			return errors.Join(err, p.alive())
		}
		return conn.Close()
	})
}

// Stop stops the registry; it may be started again.
func (r *Registry) Stop(t TB) {
	if err := r.process.stop(syscall.SIGTERM, 10*time.Second); err != nil {
		t.Errorf("stop registry: %v", err)
	}
}

// Host is the registry's host and port as the engine must name it.
func (r *Registry) Host(e *Engine) string {
	host := e.HostAddr()
	if r.options.Engine != nil || e.slot == nil {
		host = "127.0.0.1" // which engines trust without TLS
	}
	return net.JoinHostPort(host, strconv.Itoa(r.port))
}

// Ref is an image's full reference in this registry, as the engine must name it.
func (r *Registry) Ref(e *Engine, name string) string { return r.Host(e) + "/" + name }

// Push pushes an image that the engine has as local (such as web:v1) under
// the name given (such as team/web:v1). It returns the full reference and the
// digest of its manifest; ref+"@"+digest pulls exactly it.
func (r *Registry) Push(t TB, e *Engine, local, name string) (ref, digest string) {
	t.Helper()
	ref = r.Ref(e, name)
	repo, tag := splitTag(ref)
	e.Call(t, http.MethodPost, fmt.Sprintf("/images/%s/tag?repo=%s&tag=%s",
		url.PathEscape(local), url.QueryEscape(repo), url.QueryEscape(tag)), nil, nil)
	_, err := e.stream(t.Context(), "/images/"+repo+"/push?tag="+url.QueryEscape(tag), nil, r.options.Auth)
	must(t, "push "+ref, err)
	e.removeImage(t, ref)
	return ref, r.Digest(t, name)
}

// Pull pulls a reference, by tag or by digest, into the engine.
func (r *Registry) Pull(t TB, e *Engine, ref string) {
	t.Helper()
	_, err := e.stream(t.Context(), "/images/create?fromImage="+url.QueryEscape(ref), nil, r.options.Auth)
	must(t, "pull "+ref, err)
}

// Digest is the digest that a name (such as team/web:v1) stands for now.
func (r *Registry) Digest(t TB, name string) string {
	t.Helper()
	repo, tag := splitTag(name)
	resp := r.call(t, http.MethodHead, "/v2/"+repo+"/manifests/"+tag, "", nil)
	resp.Body.Close()
	return resp.Header.Get("Docker-Content-Digest")
}

// Retag lets a second tag of the repository stand for what the first does:
// promotion by tag, without any engine.
func (r *Registry) Retag(t TB, repo, from, to string) {
	t.Helper()
	resp := r.call(t, http.MethodGet, "/v2/"+repo+"/manifests/"+from, "", nil)
	defer resp.Body.Close()
	put := r.call(t, http.MethodPut, "/v2/"+repo+"/manifests/"+to, resp.Header.Get("Content-Type"), resp)
	put.Body.Close()
}

// DockerConfig writes a config.json with the registry's credentials, as
// `docker login` does, and returns its path.
func (r *Registry) DockerConfig(t TB, e *Engine) string {
	t.Helper()
	auths := map[string]any{}
	if a := r.options.Auth; a != nil {
		value := base64.StdEncoding.EncodeToString([]byte(a.Username + ":" + a.Password))
		auths[r.Host(e)] = map[string]string{"auth": value}
	}
	body, err := json.Marshal(map[string]any{"auths": auths})
	must(t, "encode Docker's configuration", err)
	path := filepath.Join(t.TempDir(), "config.json")
	must(t, "write Docker's configuration", os.WriteFile(path, body, 0o600))
	return path
}

// call speaks with the registry from where it listens; body may be an answer
// to send on.
func (r *Registry) call(t TB, method, path, kind string, body *http.Response) *http.Response {
	t.Helper()
	where := r.options.Engine
	if where == nil {
		where = &Engine{}
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:"+strconv.Itoa(r.port)+path, nil)
	must(t, "call registry", err)
	if body != nil {
		req.Body, req.ContentLength = body.Body, body.ContentLength
	}
	req.Header.Set("Content-Type", kind)
	for _, accept := range []string{
		"application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
		"application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.docker.distribution.manifest.v2+json",
	} {
		req.Header.Add("Accept", accept)
	}
	if a := r.options.Auth; a != nil {
		req.SetBasicAuth(a.Username, a.Password)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: where.DialContext, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	must(t, "call registry", err)
	if resp.StatusCode >= http.StatusBadRequest {
		resp.Body.Close()
		t.Fatalf("call registry: %s %s: %s", method, path, resp.Status)
	}
	return resp
}

// splitTag splits host:port/name:tag at the tag, latest when there is none.
func splitTag(ref string) (repo, tag string) {
	if i := strings.LastIndex(ref, ":"); i > strings.LastIndex(ref, "/") {
		return ref[:i], ref[i+1:]
	}
	return ref, "latest"
}
