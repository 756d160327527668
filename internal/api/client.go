package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/remorahq/remora/internal/printable"
	"github.com/remorahq/remora/internal/status"
)

// UnreachableError says that no agent answers.
type UnreachableError struct {
	Socket string
	Err    error
}

// Error names the socket and what to do.
func (e *UnreachableError) Error() string {
	switch {
	case errors.Is(e.Err, fs.ErrPermission):
		return fmt.Sprintf("no permission to talk to the agent at %s; use sudo, or have the host's operator let your group in", e.Socket)
	case errors.Is(e.Err, fs.ErrNotExist), errors.Is(e.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("no agent runs at %s; start it (systemctl start remora, or remora agent), or name its socket with --socket", e.Socket)
	}
	return fmt.Sprintf("the agent at %s does not answer: %v", e.Socket, e.Err)
}

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Client talks to one agent. Make one with [NewClient]. The texts that it
// returns are fit for a terminal, whoever wrote them; the output of containers
// and the payloads of Render are as they are.
type Client struct {
	socket string
	sudo   string
	http   *http.Client
}

// NewClient returns a client of the agent on socket. SudoUser is the user
// behind sudo, empty where there is none. It does not connect yet.
func NewClient(socket, sudoUser string) *Client {
	if socket == "" {
		socket = DefaultSocket
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &Client{
		socket: socket, sudo: sudoUser,
		http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true}},
	}
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// do sends a request and returns an answer of 200, whose body the caller
// closes.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, in any, header http.Header) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://remora"+path, body)
	if err != nil {
		return nil, err
	}
	req.URL.RawQuery = query.Encode()
	if header != nil {
		req.Header = header
	}
	if c.sudo != "" {
		req.Header.Set(sudoHeader, c.sudo)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &UnreachableError{Socket: c.socket, Err: err}
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, readProblem(resp)
	}
	return resp, nil
}

func readProblem(resp *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	problem := &status.Error{}
	if json.Unmarshal(data, problem) != nil || problem.Message == "" {
		problem.Message = fmt.Sprintf("the agent answered %s: %s", resp.Status, bytes.TrimSpace(data))
	}
	if problem.Kind == "" {
		problem.Kind = kindOf(resp.StatusCode)
	}
	printable.Deep(problem)
	return problem
}

func kindOf(code int) status.Kind {
	switch code {
	case http.StatusBadRequest:
		return status.Invalid
	case http.StatusNotFound:
		return status.NotFound
	case http.StatusServiceUnavailable:
		return status.Unavailable
	}
	return ""
}

// call sends a request and decodes the answer.
func call[T any](ctx context.Context, c *Client, method, path string, query url.Values, in any) (out T, err error) {
	resp, err := c.do(ctx, method, path, query, in, nil)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("read the agent's answer: %w", err)
	}
	printable.Deep(&out)
	return out, nil
}

// Version returns the agent's version.
func (c *Client) Version(ctx context.Context) (Version, error) {
	return call[Version](ctx, c, http.MethodGet, "/v1/version", nil, nil)
}

// Status returns the host's status.
func (c *Client) Status(ctx context.Context) (status.Host, error) {
	return call[status.Host](ctx, c, http.MethodGet, "/v1/status", nil, nil)
}

// Do sends a command.
func (c *Client) Do(ctx context.Context, cmd status.Command) (status.Answer, error) {
	return call[status.Answer](ctx, c, http.MethodPost, "/v1/commands", nil, cmd)
}

// Plan asks what would change.
func (c *Client) Plan(ctx context.Context, req status.PlanRequest) (status.Plan, error) {
	return call[status.Plan](ctx, c, http.MethodPost, "/v1/plan", nil, req)
}

// Render asks for the create payloads.
func (c *Client) Render(ctx context.Context, req status.PlanRequest) ([]json.RawMessage, error) {
	return call[[]json.RawMessage](ctx, c, http.MethodPost, "/v1/render", nil, req)
}

// Explain asks for the chain of gates of an app, URL or container.
func (c *Client) Explain(ctx context.Context, subject string) (status.Explanation, error) {
	return call[status.Explanation](ctx, c, http.MethodGet, "/v1/explain", url.Values{"subject": {subject}}, nil)
}

// Routes lists what the ambassador listens for.
func (c *Client) Routes(ctx context.Context) ([]status.RouteRow, error) {
	return call[[]status.RouteRow](ctx, c, http.MethodGet, "/v1/routes", nil, nil)
}

// History lists the rollouts of an app, newest first.
func (c *Client) History(ctx context.Context, app string) ([]status.HistoryEntry, error) {
	return call[[]status.HistoryEntry](ctx, c, http.MethodGet, "/v1/history", url.Values{"app": {app}}, nil)
}

// Failed returns the evidence of an app's failed containers, newest first.
func (c *Client) Failed(ctx context.Context, req status.LogRequest) ([]status.Evidence, error) {
	query := url.Values{"app": {req.App}, "service": {req.Service}, "release": {req.Release}}
	return call[[]status.Evidence](ctx, c, http.MethodGet, "/v1/evidence", query, nil)
}

// Logs copies the output of containers to w until it or ctx ends.
func (c *Client) Logs(ctx context.Context, req status.LogRequest, w io.Writer) error {
	query := url.Values{
		"app": {req.App}, "service": {req.Service}, "release": {req.Release},
		"follow": {strconv.FormatBool(req.Follow)}, "tail": {strconv.Itoa(req.Tail)},
	}
	if !req.Since.IsZero() {
		query.Set("since", req.Since.Format(time.RFC3339Nano))
	}
	resp, err := c.do(ctx, http.MethodGet, "/v1/logs", query, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil && ctx.Err() == nil {
		return fmt.Errorf("read logs: %w", err)
	}
	return nil
}

// Events returns the newest events that the filter selects, oldest first.
func (c *Client) Events(ctx context.Context, f status.EventFilter, limit int) ([]status.Event, error) {
	query := filterQuery(f)
	query.Set("limit", strconv.Itoa(limit))
	return call[[]status.Event](ctx, c, http.MethodGet, "/v1/events", query, nil)
}

func filterQuery(f status.EventFilter) url.Values {
	query := url.Values{"app": {f.App}, "service": {f.Service}, "reason": {string(f.Reason)}}
	if !f.Since.IsZero() {
		query.Set("since", f.Since.Format(time.RFC3339Nano))
	}
	return query
}
