package rig

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Container is a container that a test runs itself, beside what remora does.
type Container struct {
	ID     string
	Name   string
	engine *Engine
}

// Spec says how to run a container. Host goes into HostConfig as it is, such
// as {"Binds": ["/a:/b"]}.
type Spec struct {
	Image   string
	Name    string // unique when empty
	Cmd     []string
	Env     map[string]string
	Labels  map[string]string
	Publish map[string]string // container port to host port: "8080/tcp": "80"
	Host    map[string]any
}

// Inspection is the part of an inspected container that tests ask for.
type Inspection struct {
	ID    string
	Name  string
	Image string
	State struct {
		Status     string
		Running    bool
		Paused     bool
		OOMKilled  bool
		ExitCode   int
		Pid        int
		StartedAt  time.Time
		FinishedAt time.Time
		Health     *struct{ Status string }
	}
	RestartCount int
	Config       struct {
		Image  string
		Env    []string
		Labels map[string]string
	}
	HostConfig      json.RawMessage
	Mounts          []struct{ Type, Name, Source, Destination string }
	NetworkSettings struct {
		Networks map[string]struct{ IPAddress, MacAddress, Gateway string }
	}
}

// Run creates and starts a container; it is removed when the test ends.
func (e *Engine) Run(t TB, spec Spec) *Container {
	t.Helper()
	c, err := e.TryRun(t.Context(), spec)
	if c != nil {
		t.Cleanup(func() { c.remove(t) })
	}
	must(t, "run container of "+spec.Image, err)
	return c
}

// TryRun creates and starts a container and leaves the removal to the caller.
// The container is nil when it was not even created.
func (e *Engine) TryRun(ctx context.Context, spec Spec) (*Container, error) {
	if spec.Name == "" {
		spec.Name = Unique("rig")
	}
	var created struct{ ID string }
	if err := e.Do(ctx, http.MethodPost, "/containers/create?name="+url.QueryEscape(spec.Name), spec.payload(), &created); err != nil {
		return nil, fmt.Errorf("create container %s: %w", spec.Name, err)
	}
	c := &Container{ID: created.ID, Name: spec.Name, engine: e}
	if err := e.Do(ctx, http.MethodPost, "/containers/"+c.ID+"/start", nil, nil); err != nil {
		return c, fmt.Errorf("start container %s: %w", spec.Name, err)
	}
	return c, nil
}

func (s Spec) payload() map[string]any {
	var env []string
	for k, v := range s.Env {
		env = append(env, k+"="+v)
	}
	exposed, bindings := map[string]any{}, map[string]any{}
	for port, host := range s.Publish {
		exposed[port] = struct{}{}
		bindings[port] = []map[string]string{{"HostPort": host}}
	}
	host := map[string]any{"PortBindings": bindings}
	maps.Copy(host, s.Host)
	return map[string]any{
		"Image": s.Image, "Cmd": s.Cmd, "Env": env, "Labels": s.Labels, "ExposedPorts": exposed, "HostConfig": host,
	}
}

// Container is the handle of a container that somebody else made.
func (e *Engine) Container(t TB, nameOrID string) *Container {
	t.Helper()
	c := &Container{ID: nameOrID, Name: nameOrID, engine: e}
	i := c.Inspect(t)
	return &Container{ID: i.ID, Name: strings.TrimPrefix(i.Name, "/"), engine: e}
}

// Inspect is the engine's view of the container.
func (c *Container) Inspect(t TB) Inspection {
	t.Helper()
	var i Inspection
	c.engine.Call(t, http.MethodGet, "/containers/"+c.ID+"/json", nil, &i)
	return i
}

// IP is the container's address on its first network.
func (c *Container) IP(t TB) string {
	t.Helper()
	for _, n := range c.Inspect(t).NetworkSettings.Networks {
		if n.IPAddress != "" {
			return n.IPAddress
		}
	}
	t.Fatalf("container %s has no address", c.Name)
	return ""
}

// Post makes one call on the container, such as stop, kill?signal=USR1, pause.
func (c *Container) Post(t TB, what string) {
	t.Helper()
	c.engine.Call(t, http.MethodPost, "/containers/"+c.ID+"/"+what, nil, nil)
}

// Wait waits for the end and returns the exit code.
func (c *Container) Wait(t TB) int {
	t.Helper()
	var answer struct{ StatusCode int }
	c.engine.Call(t, http.MethodPost, "/containers/"+c.ID+"/wait", nil, &answer)
	return answer.StatusCode
}

// Logs is all output so far, both streams.
func (c *Container) Logs(t TB) string {
	t.Helper()
	resp, err := c.engine.request(t.Context(), http.MethodGet, "/containers/"+c.ID+"/logs?stdout=1&stderr=1", nil, nil)
	must(t, "read logs of "+c.Name, err)
	defer resp.Body.Close()
	text, err := demultiplex(resp.Body)
	must(t, "read logs of "+c.Name, err)
	return text
}

// Exec runs a command in the container, such as /testprogram cat /etc/hosts,
// and returns its output and exit code.
func (c *Container) Exec(t TB, command ...string) (string, int) {
	t.Helper()
	var created struct{ ID string }
	c.engine.Call(t, http.MethodPost, "/containers/"+c.ID+"/exec",
		map[string]any{"Cmd": command, "AttachStdout": true, "AttachStderr": true}, &created)
	resp, err := c.engine.request(t.Context(), http.MethodPost, "/exec/"+created.ID+"/start", map[string]any{}, nil)
	must(t, "execute in "+c.Name, err)
	defer resp.Body.Close()
	text, err := demultiplex(resp.Body)
	must(t, "execute in "+c.Name, err)
	var state struct{ ExitCode int }
	c.engine.Call(t, http.MethodGet, "/exec/"+created.ID+"/json", nil, &state)
	return text, state.ExitCode
}

// demultiplex joins the two streams of a container without a terminal: each
// frame has a header of 8 bytes, the length in its last four.
func demultiplex(r io.Reader) (string, error) {
	var out bytes.Buffer
	var header [8]byte
	for {
		if _, err := io.ReadFull(r, header[:]); errors.Is(err, io.EOF) {
			return out.String(), nil
		} else if err != nil {
			return "", err
		}
		if _, err := io.CopyN(&out, r, int64(binary.BigEndian.Uint32(header[4:]))); err != nil {
			return "", err
		}
	}
}

// Remove removes the container and its anonymous volumes, running or not.
// That it is gone already is no error.
func (c *Container) Remove(ctx context.Context) error {
	err := c.engine.Do(ctx, http.MethodDelete, "/containers/"+c.ID+"?force=1&v=1", nil, nil)
	if refused, ok := errors.AsType[*APIError](err); ok && refused.Status == http.StatusNotFound {
		return nil
	}
	return err
}

// remove is for cleanups. An engine that is down takes its containers with it.
func (c *Container) remove(t TB) {
	if c.engine.ping(context.Background()) != nil {
		return
	}
	if err := c.Remove(context.Background()); err != nil {
		t.Errorf("remove container %s: %v", c.Name, err)
	}
}

func (e *Engine) removeImage(t TB, ref string) {
	err := e.Do(context.Background(), http.MethodDelete, "/images/"+url.PathEscape(ref)+"?force=1", nil, nil)
	if refused, ok := errors.AsType[*APIError](err); ok && refused.Status == http.StatusNotFound {
		return
	}
	if err != nil {
		t.Errorf("remove image %s: %v", ref, err)
	}
}
